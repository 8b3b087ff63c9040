"""Certificates that the listener shows: read from PEM files, chosen by the name that a client asks for, read anew.

A pair that cannot be used never takes the place of one that can.
"""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

WATCH_SECONDS = 2.0
"""Between two looks at the files. A change is taken up at the look after it, when both files of a pair are there."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 §4.2). Those of TLS 1.3 are all fine."""

HTTP1, HTTP2 = "http/1.1", "h2"

_LIMIT = 1 << 20


class PairError(ValueError):
    """A pair cannot be used; ``of_key``: its key file is to blame, not the certificate's."""

    def __init__(self, of_key: bool, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.of_key = of_key
        self.path = path
        self.reason = reason


@attrs.frozen(slots=True, eq=False)
class Pair:
    """One certificate with its key. ``names``: the host names it proves, lower case, ``*.example.org`` among them."""

    path: str
    context: ssl.SSLContext
    names: frozenset[str]
    not_before: datetime.datetime
    not_after: datetime.datetime

    def complaint(self, now: datetime.datetime) -> str | None:
        """What clients will not like about it at ``now``."""
        if now > self.not_after:
            return f"the certificate expired on {self.not_after:%Y-%m-%d}"
        if now < self.not_before:
            return f"the certificate is not valid before {self.not_before:%Y-%m-%d}"
        return None


def load_pair(certificate: str, key: str, protocols: Sequence[str] = (HTTP1,)) -> Pair:
    """The pair in two PEM files, offering ``protocols`` (ALPN) in order; raises :class:`PairError`."""
    first = _first_certificate(certificate)
    _check_key(key, first)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(protocols))
    try:
        context.load_cert_chain(certificate, key, lambda: b"")  # a callback, or the terminal would be asked
    except (OSError, ValueError) as problem:
        raise PairError(False, certificate, getattr(problem, "reason", None) or _why(problem)) from None
    return Pair(certificate, context, _names(first), first.not_valid_before_utc, first.not_valid_after_utc)


def pick(names: Sequence[frozenset[str]], asked: str | None) -> int:
    """Which certificate, by its names, a client gets that asks for ``asked`` (SNI): an exact name beats a wildcard,
    and the first one is for whoever asks for no name, or for another (RFC 6066 §3, RFC 6125 §6.4.3)."""
    name = (asked or "").lower().rstrip(".")
    wildcard = "*." + name.partition(".")[2]
    for wanted in (name, wildcard):
        for at, known in enumerate(names):
            if wanted in known:
                return at
    return 0


class Certificates:
    """The pairs in ``files`` (certificate, key), as they were when last found usable.

    Raises :class:`PairError` if one is not usable at the beginning. Connections keep the one that they began with.
    """

    _log = Logger()

    def __init__(self, files: Sequence[tuple[str, str]], protocols: Sequence[str], clock: IReactorTime) -> None:
        self._files = tuple(files)
        self._protocols = tuple(protocols)
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._seen = self._applied = _signature(self._paths())
        self._pairs: list[Pair] = []
        self._names: list[frozenset[str]] = []
        self._use(self._load())

    @property
    def context(self) -> ssl.SSLContext:
        """What a new connection is made from; the name that it asks for may change it."""
        return self._pairs[0].context

    def start(self) -> None:
        """Look at the files from now on."""
        self._timer = self._clock.callLater(WATCH_SECONDS, self._look)

    def stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def reload(self) -> bool:
        """Read the files anew; False, with the reason in the log, if that came to nothing and the old ones stay."""
        self._seen = self._applied = _signature(self._paths())
        try:
            pairs = self._load()
        except PairError as problem:
            self._log.error("the certificates stay as they were: {problem}", problem=str(problem))
            return False
        self._use(pairs)
        self._log.info("certificates were read anew: {n}", n=len(pairs))
        now = datetime.datetime.now(datetime.UTC)
        for pair in pairs:
            if complaint := pair.complaint(now):
                self._log.warn("{path}: {complaint}", path=pair.path, complaint=complaint)
        return True

    def _look(self) -> None:
        self._timer = self._clock.callLater(WATCH_SECONDS, self._look)
        found = _signature(self._paths())
        if found != self._seen:
            self._seen = found  # the other file of the pair may be on its way
        elif found != self._applied:
            self.reload()

    def _paths(self) -> Iterable[str]:
        return (path for pair in self._files for path in pair)

    def _load(self) -> list[Pair]:
        return [load_pair(certificate, key, self._protocols) for certificate, key in self._files]

    def _use(self, pairs: list[Pair]) -> None:
        self._pairs, self._names = pairs, [pair.names for pair in pairs]
        if len(pairs) > 1:
            pairs[0].context.sni_callback = _chooser(pairs)


def _chooser(pairs: list[Pair]) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    names, contexts = [pair.names for pair in pairs], [pair.context for pair in pairs[1:]]

    def choose(connection: ssl.SSLObject, asked: str | None, _: ssl.SSLContext) -> None:
        at = pick(names, asked)
        if at:
            connection.context = contexts[at - 1]

    return choose


def _first_certificate(path: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(_read(path))[0]
    except OSError as problem:
        raise PairError(False, path, _why(problem)) from None
    except (ValueError, IndexError):
        raise PairError(False, path, "no PEM certificates in it") from None


def _check_key(path: str, certificate: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(_read(path), None)
        public = certificate.public_key()
    except OSError as problem:
        raise PairError(True, path, _why(problem)) from None
    except Exception:  # noqa: BLE001 the library raises several kinds for what it cannot read
        raise PairError(True, path, "no PEM private key without a password in it") from None
    if public != key.public_key():
        raise PairError(True, path, "not the key of the certificate")


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(name.lower() for name in found.get_values_for_type(x509.DNSName))


def _signature(paths: Iterable[str]) -> tuple[object, ...]:
    """What changes when one of the files does, whether it is written over or a link leads to another."""
    found: list[object] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_dev, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_LIMIT)


def _why(problem: Exception) -> str:
    return str(getattr(problem, "strerror", None) or problem)
