"""No target reaches what lies above the path of ``BACKEND_URL`` (SPEC 9)."""

from __future__ import annotations

import pytest

TARGETS = [
    *(b"/../secret", b"/%2e%2e/secret", b"/.%2E/secret", b"/a/..%2f..%2fsecret", b"/a/../../secret", b"/..\\secret"),
    *(b"/..%5csecret", b"/..", b"/..?x", b"//../secret", b"/..;/secret", b"/%2e%2e%2fsecret"),
    *(b"http://proxy.test/../secret", b"http://other.test/%2e%2e/secret", b"http://proxy.test/a/..%2f../x"),
]


@pytest.mark.parametrize("base", ["", "/base", "/base/deep/"])
@pytest.mark.parametrize("target", TARGETS)
def test_it_is_refused_before_anything_else(make_whole, base, target):
    whole = make_whole(BACKEND_URL=f"http://backend.test:8080{base}")
    for method in (b"GET", b"HEAD", b"GET", b"POST", b"PROPFIND", b"OPTIONS"):
        answer = whole.get(target, method=method)
        assert (answer.status, answer.cache) == (400, "ERROR")
        assert method == b"HEAD" or set(answer.json()) == {"error"}
    assert whole.get(target, b"Connection: Upgrade", b"Upgrade: websocket").status == 400
    if not whole.over_h2:
        assert whole.ask(b"GET %b HTTP/1.0\r\n\r\n" % target)[0].status == 400
    assert (whole.backend.requests, whole.keys) == ([], [])


def test_the_connection_serves_what_follows(whole):
    line = b"%b %b HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: %d\r\n\r\n%b"
    client = whole.client()
    requests = (line % (b"POST", b"/../x", 3, b"abc"), line % (b"GET", b"/y", 0, b""), line % (b"GET", b"/..", 0, b""))
    assert [answer.status for answer in client.ask(b"".join(requests))] == [400, 200, 400]
    assert whole.backend.targets == [b"/y"]


@pytest.mark.parametrize("target", [b"/a/../b", b"/a/%2e%2e/b", b"/x?../..", b"/%252e%252e/x", b"/a%2fb", b"/..x"])
def test_what_stays_inside_passes_byte_for_byte(make_whole, target):
    whole = make_whole(BACKEND_URL="http://backend.test:8080/base")
    assert [whole.get(target).cache, whole.get(target).cache] == ["MISS", "HOT_HIT"]
    assert whole.backend.targets == [b"/base" + target]
