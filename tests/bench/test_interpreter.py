"""Which Python the comparison runs the proxy with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import interpreter
from bench.interpreter import OWN, WORTH, Interpreter, fastest, others

NAME = f"python{sys.version_info.major}.{sys.version_info.minor}"


def found(place: Path, content: bytes = b"\x7fELF") -> str:
    place.mkdir()
    (place / NAME).write_bytes(content)
    (place / NAME).chmod(0o755)
    return str(place)


def timing(monkeypatch: pytest.MonkeyPatch, **seconds: float | None) -> None:
    """By the name of the interpreter's directory; ours by ``own``."""

    def timed(one: Interpreter, before: str) -> tuple[str, float] | None:
        took = seconds["own" if one is OWN else Path(one.executable).parent.name]
        return None if took is None else ("3.99.1", took)

    monkeypatch.setattr(interpreter, "_timed", timed)


def test_the_fastest_runs_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ":".join(found(tmp_path / name) for name in ("quick", "quicker", "broken"))
    timing(monkeypatch, own=2.0, quick=1.5, quicker=1.0, broken=None)
    best = fastest(path)
    assert best.executable == str(tmp_path / "quicker" / NAME)
    assert best.path
    assert best.described.startswith("Python 3.99.1, 2.00 × as fast")


@pytest.mark.parametrize("seconds", [1.0 / WORTH + 0.001, 1.0, 2.0, None])
def test_ours_does_where_another_is_hardly_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float | None
) -> None:
    timing(monkeypatch, own=1.0, other=seconds)
    assert fastest(found(tmp_path / "other")) is OWN


def test_only_programs_of_our_version_are_tried(tmp_path: Path) -> None:
    script = found(tmp_path / "shims", b"#!/bin/sh\n")
    real = found(tmp_path / "real")
    path = f"{script}:{tmp_path}/none:{real}::{real}:{Path(sys.executable).parent}"
    assert list(others(path)) == [f"{real}/{NAME}"]


def test_what_does_not_run_is_none(tmp_path: Path) -> None:
    one = Interpreter(found(tmp_path / "bad") + f"/{NAME}", "", "")
    assert interpreter._timed(one, "") is None
    assert interpreter._timed(OWN, "raise SystemExit(3)\n") is None
    version, seconds = interpreter._timed(OWN, "") or ("", 0.0)
    assert version.startswith("3.")
    assert seconds > 0
