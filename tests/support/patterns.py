"""Every compiled pattern of the package, what it is used for, and whether its work grows in step with its input.

Steps inside the engine cannot be counted, so CPU time is compared: that of an input with that of one several times as
long. Nothing is asked of the times themselves.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from time import process_time_ns
from typing import Any

import attrs

import caching_proxy

SIZE = 1000
"""Repetitions in the shorter input; what looks slow is looked at again with more."""

LOOKS_SLOW = 5.5
"""Times the CPU time for four times the input from which it is looked at again."""

TIMES, ROUNDS = 8, 8
"""Times the input, and how often both are timed in turn, when it is looked at again."""

IS_SLOW = 22
"""Times the CPU time at which it is not linear: linear work is eight times as much, quadratic 64. On a busy machine
either may cost nearly three times what it should, and is still taken for what it is."""

PUMPS: tuple[bytes, ...] = (
    *(bytes((byte,)) for byte in b" \ta0A-_.,;:=/\\\"'()*%@?&$|~[]{}#+!\r\n\x00\xe9"),
    *(
        b'\\"',
        b"a ",
        b" a",
        b"a,",
        b", ",
        b"a=",
        b"; a",
        b"a=b;",
        b"a.",
        b"a-",
        b'"a"',
        b'"a',
        b"1.",
        b"0-",
        b"\r\n",
        b"a:",
    ),
    *(
        b"\n ",
        b"://",
        b"x@",
        b"a: ",
        b" : ",
        b"/1/",
        b"%41",
        b"$1",
        b'"\\',
        b"\\\\",
        b"a;q=",
        b"a\r\n",
        b"1,",
        b"=;",
        b"((",
        b"[]",
    ),
)
"""What inputs consist of, again and again."""

ENDS = (b"", b"\x00", b"!")
"""What comes after it: for an expression that reads all, what makes it fail in the end."""


@attrs.frozen
class Pattern:
    """A pattern by the name of its module and its own, with the methods that the module calls."""

    name: str
    compiled: re.Pattern[Any]
    methods: tuple[str, ...]

    def uses(self) -> Iterator[Callable[[Any], object]]:
        """The calls, each of what it is to be read."""
        for method in self.methods:
            call = getattr(self.compiled, method)
            if method in ("sub", "subn"):
                nothing = b"" if isinstance(self.compiled.pattern, bytes) else ""
                yield lambda text, call=call, nothing=nothing: call(nothing, text)
            elif method == "finditer":
                yield lambda text, call=call: [None for _ in call(text)]
            else:
                yield call

    def text(self, data: bytes) -> bytes | str:
        return data if isinstance(self.compiled.pattern, bytes) else data.decode("latin-1")


def _within(value: object, name: str) -> Iterator[tuple[str, re.Pattern[Any]]]:
    if isinstance(value, re.Pattern):
        yield name, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _within(each, f"{name}[{key.decode('latin-1') if isinstance(key, bytes) else key}]")
    elif isinstance(value, tuple | list | frozenset | set):
        for at, each in enumerate(value):
            yield from _within(each, f"{name}[{at}]")


_METHODS = "match|fullmatch|search|sub|subn|split|findall|finditer"


def all_patterns() -> Iterator[Pattern]:
    """Those at the top of every module, in containers as well."""
    for module in pkgutil.walk_packages(caching_proxy.__path__, "caching_proxy."):
        loaded = importlib.import_module(module.name)
        source = inspect.getsource(loaded)
        short = module.name.removeprefix("caching_proxy.")
        for variable, value in vars(loaded).items():
            for name, compiled in _within(value, variable):
                if not re.search(rf"^{variable}\b.*=", source, re.MULTILINE):
                    continue  # another module's
                used = re.findall(rf"\b{variable}(?:\[[^\]]*\])?\.({_METHODS})\b", source)
                yield Pattern(f"{short}.{name}", compiled, tuple(dict.fromkeys(used)) or ("match", "fullmatch"))


def _time(call: Callable[[Any], object], text: bytes | str, times: int) -> int:
    best = 0
    for _ in range(times):
        started = process_time_ns()
        call(text)
        spent = process_time_ns() - started
        best = min(best, spent) if best else spent
    return max(1, best)


def is_slow(call: Callable[[Any], object], make: Callable[[int], bytes | str]) -> bool:
    """Whether the work of ``call`` grows faster than what ``make`` gives it: so at a first glance with four times as
    much, and still so with eight times as much, in the best of many runs, which a busy machine cannot all spoil."""
    if _time(call, make(4 * SIZE), 2) <= LOOKS_SLOW * _time(call, make(SIZE), 2):
        return False
    short, long = make(SIZE), make(TIMES * SIZE)
    quick, slow = _time(call, short, 3), _time(call, long, 1)
    for _ in range(ROUNDS):
        if slow <= IS_SLOW * quick:
            return False
        quick, slow = min(quick, _time(call, short, 3)), min(slow, _time(call, long, 1))
    return slow > IS_SLOW * quick
