"""How many Python functions and how many in C run for a request: what it costs on a machine of any speed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from types import FrameType
from typing import Any

import attrs

_NOT_COUNTED = (
    "/tests/",
    " support.",
    "/caching_proxy/testing/",
    "/twisted/internet/task.py",
    "/twisted/internet/base.py",
)


@attrs.frozen
class Counts:
    """Python frames and C calls, each for one request."""

    frames: float
    c_calls: float


@lru_cache
def _counted(filename: str) -> bool:
    return not any(part in filename for part in _NOT_COUNTED)


def counts_of(requests: list[Callable[[], Any]]) -> Counts:
    """What each of ``requests`` costs on the average, in code of the proxy and of what it builds on."""
    frames = c_calls = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal frames, c_calls
        if event == "call":
            frames += _counted(frame.f_code.co_filename)
        elif event == "c_call":
            c_calls += _counted(frame.f_code.co_filename)

    old = sys.getprofile()
    for request in requests:
        sys.setprofile(profile)
        try:
            request()
        finally:
            sys.setprofile(old)
    return Counts(frames / len(requests), c_calls / len(requests))
