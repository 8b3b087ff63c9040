"""The steps of a request through the cache, by name: a closed set, which trace logs and the diagram of
``docs/architecture.md`` share."""

from __future__ import annotations

import enum
from collections.abc import Callable

from caching_proxy.cache.requests import ClientRequest


class Step(enum.Enum):
    """What the pipeline does next; each is a method of it."""

    RECEIVE = "receive"  # what the fields alone say, whether it goes round, whose request it is
    PLAN = "plan"  # its key, or why the cache is passed by
    PASS = "pass"  # forwarded past the cache; an unsafe method invalidates
    LOOK_UP = "look_up"  # in the hot tier, then in burst tier and store
    DECIDE = "decide"  # what the variants found come to
    READ_AGAIN = "read_again"  # the variant that answers was not among those guessed
    REVALIDATE = "revalidate"  # behind the back of a stale answer
    FILL = "fill"  # ask for all of what the client has already
    JOIN = "join"  # the flight under way for the key, or begin one
    LAND = "land"  # the flight came to something
    FETCH = "fetch"  # from the backend
    STAND_IN = "stand_in"  # a stale answer for a backend that is silent
    ANSWER = "answer"


Tell = Callable[[Step, ClientRequest], None]
"""Hears of each step that a request takes, as it begins."""
