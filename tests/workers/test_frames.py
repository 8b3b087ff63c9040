"""Frames of the control channel: what goes in comes out, however it is cut; what is no frame is refused."""

from __future__ import annotations

import contextlib
import json
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.workers.frames import MAX_FRAME_BYTES, PIECE_BYTES, BadFrame, FrameReader, WorkerFrame, pieces

WORDS = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
FRAMES = st.lists(st.builds(WorkerFrame, WORDS, st.binary()), max_size=5)


@given(FRAMES, st.lists(st.integers(0, 400)))
@pytest.mark.slow
def test_any_cut(frames: list[WorkerFrame], cuts: list[int]) -> None:
    data = b"".join(frame.encode() for frame in frames)
    reader, seen = FrameReader(), []
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(places):
        seen += reader.feed(data[start:end])
    assert seen == frames


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for(noise: bytes) -> None:
    reader = FrameReader()
    try:
        frames = list(reader.feed(noise))
    except BadFrame:
        return
    assert sum(map(len, map(WorkerFrame.encode, frames))) <= len(noise) + 200
    assert all(isinstance(frame.words, dict) for frame in frames)


@given(FRAMES.filter(bool), st.data())
@pytest.mark.slow
def test_a_changed_length_never_hangs_or_breaks_out(frames: list[WorkerFrame], data: st.DataObject) -> None:
    wire = bytearray(b"".join(frame.encode() for frame in frames))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadFrame):
        list(FrameReader().feed(bytes(wire)))


@pytest.mark.parametrize(
    "wire",
    [
        struct.pack(">II", MAX_FRAME_BYTES + 1, 2),
        struct.pack(">II", 3, 0),
        struct.pack(">II", 6, 3) + b"{}",
        struct.pack(">II", 6, 2) + b"[]",
        struct.pack(">II", 6, 2) + b"{x",
        struct.pack(">II", 100_004, 100_000) + b"[" * 100_000,
    ],
    ids=["too long", "shorter than its lengths", "text beyond the frame", "no object", "no JSON", "too deep"],
)
def test_no_frames(wire: bytes) -> None:
    with pytest.raises(BadFrame):
        list(FrameReader().feed(wire))


def test_the_longest_frame() -> None:
    most = MAX_FRAME_BYTES - 4 - len(json.dumps({}))
    assert list(FrameReader().feed(WorkerFrame({}, bytes(most)).encode())) == [WorkerFrame({}, bytes(most))]
    with pytest.raises(ValueError, match="a frame of"):
        WorkerFrame({}, bytes(most + 1)).encode()


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])
def test_pieces(size: int) -> None:
    parts = list(pieces(bytes(size)))
    assert b"".join(parts) == bytes(size)
    assert all(len(part) <= PIECE_BYTES for part in parts)
    assert len(parts) == max(1, -(-size // PIECE_BYTES))
