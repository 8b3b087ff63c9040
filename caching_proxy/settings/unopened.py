"""What the start will open, looked at without opening it: addresses, sockets' directories, log file, journal.

The start itself does not ask here: it opens, and says what came of that, in the same words. What only opening tells
stays open: whether a port is free or may be taken, and whether an address is one of this machine's.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from caching_proxy.settings.listen_errors import listener_refused
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError

LOG_FILE_ALLOWED = "a file that can be written"
ROTATED_ALLOWED = f"{LOG_FILE_ALLOWED} in a directory that can be, or LOG_ROTATE_BYTES=0"
STATE_DIR_ALLOWED = "a directory that can be written to ({})"
STANDARD_OUTPUTS = ("-", "/dev/stdout", "/dev/stderr")
"""What is open already and cannot always be opened by name, as where it is a socket of systemd's."""

_SOCKET_NAME_BYTES = 107
"""What a name in ``sockaddr_un`` may take."""


def would_refuse(settings: Settings) -> Iterator[SettingsError]:
    """Why the start would end, for each thing that can be seen not to open."""
    if settings.listen is not None:
        yield from _refused(lambda: _look_at(settings.listen or ""), settings.listen, "")
    else:
        yield from _refused(lambda: _resolve(settings.host, settings.port), (settings.host, settings.port), "")
    if settings.admin_port is not None:
        where = settings.admin_host, settings.admin_port
        yield from _refused(lambda: _resolve(*where), where, "ADMIN_")
    yield from _no_file("LOG_FILE", settings.log_file, LOG_FILE_ALLOWED + " ({})", _look_at_log)
    if settings.log_rotate_bytes:
        yield from _no_file("LOG_FILE", settings.log_file, ROTATED_ALLOWED + " ({})", _look_at_rotation)
    if settings.topology.shared:  # a store that nobody shares needs no journal
        yield from _no_file("STATE_DIR", settings.state_dir, STATE_DIR_ALLOWED, _look_at_state)


def _refused(look: Callable[[], object], where: str | tuple[str, int], prefix: str) -> Iterator[SettingsError]:
    try:
        look()
    except Exception as problem:  # noqa: BLE001 parsers of endpoints raise what they like, as they do at the start
        if not (isinstance(problem, LookupError) and str(where).startswith("systemd:")):  # systemd hands it to the unit
            yield listener_refused(problem, where, prefix)


# -- listeners -------------------------------------------------------------------------------------


def _look_at(where: str) -> None:
    """Raise what listening at ``where``, an endpoint description, would."""
    # not above: plugins may be asked for, and whoever imports this may still want to choose a reactor
    from twisted.internet.endpoints import serverFromString

    failed: list[Failure] = []
    listening: Deferred[Any] = maybeDeferred(serverFromString(_Looking(), where).listen, Factory())
    listening.addErrback(failed.append)
    if failed:
        failed[0].raiseException()


class _Looking:
    """A reactor that opens nothing."""

    def listenTCP(self, port: int, _factory: object, backlog: int = 50, interface: str = "") -> None:
        _resolve(interface, port)

    def listenSSL(self, port: int, _factory: object, _context: object, backlog: int = 50, interface: str = "") -> None:
        _resolve(interface, port)

    def listenUNIX(self, address: str, _factory: object, *_: Any, **__: Any) -> None:
        if "\0" in address:
            raise ValueError("embedded null character")
        _look_at_directory(os.path.dirname(address) or ".", f"{address}.lock")
        if len(os.fsencode(address)) > _SOCKET_NAME_BYTES:
            raise OSError("AF_UNIX path too long")


def _resolve(host: str, port: int) -> None:
    if not 0 <= port <= 65535:
        raise OverflowError("bind(): port must be 0-65535.")
    socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)


# -- files -----------------------------------------------------------------------------------------


def _no_file(variable: str, name: str | None, allowed: str, look: Callable[[str], object]) -> Iterator[SettingsError]:
    if name is None:
        return
    try:
        look(name)
    except (OSError, ValueError) as problem:
        yield SettingsError(variable, name, allowed.format(getattr(problem, "strerror", None) or problem))


def _look_at_log(name: str) -> None:
    if name in STANDARD_OUTPUTS:
        return
    path = os.path.realpath(name)
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        _look_at_directory(os.path.dirname(path))
        return
    if stat.S_ISDIR(kind):
        raise _error(errno.EISDIR)
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        raise OSError("neither a file nor a pipe nor a character device")
    if not os.access(path, os.W_OK):
        raise _error(errno.EACCES)


def _look_at_rotation(name: str) -> None:
    """Of a file that is there: whether it can be renamed."""
    if name not in STANDARD_OUTPUTS and os.path.isfile(name):
        _look_at_directory(os.path.dirname(os.path.realpath(name)))


def _look_at_state(name: str) -> None:
    """The directory is made where it is missing, and those above it too."""
    place = Path(name).absolute()
    for each in (place, *place.parents):
        try:
            kind = os.stat(each).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(kind):  # of one above, the one below it has said so
            raise _error(errno.EEXIST)
        _look_at_directory(str(each))
        return


def _look_at_directory(path: str, for_file: str | None = None) -> None:
    """Whether files can be made there; the error names ``for_file``."""
    try:
        kind = os.stat(path).st_mode
    except OSError as problem:
        raise _error(problem.errno or errno.ENOENT, for_file) from None
    if not stat.S_ISDIR(kind):
        raise _error(errno.ENOTDIR, for_file)
    if not os.access(path, os.W_OK | os.X_OK):
        raise _error(errno.EACCES, for_file)


def _error(code: int, name: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), name)
