"""Who looks something up in a store without a Deferred, for tests that want one."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.interfaces import Stored


class Hearing:
    """A seeker that fires ``heard``."""

    def __init__(self) -> None:
        self.heard: Deferred[Stored | None] = Deferred()

    def found(self, stored: Stored | None) -> None:
        self.heard.callback(stored)

    def failed(self, failure: Failure) -> None:
        self.heard.errback(failure)
