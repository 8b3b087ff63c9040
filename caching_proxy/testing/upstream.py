"""A backend without sockets: answers come from a function and can be held back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.http.body import Body
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.interfaces import IncompleteBody, IUpstream, UpstreamResponse


@attrs.frozen(slots=True)
class Reply:
    """What a scripted backend answers.

    The body is announced with its length; ``length=None`` makes it one whose end only the connection tells.
    ``cut`` lets it fail with :class:`IncompleteBody` after the bytes of ``body``. ``interim`` responses come first.
    No field is added: give ``Content-Length`` or ``Date`` where a test needs them.
    """

    status: int = 200
    fields: Sequence[Field] = ()
    body: bytes = b""
    reason: bytes = b"OK"
    interim: Sequence[ResponseHead] = ()
    length: int | None = attrs.field()
    cut: bool = False
    reused: bool = False

    @length.default
    def _body_length(self) -> int:
        return len(self.body)

    def response(self, method: bytes = b"GET") -> UpstreamResponse:
        """This reply as an answer.

        Args:
            method: That of the request; an answer to HEAD has no body.

        Returns:
            The response, with its body complete, or broken where it is ``cut``.
        """
        head = ResponseHead(self.status, self.reason, Fields(self.fields))
        if method == b"HEAD" or self.status in (204, 304):
            return UpstreamResponse(head, Body.of(b""), 0, self.reused)
        if not self.cut and self.length == len(self.body):
            return UpstreamResponse(head, Body.of(self.body), self.length, self.reused)
        body = Body(self.length)
        if self.body:
            body.feed(self.body)
        if self.cut:
            body.fail(Failure(IncompleteBody("the backend ended early")))
        else:
            body.end()
        return UpstreamResponse(head, body, self.length, self.reused)


Answer = Reply | UpstreamResponse | Exception
"""What a script returns: a reply, a response made by hand (its body fed by the test), or an error to fail with."""

Script = Callable[[RequestHead, bytes], Answer]


@attrs.define(eq=False)
class Fetch:
    """One request that reached a :class:`FakeUpstream`; ``body`` is what its body held."""

    head: RequestHead
    body: bytes = b""
    cancelled: bool = False
    answered: bool = False
    peer: bytes = b""
    _on_interim: Callable[[ResponseHead], None] | None = None
    _result: Deferred[UpstreamResponse] | None = None

    @property
    def waiting(self) -> bool:
        """Whether the caller still waits for the answer."""
        return not self.answered and not self.cancelled

    def interim(self, head: ResponseHead) -> None:
        """Send a 1xx now.

        Args:
            head: Its head.
        """
        if self._on_interim is not None:
            self._on_interim(head)

    def answer(self, answer: Answer) -> None:
        """Give the final answer now; does nothing if the caller has gone.

        Args:
            answer: A reply, a response made by hand, or an error to fail with.
        """
        if not self.waiting or self._result is None:
            return
        self.answered = True
        if isinstance(answer, Exception):
            self._result.errback(Failure(answer))
            return
        if isinstance(answer, Reply):
            for head in answer.interim:
                self.interim(head)
            answer = answer.response(self.head.method)
        self._result.callback(answer)


@implementer(IUpstream)
class FakeUpstream:
    """A scripted backend: ``script(request head, request body) -> Answer``.

    ``requests`` lists every :class:`Fetch` in the order in which the bodies were complete. Between ``hold()`` and
    ``release()`` nothing is answered, so that a test can look at, or cancel, requests under way; the script is called
    when the answer is released. A script that raises fails the fetch with what it raised::

        upstream = FakeUpstream(lambda head, body: Reply(body=b"hello", fields=[(b"Cache-Control", b"max-age=60")]))
        response = await upstream.fetch(RequestHead(b"GET", b"/"))
        assert upstream.targets == [b"/"]
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script if script is not None else lambda head, body: Reply()
        self.requests: list[Fetch] = []
        self.stopped = False
        self._holding = False

    @property
    def targets(self) -> list[bytes]:
        """The targets asked for, in order."""
        return [fetch.head.target for fetch in self.requests]

    @property
    def pending(self) -> list[Fetch]:
        """Requests that have no answer yet and whose callers still wait."""
        return [fetch for fetch in self.requests if fetch.waiting]

    def hold(self) -> None:
        """Keep answers back from now on."""
        self._holding = True

    def release(self) -> None:
        """Answer everything held, in order, and hold nothing from now on."""
        self._holding = False
        for fetch in self.pending:
            self._answer(fetch)

    def release_one(self) -> None:
        """Answer the oldest of those held; the others, and what comes, are still held."""
        self._answer(self.pending[0])

    def fetch(
        self,
        request: RequestHead | OutgoingRequest,
        body: Body | None = None,
        on_interim: Callable[[ResponseHead], None] | None = None,
        peer: bytes = b"",
    ) -> Deferred[UpstreamResponse]:
        head = request.head if isinstance(request, OutgoingRequest) else request
        fetch = Fetch(head, on_interim=on_interim, peer=peer)

        def cancelled(_: Deferred[UpstreamResponse]) -> None:
            fetch.cancelled = True
            collecting.cancel()

        result: Deferred[UpstreamResponse] = Deferred(cancelled)
        fetch._result = result
        collecting = body.collect(1 << 40) if body is not None else succeed(b"")
        collecting.addCallbacks(lambda data: self._arrived(fetch, data), lambda reason: self._broken(fetch, reason))
        return result

    def stop(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)

    def _arrived(self, fetch: Fetch, data: bytes) -> None:
        fetch.body = data
        self.requests.append(fetch)
        if not self._holding:
            self._answer(fetch)

    def _broken(self, fetch: Fetch, reason: Failure) -> None:
        if fetch.waiting and fetch._result is not None:
            fetch.answered = True
            fetch._result.errback(reason)

    def _answer(self, fetch: Fetch) -> None:
        try:
            answer = self.script(fetch.head, fetch.body)
        except Exception as error:  # noqa: BLE001 - whatever the script raises is the outcome that the test wants
            answer = error
        fetch.answer(answer)
