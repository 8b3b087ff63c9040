"""A subscription on its connection, without a server."""

from __future__ import annotations

import pytest
from twisted.internet.testing import StringTransport

from caching_proxy.store.redis.bus import Subscription
from caching_proxy.store.redis.connection import pack


class Together(StringTransport):
    """A transport that gathers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = b""

    def write_together(self, data: bytes) -> None:
        self.gathered += data


@pytest.mark.parametrize("gathers", [False, True])
def test_it_subscribes_and_asks_for_a_sign_of_life(gathers: bool) -> None:
    transport = Together() if gathers else StringTransport()
    subscription = Subscription()
    subscription.makeConnection(transport)
    subscription.subscribe(b"channel", lambda message: None)
    subscription.ping()
    written = transport.gathered if isinstance(transport, Together) else transport.value()
    assert written == pack(b"SUBSCRIBE", b"channel") + pack(b"PING")
