"""A certificate authority of the tests' own, and certificates of every kind that it would never be given elsewhere."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto

START = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
DAYS = datetime.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


class Authority:
    """``authority.certificate`` is to be trusted; :meth:`issue` makes certificates under it."""

    def __init__(self, name: str = "tests") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        builder = self._builder(self._name, self.key.public_key(), 20_000)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self, *names: x509.GeneralName, common: str = "localhost", days: int = 20_000
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for ``names`` (no subjectAltName without any), valid from 2020 for ``days``, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(common), key.public_key(), days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()), key

    def server(self, *names: x509.GeneralName, **more: object) -> SSL.Context:
        """A TLS server's context with such a certificate."""
        certificate, key = self.issue(*names, **more)  # type: ignore[arg-type]
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(crypto.X509.from_cryptography(certificate))
        context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(START + days * DAYS)
        )


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def dns(*names: str) -> Sequence[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]
