"""The seams of those that work beside this process: proxies on the same store, workers, the next process."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from caching_proxy.rules.bus_message import Invalidation


class Claim(enum.Enum):
    """Whose it is to fetch something."""

    OURS = "ours"
    THEIRS = "theirs"
    NOBODYS = "nobody's"  # each for itself: the answer is for one alone, or the store does not tell


class IClaims(Interface):
    """Which proxy fetches what, among those that share a store."""

    def claim(name: bytes) -> Deferred[Claim]:
        """Ask for a name, or for more time with it; never fails. A claim ends by itself after some seconds.

        Args:
            name: What is to be fetched.

        Returns:
            Whose it is.
        """

    def give_up(name: bytes, alone: bool = False) -> None:
        """Let others have a name.

        Args:
            name: What was fetched.
            alone: The answer was for one alone, so that nobody need wait for the next.
        """

    def stop() -> Deferred[None]:
        """Give up all that is ours, and claim nothing more; fires when that is done, and never fails."""


class IInvalidationBus(Interface):
    """Brings the invalidations of other proxies that share a store; :meth:`IStore.mark` takes ours there."""

    seen = Attribute(
        "The newest invalidation that was applied here, for IStore.put; None where the store keeps no order."
    )
    sent = Attribute("Messages that the store took from us, a count.")
    received = Attribute("Messages of other proxies that were heard, a count.")
    gaps = Attribute("Times that messages were missed, or may have been, a count.")
    flushes = Attribute("Those after which nobody could tell what was missed, so that memory was emptied, a count.")
    subscribed = Attribute("Whether messages of others are heard now.")
    state = Attribute(
        "``up``; ``late``: others are heard only when the store is asked, about once a second; ``unordered``: they are "
        "heard, but the store tells nobody what he missed; ``down``: they are not heard."
    )

    def start(on_invalidation: Callable[[Invalidation], object], on_gap: Callable[[], object]) -> None:
        """Begin to listen, and never give up.

        Args:
            on_invalidation: Called with what other proxies invalidated, perhaps twice.
            on_gap: Called when nobody can tell what was missed.
        """

    def catch_up() -> Deferred[None]:
        """Apply what the store knows of and we do not.

        Raises:
            StoreError: It cannot be asked.
        """

    def stop() -> Deferred[None]:
        """Tell and hear nothing more; fires when the connection is closed."""


class IJournal(Protocol):
    """Where invalidations stand that the store has not carried out, so that they outlive this process."""

    def keep(self, invalidations: Sequence[Invalidation]) -> Deferred[None]:
        """Write invalidations down; fires when these, and all before them, are safe.

        Args:
            invalidations: Those that wait for the store.

        Raises:
            OSError: They cannot be written.
        """

    def clear(self) -> Deferred[None]:
        """Nothing is pending any more."""


class ISiblings(Protocol):
    """The other workers behind the same port."""

    def announce(self, invalidation: Invalidation, on_removed: Callable[[set[bytes]], object]) -> None:
        """Have the other workers carry an invalidation out.

        Args:
            invalidation: What is invalidated.
            on_removed: Called once, when all have done it, with the keys that they removed.
        """

    def reached(self) -> Deferred[None]:
        """Fires when all that was announced has taken effect at all of them; never fails."""
