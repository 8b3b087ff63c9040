"""Looking something up in a store without a Deferred, through the circuit breaker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from twisted.python.failure import Failure

from caching_proxy.interfaces import Seeker
from caching_proxy.store.breaker import Breaker


class Watch(Protocol):
    """Who wants to know how the store is. To spare a call for each hit it need not be told of what went well while
    ``breaker`` is calm."""

    breaker: Breaker

    def went_well(self) -> None: ...

    def went_wrong(self, failure: Failure) -> None: ...


@runtime_checkable
class WatchedStore(Protocol):
    """A store that tells how each look-up went before it answers."""

    def seek_watched(self, key: bytes, fields: Sequence[bytes] | None, seeker: Seeker, watch: Watch) -> None:
        """As :meth:`caching_proxy.interfaces.IStore.lookup`; ``watch`` and ``seeker`` may hear of it at once."""
