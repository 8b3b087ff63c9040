"""The admin endpoints of one proxy, as a program sees them: JSON in and out, errors by what can be done about them."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

MOST_TEXT = 64 * 1024 * 1024
"""Bytes of a sitemap; sitemaps.org allows 50 MB."""

TIMEOUT = 30.0
"""Seconds of silence after which the proxy counts as not reachable."""

Document = dict[str, Any]


class CtlError(Exception):
    """What ends a command; ``status`` is the exit status."""

    status = 1


class Refused(CtlError):
    """The proxy said no."""


class WrongUsage(CtlError):
    """What was given on the command line, or as the address, cannot be used."""

    status = 2


class NotReachable(CtlError):
    """Nobody answers at the address, or it is not this proxy."""

    status = 3


class NotAllowed(CtlError):
    """The token is missing or wrong, or guarded endpoints are not enabled."""

    status = 4


class Client:
    """``url`` is the base of the admin endpoints, without a path; ``token`` the admin token, if there is one."""

    def __init__(self, url: str, token: str | None = None, timeout: float = TIMEOUT) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:  # brackets that are no address, a port that is none
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUsage(f"{url!r} is no http:// or https:// address")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, port
        self._token = token
        self._timeout = timeout

    def get(self, path: str, **query: object) -> Document:
        """The JSON document at ``path``; raises :class:`CtlError`."""
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return self._document("GET", f"{path}?{urlencode(asked)}" if asked else path, None, (200,))

    def post(self, path: str, body: Mapping[str, object], also: tuple[int, ...] = ()) -> Document:
        """The answer to ``body``; statuses in ``also`` are answers too."""
        return self._document("POST", path, json.dumps(body).encode(), (200, *also))

    def ready(self) -> Document:
        """``/ready``, whichever of its statuses."""
        return self._document("GET", "/ready", None, (200, 503))

    def events(self, path: str) -> Iterator[tuple[str, Any]]:
        """Name and data of each server-sent event at ``path``, until the proxy ends them."""
        connection, answer = self._ask("GET", path, None)
        try:
            if answer.status != 200:
                raise self._problem(answer.status, _json(answer.read()))
            yield from _events(answer)
        except (OSError, http.client.HTTPException) as problem:
            raise NotReachable(f"the connection to {self.url} ended: {_reason(problem)}") from None
        finally:
            connection.close()

    def status_of(self, method: str, target: str, fields: Mapping[str, str]) -> tuple[int, str]:
        """An ordinary request through the proxy: its status, and ``X-Cache-Status``; the body is read and dropped."""
        connection, answer = self._ask(method, target, None, dict(fields))
        try:
            while answer.read(1 << 16):
                pass
            return answer.status, answer.getheader("X-Cache-Status") or "-"
        except (OSError, http.client.HTTPException) as problem:
            raise NotReachable(_reason(problem)) from None
        finally:
            connection.close()

    def text(self, url: str) -> str:
        """What the proxy gives for the path of ``url``, as text: a sitemap, say."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection, answer = self._ask("GET", target, None, {"Accept-Encoding": "identity"})
        try:
            data = answer.read(MOST_TEXT)
        except (OSError, http.client.HTTPException) as problem:
            raise NotReachable(_reason(problem)) from None
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(f"{target}: status {answer.status}")
        return data.decode("utf-8", "replace")

    def _document(self, method: str, path: str, body: bytes | None, right: tuple[int, ...]) -> Document:
        connection, answer = self._ask(method, path, body)
        try:
            document = _json(answer.read())
        except (OSError, http.client.HTTPException) as problem:
            raise NotReachable(f"no whole answer from {self.url}: {_reason(problem)}") from None
        finally:
            connection.close()
        if answer.status not in right:
            raise self._problem(answer.status, document)
        if not isinstance(document, dict):
            raise NotReachable(f"what answers at {self.url} is not a caching proxy's admin port")
        return document

    def _ask(
        self, method: str, path: str, body: bytes | None, fields: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._kind(self._host, self._port, timeout=self._timeout)
        headers = {"Accept": "application/json, text/event-stream"} if fields is None else fields
        if self._token is not None and fields is None:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            raise NotReachable(f"nobody answers at {self.url}: {_reason(problem)}") from None

    def _problem(self, status: int, document: object) -> CtlError:
        said = document.get("error") if isinstance(document, dict) else None
        text = str(said) if said else f"status {status}"
        if status in (401, 403, 429):
            return NotAllowed(text)
        if status == 404 and said is None:
            return NotReachable(f"what answers at {self.url} is not a caching proxy's admin port")
        return Refused(text)


def _json(data: bytes) -> object:
    try:
        document: object = json.loads(data)
    except ValueError:
        return None
    return document


def _reason(problem: Exception) -> str:
    if isinstance(problem, socket.gaierror | TimeoutError):
        return "no answer in time" if isinstance(problem, TimeoutError) else "no such host"
    return str(getattr(problem, "strerror", None) or problem or type(problem).__name__)


def _events(lines: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    name, data = "message", []
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line:
            if data:
                yield name, json.loads("\n".join(data))
            name, data = "message", []
