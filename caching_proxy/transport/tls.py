"""TLS as a client: who is believed, and who we are. One way for backend, Redis and key set.

A peer is believed if its certificate leads to a trusted authority *and* proves the very name that was dialled
(RFC 9110 §4.3.4). Whatever goes wrong while that is found out refuses the connection. Twisted's own check refuses
only on ``VerificationError``: for a certificate without a usable name it logs an error and goes on.
"""

from __future__ import annotations

import ipaddress
import weakref
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from service_identity.exceptions import CertificateError, VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, platformTrust, trustRootFromCertificates
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

_log = Logger()


class Untrusted(Exception):
    """The peer did not prove its name; the text says what was wrong."""


@attrs.frozen(slots=True)
class TLSConfig:
    """``authorities`` are who is trusted, the platform's if empty; ``chain`` and ``key`` are our own certificate."""

    authorities: tuple[x509.Certificate, ...] = ()
    chain: tuple[x509.Certificate, ...] = ()
    key: crypto.PKey | None = None
    verify: bool = True

    def context(self) -> SSL.Context:
        """What connections are made from."""
        options: dict[str, Any] = {}
        if self.key is not None and self.chain:
            first, *rest = (crypto.X509.from_cryptography(each) for each in self.chain)
            options = {"privateKey": self.key, "certificate": first, "extraCertChain": rest}
        trust = None
        if self.verify:
            trust = platformTrust()
            if self.authorities:
                pems = [Certificate(crypto.X509.from_cryptography(each)) for each in self.authorities]
                trust = trustRootFromCertificates(pems)
        return CertificateOptions(trustRoot=trust, **options).getContext()

    def client(self, host: str) -> IOpenSSLClientConnectionCreator:
        """For connections to ``host``, a name or an address."""
        return ClientTLS(host, self.context(), self.verify)


PLATFORM = TLSConfig()
"""The platform's authorities, no certificate of our own."""


def load_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, in order; ValueError if there is none or one cannot be read."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise ValueError("no PEM certificates in it") from None


def load_key(pem: bytes, certificate: bytes | None) -> crypto.PKey:
    """The private key of a PEM file, which must be that of the first certificate in ``certificate``."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise ValueError("no PEM private key without a password in it") from None
    if certificate is not None and load_certificates(certificate)[0].public_key() != key.public_key():
        raise ValueError("not the key of the certificate")
    return crypto.PKey.from_cryptography_key(key)  # type: ignore[arg-type]


@implementer(IOpenSSLClientConnectionCreator)
class ClientTLS:
    """TLS to one host. With ``verify`` False the certificate is not looked at, but the name is sent all the same."""

    def __init__(self, host: str, context: SSL.Context, verify: bool = True) -> None:
        self._host = host
        self._context = context
        self._verify = verify
        self._is_address = _is_address(host)
        self._name = host if self._is_address else ascii_name(host)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not self._is_address:  # RFC 6066 §3: names only
            connection.set_tlsext_host_name(self._name.encode())
        if self._verify:
            protocol = weakref.ref(tlsProtocol)

            def check(_: SSL.Connection, certificate: crypto.X509, __: int, depth: int, chain_holds: int) -> bool:
                if depth or not chain_holds:
                    return bool(chain_holds)
                return self._proves_name(certificate, protocol())

            connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, check)
        return connection

    def _proves_name(self, certificate: crypto.X509, protocol: TLSMemoryBIOProtocol | None) -> bool:
        """Whether ``certificate`` is for this host; if not, the protocol fails with the reason."""
        try:
            self._check(certificate.to_cryptography())
        except Exception as problem:  # noqa: BLE001 no error of any kind may let a peer through
            text = f"the certificate of {self._host} does not prove its name: {_reason(problem)}"
            _log.warn("{problem}", problem=text)
            if protocol is not None:
                protocol.failVerification(Failure(Untrusted(text)))
            return False
        return True

    def _check(self, certificate: x509.Certificate) -> None:
        if self._is_address:
            verify_certificate_ip_address(certificate, self._name)
        else:
            verify_certificate_hostname(certificate, self._name)


@implementer(IPolicyForHTTPS)
class VerifyingPolicy:
    """The same for ``twisted.web``'s agent."""

    def __init__(self, config: TLSConfig) -> None:
        self._config = config

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        return self._config.client(hostname.decode("ascii"))


def ascii_name(host: str) -> str:
    """A host name as it stands in certificates (RFC 5890 A-labels), without the dot of the root."""
    name = host if host.isascii() else host.encode("idna").decode("ascii")
    return name.rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _reason(problem: Exception) -> str:
    if isinstance(problem, VerificationError):
        return "it is for other names"
    if isinstance(problem, CertificateError):
        return str(problem) or "it names no host"
    return f"{type(problem).__name__} {problem}".strip()
