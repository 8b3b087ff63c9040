"""The client of the backend on real sockets: native loops, Twisted's endpoints, TLS, and every way not to connect."""

from __future__ import annotations

import datetime
import socket
import subprocess
import sys

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate
from twisted.internet.testing import MemoryReactorClock
from zope.interface import directlyProvides, providedBy

from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from caching_proxy.testing import ScriptedBackend
from caching_proxy.transport.tls import TLSConfig
from caching_proxy.upstream.pool import Backend, Upstream

# Twisted 26.10 hands pyOpenSSL objects to pyOpenSSL, which would rather have others.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
GET = RequestHead(b"GET", b"/")
BIG = b"x" * 3_000_000


async def exchange(upstream: Upstream, head: RequestHead = GET, body: Body | None = None) -> tuple[int, bytes]:
    response = await upstream.fetch(head, body)
    return response.head.status, await response.body.collect(10_000_000)


# -- TCP on the reactor under test: natively where its loop allows it, and through Twisted's endpoints ----------------


class Stock:
    """The reactor, without its loop: connections are made by Twisted's endpoints."""

    _asyncioEventloop = None

    def __init__(self) -> None:
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> object:
        return getattr(reactor, name)


@pytest.fixture(params=["reactor", "endpoint"])
def clock(request: pytest.FixtureRequest) -> object:
    return reactor if request.param == "reactor" else Stock()


@pytest_twisted.ensureDeferred
async def test_one_connection_serves_several_requests(clock: IReactorTime) -> None:
    backend = ScriptedBackend(reactor, lambda request: OK)
    upstream = Upstream(clock, Backend.parse(backend.url))
    assert await exchange(upstream) == (200, b"hi")
    assert await exchange(upstream, RequestHead(b"PUT", b"/p"), Body.of(BIG)) == (200, b"hi")
    assert backend.accepted == 1
    assert backend.requests[0] == b"GET / HTTP/1.1\r\n\r\n"
    assert backend.requests[1].endswith(b"\r\n\r\n" + BIG)
    await upstream.stop()
    await backend.stop()


@pytest_twisted.ensureDeferred
async def test_M7_a_backend_that_closed_meanwhile(clock: IReactorTime) -> None:
    backend = ScriptedBackend(reactor, lambda request: OK)
    upstream = Upstream(clock, Backend.parse(backend.url))
    await exchange(upstream)
    backend.drop()
    assert await exchange(upstream) == (200, b"hi")
    assert backend.accepted == 2
    await upstream.stop()
    await backend.stop()


@pytest_twisted.ensureDeferred
async def test_a_backend_that_closes_without_an_answer(clock: IReactorTime) -> None:
    backend = ScriptedBackend(reactor, lambda request: None)
    upstream = Upstream(clock, Backend.parse(backend.url))
    with pytest.raises(UpstreamError, match="before a response"):
        await exchange(upstream)
    await upstream.stop()
    await backend.stop()


@pytest_twisted.ensureDeferred
async def test_a_large_answer_and_many_at_once(clock: IReactorTime) -> None:
    backend = ScriptedBackend(reactor, lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + BIG)
    upstream = Upstream(clock, Backend.parse(backend.url), max_connections=3)
    under_way = [Deferred.fromCoroutine(exchange(upstream)) for _ in range(7)]
    for each in under_way:
        assert await each == (200, BIG)
    assert backend.accepted == 3
    await upstream.stop()
    await backend.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest_twisted.ensureDeferred
async def test_a_refused_connection(clock: IReactorTime) -> None:
    upstream = Upstream(clock, Backend.parse(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(UpstreamUnreachable):
        await upstream.fetch(GET)
    await upstream.stop()


def test_a_connection_that_is_never_made() -> None:
    memory = MemoryReactorClock()
    upstream = Upstream(memory, Backend.parse("http://127.0.0.1:1"), connect_timeout=5)
    errors: list[object] = []
    upstream.fetch(GET).addErrback(lambda reason: errors.append(reason.type))
    memory.advance(4.9)
    assert errors == []
    memory.advance(0.2)
    assert errors == [UpstreamTimeout]
    assert upstream.connections == 0
    upstream.stop()
    assert memory.getDelayedCalls() == []


# -- uvloop, in a process of its own: this one's reactor runs on another loop -----------------------------------------

STORY = """
import socket, sys, uvloop
from twisted.internet import asyncioreactor
asyncioreactor.install(uvloop.new_event_loop())
from twisted.internet import defer, reactor, task
from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import UpstreamUnreachable
from caching_proxy.testing import ScriptedBackend
from caching_proxy.upstream.pool import Backend, Upstream

BIG = b"x" * 3_000_000
OK = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi"

def answer(request):
    if request.startswith(b"GET /close"):
        return None
    if request.startswith(b"GET /big"):
        return b"HTTP/1.1 200 OK\\r\\nContent-Length: 3000000\\r\\n\\r\\n" + BIG
    return OK

async def exchange(upstream, method, target, body=None):
    response = await upstream.fetch(RequestHead(method, target), body)
    return response.head.status, await response.body.collect(10_000_000)

async def story():
    backend = ScriptedBackend(reactor, answer)
    upstream = Upstream(reactor, Backend.parse(backend.url))
    assert await exchange(upstream, b"GET", b"/") == (200, b"hi")
    assert await exchange(upstream, b"GET", b"/big") == (200, BIG)
    assert await exchange(upstream, b"PUT", b"/", Body.of(BIG)) == (200, b"hi")
    assert backend.requests[-1].endswith(BIG)
    assert (backend.accepted, upstream.connections, upstream.idle) == (1, 1, 1)
    backend.drop()
    assert await exchange(upstream, b"GET", b"/") == (200, b"hi")
    await upstream.stop()
    await backend.stop()
    refused = Upstream(reactor, Backend.parse(backend.url))
    try:
        await exchange(refused, b"GET", b"/")
    except UpstreamUnreachable:
        print("refused")
    cancelled = refused.fetch(RequestHead(b"GET", b"/"))
    cancelled.addErrback(lambda reason: None)
    cancelled.cancel()
    assert refused.connections == 0
    await refused.stop()
    for _ in range(100):  # a native attempt ends within a few turns of the loop
        await task.deferLater(reactor, 0)
    print("timers", len(reactor.getDelayedCalls()))

def main(reactor):
    return defer.Deferred.fromCoroutine(story())

task.react(main)
"""


@pytest.mark.slow
def test_through_uvloop() -> None:
    told = subprocess.run([sys.executable, "-c", STORY], capture_output=True, text=True, timeout=60, check=False)
    assert (told.stdout, told.returncode) == ("refused\ntimers 0\n", 0), told.stderr


# -- TLS -----------------------------------------------------------------------------------------------------------


def certificate(name: str) -> PrivateCertificate:
    """A self-signed certificate for ``name``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return PrivateCertificate.loadPEM(signed.public_bytes(pem) + private)


class Speaking(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(OK)


def trusting(authority: Certificate | PrivateCertificate) -> TLSConfig:
    return TLSConfig((authority.original.to_cryptography(),))


class SecureBackend:
    def __init__(self, name: str = "localhost") -> None:
        self.certificate = certificate(name)
        self.names: list[bytes | None] = []
        options: CertificateOptions = self.certificate.options()
        context = options.getContext()
        context.set_tlsext_servername_callback(lambda connection: self.names.append(connection.get_servername()))
        self.port: IListeningPort = reactor.listenSSL(0, Factory.forProtocol(Speaking), options, interface="127.0.0.1")

    def upstream(self, **options: object) -> Upstream:
        return Upstream(reactor, Backend.parse(f"https://localhost:{self.port.getHost().port}"), **options)

    @property
    def public(self) -> Certificate:
        return Certificate(self.certificate.original)


@pytest_twisted.ensureDeferred
async def test_tls_with_a_certificate_that_is_trusted() -> None:
    backend = SecureBackend()
    upstream = backend.upstream(tls=trusting(backend.public))
    assert await exchange(upstream) == (200, b"hi")
    assert await exchange(upstream) == (200, b"hi")
    assert upstream.connections == 1
    assert backend.names == [b"localhost"]
    await upstream.stop()
    await backend.port.stopListening()


@pytest.mark.parametrize(
    ("name", "trusted"),
    [pytest.param("localhost", False, id="unknown-issuer"), pytest.param("elsewhere", True, id="other-name")],
)
@pytest_twisted.ensureDeferred
async def test_tls_with_a_certificate_that_is_not(name: str, trusted: bool) -> None:
    backend = SecureBackend(name)
    upstream = backend.upstream(tls=trusting(backend.public if trusted else certificate("somebody")))
    with pytest.raises(UpstreamUnreachable):
        await exchange(upstream)
    assert upstream.connections == 0
    await upstream.stop()
    await backend.port.stopListening()


@pytest_twisted.ensureDeferred
async def test_tls_unverified_still_names_the_server() -> None:
    backend = SecureBackend("elsewhere")
    upstream = backend.upstream(tls=TLSConfig(verify=False))
    assert await exchange(upstream) == (200, b"hi")
    assert backend.names == [b"localhost"]
    await upstream.stop()
    await backend.port.stopListening()


@pytest_twisted.ensureDeferred
async def test_tls_to_a_backend_that_speaks_none() -> None:
    backend = ScriptedBackend(reactor, lambda request: OK)
    upstream = Upstream(reactor, Backend.parse(backend.url.replace("http:", "https:")), connect_timeout=0.1)
    with pytest.raises(UpstreamTimeout):  # it waits for the end of a request that never comes
        await exchange(upstream)
    assert upstream.connections == 0
    await upstream.stop()
    await backend.stop()
