"""One word for one thing: a public class has its name for itself, wherever in the package it stands."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "caching_proxy"


def _shared_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Public classes at the top of modules that share a name, with the modules."""
    places = defaultdict[str, list[str]](list)
    for module, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    return {name: modules for name, modules in places.items() if len(modules) > 1}


@pytest.mark.slow
def test_no_two_public_classes_share_a_name() -> None:
    sources = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert sources
    assert _shared_names(sources) == {}


def test_what_counts_as_shared() -> None:
    two = "class Reply: ...\nclass _Own: ...\ndef f():\n    class Within: ...\n"
    sources = {"a": two, "b": two, "c": "class Other: ..."}
    assert _shared_names(sources) == {"Reply": ["a", "b"]}
