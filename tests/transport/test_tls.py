"""Anything but a proven name refuses: the backend, Redis and the key set, with every kind of certificate."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import cast

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from support.authority import Authority, dns, pem_key
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.web.client import Agent
from zope.interface import implementer

from caching_proxy.auth.fetching import fetch_document
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import IStore, StoreError, UpstreamUnreachable
from caching_proxy.store.build import StoreConfig, build_store
from caching_proxy.transport.tls import TLSConfig, VerifyingPolicy, ascii_name, load_certificates, load_key
from caching_proxy.upstream.pool import Backend, Upstream

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

AUTHORITY = Authority()
TRUSTING = TLSConfig((AUTHORITY.certificate,))
LOOPBACK = ipaddress.ip_address("127.0.0.1")
Names = Sequence[x509.GeneralName]

PROVEN = [
    pytest.param(dns("localhost"), id="the-name"),
    pytest.param(dns("other.example", "localhost"), id="among-others"),
    pytest.param([x509.IPAddress(LOOPBACK), *dns("localhost")], id="beside-an-address"),
]
UNPROVEN = [
    pytest.param([], id="no-names"),
    pytest.param([x509.RFC822Name("root@localhost")], id="only-e-mail"),
    pytest.param([x509.UniformResourceIdentifier("https://localhost/")], id="only-a-uri"),
    pytest.param([x509.IPAddress(LOOPBACK)], id="only-an-address"),
    pytest.param(dns("*"), id="star"),
    pytest.param(dns("*.lan"), id="star-lan"),
    pytest.param(dns("*.localhost"), id="star-below"),
    pytest.param(dns("l*"), id="part-star"),
    pytest.param(dns("*", "*.lan"), id="two-stars"),
    pytest.param(dns("elsewhere.example", "*"), id="another-and-a-star"),
    pytest.param(dns("elsewhere.example", "*.lan"), id="another-and-star-lan"),
    pytest.param(dns("elsewhere.example"), id="another"),
    pytest.param(dns(""), id="empty"),
    pytest.param(dns("localhost.elsewhere.example"), id="longer"),
    pytest.param([x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))], id="only-a-number"),
]


class Server:
    """A TLS server that notes what it is told; nothing may be told to one that is not believed."""

    def __init__(self, context: SSL.Context, answer: bytes = b"") -> None:
        self.heard = b""
        server = self

        class Speaking(Protocol):
            def dataReceived(self, data: bytes) -> None:
                server.heard += data
                self.transport.write(answer)

        @implementer(IOpenSSLContextFactory)
        class Options:
            def getContext(self) -> SSL.Context:
                return context

        self._port: IListeningPort = reactor.listenSSL(0, Factory.forProtocol(Speaking), Options())

    @property
    def port(self) -> int:
        return cast("int", self._port.getHost().port)

    def stop(self) -> Deferred[None]:
        return cast("Deferred[None]", self._port.stopListening())


Try = Callable[[Server, TLSConfig, str], Deferred[object]]


async def _backend(server: Server, tls: TLSConfig, host: str) -> object:
    upstream = Upstream(cast("IReactorTime", reactor), Backend.parse(f"https://{host}:{server.port}"), tls=tls)
    try:
        response = await upstream.fetch(RequestHead(b"GET", b"/"))
        return await response.body.collect(100)
    finally:
        await upstream.stop()


async def _redis(server: Server, tls: TLSConfig, host: str) -> object:
    store: IStore = build_store(
        cast("IReactorTime", reactor),
        f"rediss://:secret@{host}:{server.port}",
        StoreConfig(tls=tls, command_timeout=0.5),
    )
    await store.start()
    try:
        return await store.ping()
    finally:
        await store.stop()


async def _key_set(server: Server, tls: TLSConfig, host: str) -> object:
    agent = Agent(reactor, VerifyingPolicy(tls))
    return await fetch_document(HTTPClient(agent), f"https://{host}:{server.port}/", 100, cast("IReactorTime", reactor))


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


@pytest.mark.parametrize("names", PROVEN)
@pytest.mark.parametrize("place", [_backend, _key_set])
@pytest_twisted.ensureDeferred
async def test_a_proven_name(place, names: Names) -> None:
    server = Server(AUTHORITY.server(*names), ANSWER)
    assert await place(server, TRUSTING, "localhost") == b"hi"
    await server.stop()


@pytest.mark.parametrize("place", [_backend, _redis, _key_set])
@pytest.mark.parametrize("names", UNPROVEN)
@pytest_twisted.ensureDeferred
async def test_anything_else(place, names: Names, logged_lines: list[tuple[str, str]]) -> None:
    server = Server(AUTHORITY.server(*names), ANSWER)
    with pytest.raises((UpstreamUnreachable, StoreError, Exception)):
        await place(server, TRUSTING, "localhost")
    assert server.heard == b"", "it was told something"
    assert any("localhost does not prove its name" in text for _, text in logged_lines)
    await server.stop()


@pytest.mark.parametrize("place", [_backend, _redis, _key_set])
@pytest.mark.parametrize(
    ("context", "tls"),
    [
        pytest.param(lambda: Authority().server(*dns("localhost")), TRUSTING, id="another-authority"),
        pytest.param(lambda: AUTHORITY.server(*dns("localhost"), days=1), TRUSTING, id="expired"),
        pytest.param(lambda: AUTHORITY.server(*dns("localhost")), TLSConfig(), id="not-known-to-the-platform"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_chain_that_does_not_hold(place, context: Callable[[], SSL.Context], tls: TLSConfig) -> None:
    server = Server(context(), ANSWER)
    with pytest.raises((UpstreamUnreachable, StoreError, Exception)):
        await place(server, tls, "localhost")
    assert server.heard == b""
    await server.stop()


@pytest.mark.parametrize(
    ("names", "believed"),
    [
        ([x509.IPAddress(LOOPBACK)], True),
        (dns("127.0.0.1"), False),
        ([x509.IPAddress(ipaddress.ip_address("127.0.0.2"))], False),
        ([], False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_address_is_proven_as_an_address(names: Names, believed: bool) -> None:
    server = Server(AUTHORITY.server(*names), ANSWER)
    if believed:
        assert await _backend(server, TRUSTING, "127.0.0.1") == b"hi"
    else:
        with pytest.raises(UpstreamUnreachable):
            await _backend(server, TRUSTING, "127.0.0.1")
        assert server.heard == b""
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_our_own_certificate_is_shown() -> None:
    certificate, key = AUTHORITY.issue(*dns("client.example"), common="client")
    context = AUTHORITY.server(*dns("localhost"))
    seen: list[str] = []

    def check(_: object, shown: crypto.X509, __: int, depth: int, ok: int) -> bool:
        if depth == 0:
            seen.append(shown.to_cryptography().subject.rfc4514_string())
        return True

    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, check)
    server = Server(context, ANSWER)
    ours = TLSConfig((AUTHORITY.certificate,), (certificate,), load_key(pem_key(key), None))
    assert await _backend(server, ours, "localhost") == b"hi"
    assert seen == ["CN=client"]
    await server.stop()


def test_pem_files() -> None:
    certificate, key = AUTHORITY.issue(*dns("a"))
    other, _ = AUTHORITY.issue(*dns("b"))
    pem = certificate.public_bytes(Encoding.PEM)
    assert load_certificates(pem + AUTHORITY.pem) == (certificate, AUTHORITY.certificate)
    load_key(pem_key(key), pem + AUTHORITY.pem)
    with pytest.raises(ValueError, match="not the key"):
        load_key(pem_key(key), other.public_bytes(Encoding.PEM))
    for junk in (b"", b"junk", pem_key(key)):
        with pytest.raises(ValueError, match="no PEM certificates"):
            load_certificates(junk)
    for junk in (b"", b"junk", pem):
        with pytest.raises(ValueError, match="no PEM private key"):
            load_key(junk, None)


@pytest.mark.parametrize(
    ("host", "name"),
    [("localhost", "localhost"), ("example.org.", "example.org"), ("bücher.example", "xn--bcher-kva.example")],
)
def test_names_as_they_stand_in_certificates(host: str, name: str) -> None:
    assert ascii_name(host) == name
