"""What happened lately is remembered and told, within bounds."""

from __future__ import annotations

from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.reasons import REFUSALS
from caching_proxy.telemetry.happenings import A_SECOND, KEPT, MOST_TEXT, Happening, Happenings

PRIVATE = REFUSALS[Refusal.PRIVATE]


def test_it_is_told_and_remembered() -> None:
    heard: list[Happening] = []
    happenings = Happenings(lambda: 12.5)
    stop = happenings.listen(heard.append)
    assert happenings.room("uncached")
    happenings.uncached("GET", "/x", 200, "MISS", "admin", PRIVATE)
    stop()
    happenings.invalidation("cache:*", "admin at 192.0.2.1", None, soft=True)
    assert [each.kind for each in heard] == ["uncached"]
    reason = {"rule": "B9", "rfc": "RFC 9111 §5.2.2.7", "text": PRIVATE.text}
    assert heard[0].data["reason"] == reason
    assert next(each for each in happenings.recent() if each.kind == "invalidation").data == {
        "time": 12.5,
        "what": "cache:*",
        "who": "admin at 192.0.2.1",
        "count": None,
        "soft": True,
        "skipped": 0,
    }


def test_a_flood_is_counted_and_the_next_one_says_so() -> None:
    now = [1.0]
    happenings = Happenings(lambda: now[0])
    for n in range(1000):
        happenings.invalidation(str(n), "x" * 5000, n)
    assert len(happenings.recent()) == A_SECOND
    assert len(str(happenings.recent()[0].data["who"])) == MOST_TEXT
    now[0] = 2.0
    happenings.invalidation("next", "y", 1)
    assert happenings.recent()[-1].data["skipped"] == 1000 - A_SECOND
    for second in range(3, 100):
        now[0] = second
        for n in range(30):
            happenings.invalidation(str(n), "z", n)
    assert len(happenings.recent()) == KEPT
