"""JSON answers of the proxy's own endpoints, refusals included; twisted.web's HTML pages never get out.

Request bodies are bounded and must say that they are JSON: a page of another site cannot send that without asking
first, and asking is refused. Every answer forbids caching and sniffing, and names no origin that may read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from caching_proxy.http.body import Body, BodyTooLarge
from caching_proxy.http.messages import Field, RequestHead

JSON = b"application/json; charset=utf-8"
MAX_BODY_BYTES = 64 * 1024

_log = Logger()


class AdminRequest(Protocol):
    """What is used here of :class:`caching_proxy.server.request.ProxyRequest`.

    The answer goes through the methods that it has of twisted.web's Request.
    """

    head: RequestHead
    body: Body
    client_ip: bytes
    scheme: bytes

    def setResponseCode(self, code: int, message: bytes | None = None) -> None: ...

    def setHeader(self, name: bytes, value: bytes) -> None: ...

    def write(self, data: bytes) -> object: ...

    def registerProducer(self, producer: object, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def finish(self) -> object: ...

    def abort(self) -> object: ...

    def notifyFinish(self) -> Deferred[None]: ...

    def send_continue(self) -> None: ...


class Live(Protocol):
    """Content that goes on and on: it writes to a request by itself."""

    def begin(self, request: AdminRequest) -> None: ...


@attrs.frozen(slots=True)
class JsonAnswer:
    """An answer; its content may come in pieces, which are asked for as the client takes them, or be without end."""

    status: int
    content: bytes | Iterator[bytes] | Live
    content_type: bytes = JSON
    fields: tuple[Field, ...] = ()


class RequestRefused(Exception):
    """The request is answered with a refusal; ``reply`` says which."""

    def __init__(
        self, status: int, message: str, fields: Iterable[Field] = (), also: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.reply = json_reply({"error": message, **(also or {})}, status, fields)


def json_reply(value: object, status: int = 200, fields: Iterable[Field] = ()) -> JsonAnswer:
    """``value`` as JSON in ASCII, so that lone surrogates (bytes that are not text) survive as escapes."""
    return JsonAnswer(status, json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n", JSON, tuple(fields))


def send(request: AdminRequest, reply: JsonAnswer) -> None:
    """Write ``reply`` and finish; a ``HEAD`` gets the fields alone."""
    request.setResponseCode(reply.status)
    request.setHeader(b"Content-Type", reply.content_type)
    content = reply.content
    if isinstance(content, bytes):
        request.setHeader(b"Content-Length", b"%d" % len(content))
    if not any(name == b"Cache-Control" for name, _ in reply.fields):
        request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    for name, value in reply.fields:
        request.setHeader(name, value)
    if request.head.method == b"HEAD":
        request.finish()
    elif isinstance(content, bytes):
        request.write(content)
        request.finish()
    elif not isinstance(content, Iterator):
        content.begin(request)
    else:
        request.registerProducer(_Pieces(request, content), False)


@implementer(IPullProducer)
class _Pieces:
    """Writes a piece whenever the client has room for one."""

    def __init__(self, request: AdminRequest, pieces: Iterator[bytes]) -> None:
        self._request = request
        self._pieces = pieces

    def resumeProducing(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._request.unregisterProducer()
            self._request.finish()
        elif piece:
            self._request.write(piece)

    def stopProducing(self) -> None:
        self._pieces = iter(())


def send_when_ready(request: AdminRequest, answering: Deferred[JsonAnswer], cancellable: bool = True) -> None:
    """Answer with what ``answering`` gives, a refusal or a 500; a client that leaves cancels it if it may be."""
    gone = False

    def client_left(_: Failure) -> None:
        nonlocal gone
        gone = True
        if cancellable:
            answering.cancel()

    def deliver(reply: JsonAnswer) -> None:
        if not gone:
            send(request, reply)

    request.notifyFinish().addErrback(client_left)
    answering.addErrback(_as_reply).addCallback(deliver).addErrback(_not_sent)


def _as_reply(reason: Failure) -> JsonAnswer:
    if isinstance(reason.value, RequestRefused):
        return reason.value.reply
    if not reason.check(CancelledError):
        _log.failure("an admin request failed", reason)
    return json_reply({"error": "internal error"}, 500)


def _not_sent(reason: Failure) -> None:
    _log.failure("an admin answer could not be sent", reason)


class JsonResource(Resource):
    """A resource that answers with :class:`JsonAnswer`; subclasses write ``answer``."""

    isLeaf = True
    abandoned_with_client = True
    """Whether work under way stops when the client leaves."""

    def __init__(self) -> None:
        Resource.__init__(self)

    async def answer(self, request: AdminRequest) -> JsonAnswer:
        """The answer; raises :class:`RequestRefused`."""
        raise NotImplementedError

    def render(self, request: IRequest) -> int:
        asked = cast("AdminRequest", request)
        send_when_ready(asked, Deferred.fromCoroutine(self.answer(asked)), self.abandoned_with_client)
        return NOT_DONE_YET


def not_found(request: IRequest) -> int:
    """404 for a path that no endpoint has; to be returned from ``render``."""
    send(cast("AdminRequest", request), RequestRefused(404, "there is no such endpoint").reply)
    return NOT_DONE_YET


async def json_object(request: AdminRequest) -> dict[str, object]:
    """The request's body, a JSON object of at most 64 KiB that says what it is."""
    fields = request.head.fields
    media_type = (fields.first(b"content-type") or b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise RequestRefused(415, "send Content-Type: application/json")
    if request.body.length is not None and request.body.length > MAX_BODY_BYTES:
        raise RequestRefused(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    if (fields.first(b"expect") or b"").lower() == b"100-continue":
        request.send_continue()  # RFC 9110 §10.1.1
    try:
        value = json.loads(await request.body.collect(MAX_BODY_BYTES))
    except BodyTooLarge as error:
        raise RequestRefused(413, f"the body is longer than {MAX_BODY_BYTES} bytes") from error
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, "the body is not JSON") from error
    except CancelledError:
        raise
    except Exception as error:
        raise RequestRefused(400, "the body did not arrive whole") from error
    if not isinstance(value, dict):
        raise RequestRefused(400, "the body must be a JSON object")
    return value
