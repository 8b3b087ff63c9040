"""Fakes for tests of the proxy and of code built on it: a backend without sockets, a wire without sockets, a backend
with a socket.

``FakeUpstream``
    an :class:`~caching_proxy.interfaces.IUpstream` whose answers come from a function; records what was asked and can
    hold answers back.
``MemoryWire``
    two protocols joined in memory with real back-pressure; nothing moves until ``pump()`` is called.
``ScriptedBackend``
    a TCP server on 127.0.0.1 that answers each request with the raw bytes of a script.

Belongs here: what users of the package may test with as well.
Does not belong here: timers and clocks, and helpers of our own tests (those are in ``tests/support``).
May import: ``http``, ``rules``, ``interfaces``, ``transport``.

This package is supported: names and behaviour change only with notice.
"""

from caching_proxy.testing.backend import ScriptedBackend
from caching_proxy.testing.upstream import Answer, FakeUpstream, Fetch, Reply, Script
from caching_proxy.testing.wire import ByteRecorder, MemoryTransport, MemoryWire

__all__ = [
    "Answer",
    "FakeUpstream",
    "Fetch",
    "MemoryTransport",
    "MemoryWire",
    "ByteRecorder",
    "Reply",
    "Script",
    "ScriptedBackend",
]
