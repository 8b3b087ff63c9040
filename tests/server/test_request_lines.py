"""A plain request line is read at a glance, and as any other is."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caching_proxy.http.framing import BadMessage
from caching_proxy.server.limits import DEFAULT_LIMITS
from caching_proxy.server.request_line import check_request_line, parse_request_line

NARROW = attrs.evolve(DEFAULT_LIMITS, target_bytes=24)
PIECES = st.sampled_from(
    [b"/", b"a", b"?x=%20", b"#", b'"', b"!", b"~", b"\x7f", b"\xe9", b"\t", b"\r", b"\n", b" ", b"x" * 12, b"http://h"]
)
LINES = st.builds(
    lambda method, pieces, end: b"%b %b%b" % (method, b"".join(pieces), end),
    st.sampled_from([b"GET", b"HEAD", b"POST", b"get", b"", b"GET "]),
    st.lists(PIECES, max_size=5).map(lambda pieces: [b"/", *pieces]),
    st.sampled_from(
        [b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b"", b" HTTP/1.1 ", b" HTTP/1.1\n", b" http/1.1"]
    ),
)


@example(b"GET / HTTP/1.1\n")
@example(b"GET /a#b HTTP/1.1")
@example(b"GET /\x7f HTTP/1.1")
@example(b"GET / / HTTP/1.0")
@example(b"GET /" + b"x" * 23 + b" HTTP/1.1")
@example(b"GET /" + b"x" * 24 + b" HTTP/1.1")
@given(LINES)
def test_a_plain_line_is_read_as_any_other(line: bytes) -> None:
    try:
        told = check_request_line(line, NARROW)
    except BadMessage as refusal:
        with pytest.raises(BadMessage) as raised:
            parse_request_line(line, NARROW)
        assert (raised.value.status, str(raised.value)) == (refusal.status, str(refusal))
        return
    read = parse_request_line(line, NARROW)
    assert (read.method, read.target, read.minor, read.authority) == (*told, None)
    assert read.plain == (read.method in (b"GET", b"HEAD"))
