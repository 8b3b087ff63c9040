"""Metric labels: SPEC section 11."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.telemetry.metrics.path_labels import PathLabels, normalise_method, normalise_path


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (b"/", "/"),
        (b"", ""),
        (b"*", "*"),
        (b"/api/v1/articles/123", "/api/v1/articles/:id"),
        (b"/api/v1/articles/123/", "/api/v1/articles/:id/"),
        (b"/1/2/3", "/:id/:id/:id"),
        (b"/a/123?x=/9", "/a/:id"),
        (b"/a?x=1", "/a"),
        (b"/a/550e8400-e29b-41d4-a716-446655440000/b", "/a/:id/b"),
        (b"/a/550E8400-E29B-41D4-A716-446655440000", "/a/:id"),
        (b"/a/550e8400-e29b-41d4-a716-44665544000", "/a/550e8400-e29b-41d4-a716-44665544000"),
        (b"/a/0123456789abcdef", "/a/:id"),
        (b"/a/0123456789abcde", "/a/0123456789abcde"),
        (b"/a/0123456789abcdeg", "/a/0123456789abcdeg"),
        (b"/a12/12a/1.2", "/a12/12a/1.2"),
        (b"/caf\xc3\xa9/\x00\x7f ", "/caf??/???"),
        (b"/" + b"x" * 119, "/" + "x" * 119),
        (b"/" + b"x" * 120, "/" + "x" * 116 + "..."),
    ],
)
def test_path(path: bytes, label: str) -> None:
    assert normalise_path(path) == label


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.binary(max_size=200))
def test_any_path_is_short_and_printable(path: bytes) -> None:
    label = normalise_path(path)
    assert len(label) <= 120
    assert label.isascii()
    assert label.isprintable()


SEGMENTS = st.sampled_from([b"/", b"a", b"1", b"23", b"?", b"0123456789abcdef", b"x" * 60, b"\xb2", b".", b"%31"])


@given(st.lists(SEGMENTS, max_size=9).map(b"".join))
def test_a_label_is_that_of_the_path_whatever_was_asked_for_before(path: bytes) -> None:
    labels = PathLabels()
    for before in (path, path + b"7", path + b"/7", path + b"/88"):
        assert labels.label(before) == normalise_path(before)
    assert labels.label(path) == normalise_path(path)


@pytest.mark.parametrize(("method", "label"), [(b"GET", "GET"), (b"PATCH", "PATCH"), (b"get", "other"), (b"", "other")])
def test_method(method: bytes, label: str) -> None:
    assert normalise_method(method) == label


def test_labels_are_bounded() -> None:
    labels = PathLabels(limit=2)
    assert labels.label(b"/a/1") == "/a/:id"
    assert labels.label(b"/a/2?x") == "/a/:id"
    assert labels.label(b"/b") == "/b"
    assert labels.label(b"/c") == ":other"
    assert labels.label(b"/c") == ":other"
    assert labels.label(b"/b?q") == "/b"
    assert labels.label(b"/a/3") == "/a/:id"


def test_many_paths_do_not_displace_labels_or_pile_up() -> None:
    labels = PathLabels(limit=1)
    assert labels.label(b"/first") == "/first"
    assert {labels.label(b"/x%d" % number) for number in range(3000)} == {":other"}
    assert labels.remembered > 500
    assert labels.label(b"/first") == "/first"
    assert labels.remembered <= 1024
    known = PathLabels()
    assert {known.label(b"/x/%d" % number) for number in range(3000)} == {"/x/:id"}
    assert known.remembered == 1, "identifiers alone take no place"
    before = labels.remembered
    assert labels.label(b"/" + b"y" * 300) == ":other"
    assert labels.remembered == before
