"""CACHE_URL → topology."""

from __future__ import annotations

import pytest

from caching_proxy.rules.cache_url import parse_cache_url
from caching_proxy.rules.store_topology import ClusterTopology, MemoryTopology, RedisTopology, SentinelTopology


@pytest.mark.parametrize(
    ("url", "topology", "shown"),
    [
        ("memory:", MemoryTopology(), "memory:"),
        (
            "redis+sentinel://u:p%2F@H,[::1]:7/the.one/3?sentinel_user=w&sentinel_password=a%26%40",
            SentinelTopology((("h", 26379), ("::1", 7)), "the.one", False, "u", "p/", 3, "w", "a&@"),
            "redis+sentinel://u:***@h:26379,[::1]:7/the.one/3",
        ),
        (
            "VALKEYS+Sentinel://:p@h,h:26379/m/?sentinel_password=x",
            SentinelTopology((("h", 26379),), "m", True, None, "p", 0, None, "x"),
            "rediss+sentinel://:***@h:26379/m",
        ),
        ("redis+cluster://h,g:1", ClusterTopology((("h", 6379), ("g", 1))), "redis+cluster://h:6379,g:1"),
        (
            "rediss+cluster://u:p@h",
            ClusterTopology((("h", 6379),), True, "u", "p"),
            "rediss+cluster://u:***@h:6379",
        ),
        ("memory://", MemoryTopology(), "memory:"),
        ("memory", MemoryTopology(), "memory:"),
        ("redis://h", RedisTopology("h"), "redis://h:6379"),
        ("redis://h:7000/", RedisTopology("h", 7000), "redis://h:7000"),
        ("redis://h/3", RedisTopology("h", db=3), "redis://h:6379/3"),
        ("redis://h?db=3", RedisTopology("h", db=3), "redis://h:6379/3"),
        ("REDIS://H", RedisTopology("h"), "redis://h:6379"),
        ("rediss://h:1/0", RedisTopology("h", 1, tls=True), "rediss://h:1"),
        ("valkey://u:p@h:1/2", RedisTopology("h", 1, username="u", password="p", db=2), "redis://u:***@h:1/2"),
        ("valkeys://h?db=2", RedisTopology("h", tls=True, db=2), "rediss://h:6379/2"),
        ("unix:///run/a@b.sock", RedisTopology(unix_path="/run/a@b.sock"), "unix:///run/a@b.sock"),
        ("redis://[::1]:7", RedisTopology("::1", 7), "redis://[::1]:7"),
        ("redis://:p@h", RedisTopology("h", password="p"), "redis://:***@h:6379"),
        ("redis://u:p@h", RedisTopology("h", username="u", password="p"), "redis://u:***@h:6379"),
        ("redis://u:a:b@h", RedisTopology("h", username="u", password="a:b"), "redis://u:***@h:6379"),
        ("redis://u%40x:p%2F%3A%25@h", RedisTopology("h", username="u@x", password="p/:%"), "redis://u@x:***@h:6379"),
        ("redis://:%C3%A9@h", RedisTopology("h", password="é"), "redis://:***@h:6379"),
        ("unix:///run/r.sock", RedisTopology(unix_path="/run/r.sock"), "unix:///run/r.sock"),
        ("unix:///a%20b?db=2", RedisTopology(unix_path="/a b", db=2), "unix:///a b?db=2"),
        ("unix://:p@/s", RedisTopology(unix_path="/s", password="p"), "unix://:***@/s"),
    ],
)
def test_understood(url: str, topology: object, shown: str) -> None:
    parsed = parse_cache_url(url)
    assert parsed == topology
    assert parsed.describe() == shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "redis://"),
        ("localhost:6379", "redis://"),
        ("http://h", "redis://"),
        ("redis://", "host name"),
        ("redis://:6379", "host name"),
        ("redis:h", "host name"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:70000", "1 to 65535"),
        ("redis://h:x", "1 to 65535"),
        ("redis://h/x", "database"),
        ("redis://h/-1", "database"),
        ("redis://h/1/2", "database"),
        ("redis://h/1?db=2", "no parameters"),
        ("redis://h?ssl=1", "no parameters"),
        ("redis://user@h", "needs a password"),
        ("redis://u:secret@x@h", "%40"),
        ("redis://u:sec#ret@h", "%23"),
        ("redis://u:sec ret@h", "%20"),
        ("redis://u:sec/ret@h", "'/' in a user name or password is written %2F"),
        ("redis://u:sec?ret@h", "'?' in a user name or password is written %3F"),
        ("redis://u:sec[ret@h", "'[' in a user name or password is written %5B"),
        ("redis://u:sec]ret@h", "']' in a user name or password is written %5D"),
        ("redis://u:sec%ret@h", "'%' in a user name or password is written %25"),
        ("redis://u:sec%@h", "'%' in a user name or password is written %25"),
        ("redis://u:sec%ffret@h", "UTF-8"),
        ("unix://:sec/ret@/s", "%2F"),
        ("redis://h#1", "%23"),
        ("redis://h\n", "spaces"),
        ("redis://[::1", "redis://"),
        ("unix://run/r.sock", "absolute path"),
        ("unix:///", "path of a socket"),
        ("unix:///%00", "path of a socket"),
        ("redis+sentinel://h:1", "the name of the master"),
        ("redis+sentinel://h:1/", "the name of the master"),
        ("redis+sentinel:///m", "list of hosts"),
        ("redis+sentinel://h:1,,g/m", "list of hosts"),
        ("redis+sentinel://h:1,g:x/m", "list of hosts"),
        ("redis+sentinel://::1/m", "list of hosts"),
        ("redis+sentinel://h:0/m", "from 1 to 65535"),
        ("redis+sentinel://h:70000/m", "from 1 to 65535"),
        ("redis+sentinel://h/m/x", "the database is a number"),
        ("redis+sentinel://h/m/1/2", "the database is a number"),
        ("redis+sentinel://u:sec@ret@h/m", "%40"),
        ("redis+sentinel://u:sec?ret@h/m", "%3F"),
        ("redis+sentinel://sec@h/m", "needs a password"),
        ("redis+sentinel://h/m?db=1", "sentinel_password"),
        ("redis+sentinel://h/m?sentinel_user=u", "needs sentinel_password"),
        ("redis+sentinel://h/m?sentinel_password=sec@ret", "%40"),
        ("redis+sentinel://h/m?sentinel_password=sec%ret", "%25"),
        ("redis+sentinel://h/m?sentinel_password=sec#ret", "%23"),
        ("redis+sentinel://h/m?sentinel_password=sec&sentinel_password=sec", "each once"),
        ("redis+cluster://h:1/1", "database 0 only"),
        ("redis+cluster://h:1?x", "database 0 only"),
        ("redis+cluster://", "list of hosts"),
        ("redis+cluster://" + ",".join(f"h{n}" for n in range(101)), "at most 100"),
        ("redis+other://h", "redis+cluster://"),
    ],
)
def test_refused_with_a_reason_and_without_the_password(url: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_cache_url(url)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "sec" not in str(caught.value)


def test_the_password_is_not_in_the_repr() -> None:
    assert "hush" not in repr(parse_cache_url("redis://u:hush@h"))
