"""Why a listener did not open, put as a :class:`SettingsError`: which variable is to blame, and what would have worked.

Only the operating system knows whether an address exists or a port is free, so these values fail when they are bound.
"""

from __future__ import annotations

import errno
import os
import socket

from twisted.internet.error import CannotListenError

from caching_proxy.settings.parsers import SettingsError

_TAKEN = "that nobody else listens on"
_ADDRESS = "an address of this machine such as 127.0.0.1"
_ENDPOINT = "a Twisted endpoint string such as tcp:3000 or unix:/run/proxy.sock"


def listener_refused(problem: BaseException, where: str | tuple[str, int], prefix: str = "") -> SettingsError:
    """What ``listen`` at ``where`` failed with, in the user's words; ``prefix`` comes before HOST and PORT."""
    if isinstance(problem, CannotListenError):
        problem = problem.socketError
    if isinstance(where, str):
        return SettingsError("LISTEN", where, _endpoint_allowed(problem, where))
    host, port = where
    code = problem.errno if isinstance(problem, OSError) and not isinstance(problem, socket.gaierror) else None
    if code == errno.EADDRINUSE:
        return SettingsError(f"{prefix}PORT", str(port), f"a port of {host} {_TAKEN}")
    if code in (errno.EACCES, errno.EPERM):
        return SettingsError(f"{prefix}PORT", str(port), f"a port that this user may open ({_reason(problem)})")
    return SettingsError(f"{prefix}HOST", host, f"{_ADDRESS} ({_reason(problem)})")


def _endpoint_allowed(problem: BaseException, where: str) -> str:
    if isinstance(problem, OSError):
        if problem.errno == errno.EADDRINUSE:
            return f"an endpoint {_TAKEN}"
        return f"an endpoint that can be opened ({_reason(problem)})"
    if isinstance(problem, LookupError) and where.startswith("systemd:"):
        return "a socket that systemd has passed on to this process; there is none of that index or name"
    return f"{_ENDPOINT} ({_reason(problem)})"


def _reason(problem: BaseException) -> str:
    """One line without error numbers."""
    if isinstance(problem, OSError) and problem.errno is not None:
        # Our own listener and Twisted put the symbolic name before the text; os.strerror has the text alone.
        text = (problem.strerror or "") if isinstance(problem, socket.gaierror) else os.strerror(problem.errno)
        file = problem.filename2 or problem.filename
        return f"{text}: {os.fsdecode(file)}" if file else text
    if isinstance(problem, OSError | ValueError | OverflowError) and str(problem):
        return " ".join(str(problem).split())
    if isinstance(problem, TypeError):  # Twisted calls a parser with the arguments as they were given
        return "an argument is missing, unknown or too many"
    return " ".join(f"{type(problem).__name__} {problem}".split())
