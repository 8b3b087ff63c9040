"""The ports that tests take: none that a browser refuses to open."""

from __future__ import annotations

import itertools

import pytest
from support import ports


def test_no_port_that_browsers_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_worker", 0)
    monkeypatch.setattr(ports, "_is_free", lambda port: True)
    monkeypatch.setattr(ports, "_numbers", itertools.count(79))
    assert [ports.free_port() for _ in range(3)] == [10_079, 10_081, 10_082]
