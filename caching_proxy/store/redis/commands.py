"""Calls to a Redis server: what goes out, how many replies come back, and what they mean.

A call is the one object of its way to the server and back: it waits in the pool, then in the queue of its connection,
gathers its replies, and fires ``answer``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError
from caching_proxy.store.redis.connection import RedisConnection, RedisReply
from caching_proxy.store.redis.errors import ReadOnly

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

OnceLost = Literal["fail", "retry", "hold"]
"""What becomes of a call whose connection is lost: it fails; it is sent once more, as it has no effect; it fails at
its deadline, before which the server may still carry out what it has received."""


class SendAgain(Exception):
    """Raised by :meth:`Call.read`: the call goes out on its connection once more, with another payload."""


class AnswerTaker(Protocol[T_contra]):
    """What an answer is told to: a Deferred, as a rule. ``called``: it has been."""

    @property
    def called(self) -> object: ...

    def callback(self, result: T_contra | Failure) -> None: ...

    def errback(self, error: StoreError | Failure) -> None: ...


class CallPool(Protocol):
    """What a call knows of its pool."""

    clock: IReactorTime

    def renew(self, call: Call[T]) -> None: ...

    def finished(self, call: Call[T]) -> None: ...

    def lost(self, call: Call[T], error: StoreError) -> None: ...

    def cancelled(self, call: Call[T]) -> None: ...

    def read_only(self, error: StoreError) -> None: ...


class Call(Generic[T]):
    """One call, good for one use; each kind of it has its own ``payload`` and ``read``.

    The pool sets the rest when it is handed the call: ``since`` and ``deadline`` in seconds of the reactor's clock,
    ``connection`` while the call is under way, ``trouble`` once its connection was lost and it is held.
    """

    __slots__ = ("answer", "connection", "deadline", "pool", "replies", "since", "trouble")

    wanted: int = 1
    """How many replies make the answer."""
    ready: bytes | None = None
    """What :meth:`payload` gives, where that is the same on every connection."""
    if_lost: OnceLost = "fail"
    place: bytes = b""
    """Of a call that the store itself does not make: its key, which says to which node of a Cluster it goes; empty for
    calls about the ledger."""

    answer: AnswerTaker[T]
    connection: RedisConnection | None
    deadline: float
    pool: CallPool
    replies: list[RedisReply]
    since: float
    trouble: StoreError | None

    def payload(self, connection: RedisConnection) -> bytes:
        """The commands, as they stand on the wire."""
        raise NotImplementedError

    def read(self, replies: list[RedisReply]) -> T:
        """What the ``wanted`` replies mean; a StoreError if they are errors, or :class:`SendAgain`."""
        raise NotImplementedError

    def answered(self) -> None:
        """All replies are there."""
        answer = self.answer
        result: T | Failure | None = None
        if not answer.called:  # else cancelled, or out of time
            try:
                result = self.read(self.replies)
            except SendAgain:
                self._send_again()
                return
            except StoreError as error:  # what the server said: where that was read is of no use to anybody
                result = Failure(error.with_traceback(None))
                if isinstance(error, ReadOnly):
                    self.pool.read_only(error)
            except Exception:  # noqa: BLE001  a bug: whoever asked is told
                result = Failure()
        self.pool.finished(self)
        if not answer.called:
            answer.callback(result)  # type: ignore[arg-type]
        result = None  # the traceback of a failure holds this frame, which would hold the failure

    def lost(self, error: StoreError) -> None:
        """No more replies will come."""
        self.pool.lost(self, error)

    def fail(self, error: StoreError | Failure) -> None:
        """Fire with ``error``, unless somebody else was quicker."""
        if not self.answer.called:
            self.answer.errback(error)

    def cancel(self, _: Deferred[T]) -> None:
        """The canceller of ``answer``."""
        self.pool.cancelled(self)

    def _send_again(self) -> None:
        assert self.connection is not None
        self.replies = []
        self.connection.send(self.payload(self.connection), self)


class Ask(Call[T]):
    """Commands that are known beforehand, and a function that reads their replies."""

    __slots__ = ("_read", "if_lost", "ready", "wanted")

    def __init__(
        self, payload: bytes, wanted: int, read: Callable[[list[RedisReply]], T], if_lost: OnceLost = "fail"
    ) -> None:
        self.wanted = wanted
        self.if_lost = if_lost
        self.ready: bytes = payload
        self._read = read

    def payload(self, connection: RedisConnection) -> bytes:
        return self.ready

    def read(self, replies: list[RedisReply]) -> T:
        return self._read(replies)
