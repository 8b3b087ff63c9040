"""Tags, from the response that brings them to the invalidation by them, whatever is under way then."""

from __future__ import annotations

import json

import pytest
from support.memory_proxy import Exchange, MemoryProxy, down

from caching_proxy.rules.invalidation_rules import parse_rules
from caching_proxy.testing.upstream import Fetch

FRESH = "Cache-Control: max-age=900"
TAG = "Surrogate-Key: one two"


@pytest.fixture
def tagged(proxy: MemoryProxy) -> MemoryProxy:
    """/x carries one and two, /y two, /z nothing."""
    for target, lines in (("/x", (TAG,)), ("/y", ("Cache-Tag: two , three",)), ("/z", ())):
        proxy.says(FRESH, *lines)
        proxy.get(target)
    return proxy


def statuses(proxy: MemoryProxy) -> list[str]:
    return [proxy.get(target).cache for target in ("/x", "/y", "/z")]


@pytest.mark.parametrize("forget", [False, True], ids=["memory", "store"])
@pytest.mark.parametrize(
    ("tags", "count", "gone"),
    [([b"one"], 1, "x"), ([b"two"], 2, "xy"), ([b"three", b"one"], 2, "xy"), ([b"on"], 0, ""), ([b"*"], 0, "")],
    ids=str,
)
def test_exactly_what_carries_one_of_them_goes(
    tagged: MemoryProxy, forget: bool, tags: list[bytes], count: int, gone: str
) -> None:
    if forget:
        tagged.forget_memory()
    assert tagged.invalidate_tags(*tags) == [count]
    expected = ["MISS" if name in gone else "HIT" if forget else "HOT_HIT" for name in "xyz"]
    assert statuses(tagged) == expected
    assert tagged.quiet


def test_variants_go_one_by_one(proxy: MemoryProxy) -> None:
    for language in ("de", "en"):
        proxy.says(FRESH, "Vary: Accept-Language", f"Cache-Tag: {language}", body=language.encode())
        proxy.get("/x", f"Accept-Language: {language}")
    assert proxy.invalidate_tags(b"de") == [1]
    assert proxy.get("/x", "Accept-Language: en").cache == "HIT"
    assert proxy.get("/x", "Accept-Language: de").cache == "MISS"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_clients_never_see_them(proxy: MemoryProxy, method: str) -> None:
    proxy.says(FRESH, TAG, "Cache-Tag: three", 'ETag: "a"', "surrogate-key: four")
    answers = [proxy.ask(method, "/x"), proxy.ask(method, "/x"), proxy.ask(method, "/x", 'If-None-Match: "a"')]
    answers += [proxy.ask(method, "/x", "Range: bytes=0-1"), proxy.ask(method, "/x", "Cache-Control: no-store")]
    proxy.forget_memory()
    answers += [proxy.ask(method, "/x")]
    proxy.says("Cache-Control: no-store", TAG)
    answers += [proxy.ask(method, "/other")]
    for answer in answers:
        assert answer["Surrogate-Key"] is answer["Cache-Tag"] is None


def test_a_body_that_streams_has_none_either(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH, TAG)
    proxy.backend.script = lambda head, body: response
    exchanges = [proxy.start("GET", "/x"), proxy.start("GET", "/x")]
    response.body.feed(b"a")
    response.body.end()
    for exchange in exchanges:
        assert exchange.answer is not None
        assert exchange.answer["Surrogate-Key"] is None
    assert proxy.invalidate_tags(b"one") == [1]


def test_rules_attach_some(proxy: MemoryProxy) -> None:
    proxy.ruled({"match": "^/x", "tags": ["rule"]})
    proxy.says(FRESH, TAG)
    for target in ("/x", "/y"):
        proxy.get(target)
    assert proxy.invalidate_tags(b"rule") == [1]
    assert [proxy.get(target).cache for target in ("/x", "/y")] == ["MISS", "HOT_HIT"]


def test_Z9_a_304_without_them_leaves_them_and_one_with_them_replaces_them(proxy: MemoryProxy) -> None:
    short = "Cache-Control: max-age=5"
    for tags, gone in ((), b"one"), (("Cache-Tag: new",), b"new"):
        proxy.says(short, 'ETag: "a"', TAG)
        proxy.get("/x", "Cache-Control: no-cache")
        proxy.advance(6)
        proxy.says(short, 'ETag: "a"', *tags, status=304, body=b"")
        assert proxy.get("/x").cache == "REVALIDATED"
        if tags:
            assert proxy.invalidate_tags(b"one") == [0]
        assert proxy.invalidate_tags(gone) == [1]


def test_by_a_rule_after_a_post(tagged: MemoryProxy) -> None:
    rules = [{"post_path_regex": "^/change/(.*)$", "invalidate_tags": ["$1"]}]
    tagged.rules = parse_rules(json.dumps(rules))
    tagged.says()
    tagged.ask("POST", "/change/two")
    tagged.says(FRESH)
    assert statuses(tagged) == ["MISS", "MISS", "HOT_HIT"]


def test_one_round_trip_writes_an_entry_and_its_tags(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, TAG)
    proxy.get("/x")
    assert proxy.store.calls == ["lookup", "put"]


# -- what is under way


class Held(MemoryProxy):
    """The backend answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.backend.hold()

    @property
    def asked(self) -> list[Fetch]:
        """What waits for an answer."""
        return [fetch for fetch in self.backend.requests if fetch.waiting]

    def answer(self, *lines: str, body: bytes = b"one", status: int = 200) -> None:
        """To the oldest request that waits."""
        self.asked[0].answer(self.reply(*lines, body=body, status=status))


def cache_of(exchange: Exchange) -> tuple[str, bytes]:
    assert exchange.answer is not None
    return exchange.answer.cache, exchange.answer.body


@pytest.mark.parametrize(("tag", "stored"), [(b"one", False), (b"other", True)])
def test_a_fill_whose_head_has_not_come_may_carry_the_tag(tag: bytes, stored: bool) -> None:
    proxy = Held()
    before = proxy.start("GET", "/x")
    assert proxy.invalidate_tags(tag) == [0]
    proxy.answer(FRESH, TAG, body=b"old")
    assert cache_of(before) == ("MISS", b"old")
    after = proxy.start("GET", "/x")
    assert (after.answer is not None) is stored
    assert (proxy.store.fields_of(b"cache:GET:anonymous:/x") != []) is stored
    if not stored:
        proxy.answer(FRESH, TAG, body=b"new")
        assert cache_of(after) == ("MISS", b"new")
        assert proxy.get("/x").body == b"new"
    assert proxy.quiet


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("how", ["fetched", "validated"])
def test_a_fill_does_not_bring_back_another_variant_that_carries_the_tag(how: str, soft: bool) -> None:
    """The variants known when the fetch began go into memory with what it brings, but not those."""
    proxy = Held()

    def fetch(language: str, body: bytes, *lines: str, status: int = 200) -> Exchange:
        exchange = proxy.start("GET", "/x", f"Accept-Language: {language}", *lines)
        if proxy.asked:
            vary = ("Vary: Accept-Language", f"Cache-Tag: {language}", f'ETag: "{language}"')
            proxy.answer(FRESH, *vary, body=body, status=status)
        return exchange

    fetch("de", b"old")
    if how == "validated":
        fetch("en", b"en")
    wish = "Cache-Control: no-cache" if how == "validated" else "X-Plain: 1"
    under_way = proxy.start("GET", "/x", "Accept-Language: en", wish)
    assert len(proxy.asked) == 1
    proxy.invalidate_tags(b"de", soft=soft)
    vary = ("Vary: Accept-Language", "Cache-Tag: en", 'ETag: "en"')
    proxy.answer(FRESH, *vary, body=b"en" if how == "fetched" else b"", status=200 if how == "fetched" else 304)
    assert cache_of(under_way)[1] == b"en"
    assert cache_of(fetch("de", b"new"))[1] == b"new"
    assert cache_of(fetch("en", b"newer"))[1] == b"en", "which nothing concerned"
    assert proxy.quiet


def test_who_comes_after_the_invalidation_is_not_given_what_was_asked_for_before() -> None:
    proxy = Held()
    before = proxy.start("GET", "/x")
    proxy.invalidate_tags(b"one")
    after = proxy.start("GET", "/x")
    assert len(proxy.asked) == 1, "nobody knows yet that it is concerned"
    proxy.answer(FRESH, TAG, body=b"old")
    assert cache_of(before) == ("MISS", b"old")
    assert after.answer is None
    proxy.answer(FRESH, TAG, body=b"new")
    assert cache_of(after) == ("MISS", b"new")
    assert proxy.get("/x").body == b"new"
    assert proxy.quiet


def test_nor_if_the_key_was_invalidated_since_for_another_reason() -> None:
    """The later invalidation says nothing of those who came between the two."""
    proxy = Held()
    before = proxy.start("GET", "/x")
    proxy.invalidate_tags(b"one")
    between = proxy.start("GET", "/x")
    proxy.invalidate("cache:GET:*:/x")
    after = proxy.start("GET", "/x")
    proxy.answer(FRESH, TAG, body=b"old")
    assert cache_of(before) == ("MISS", b"old")
    assert between.answer is None
    while proxy.asked:
        proxy.answer(FRESH, TAG, body=b"new")
    assert [cache_of(between)[1], cache_of(after)[1]] == [b"new", b"new"]
    assert proxy.quiet


def test_a_body_that_streams_is_not_stored_nor_joined(proxy: MemoryProxy) -> None:
    responses = [proxy.open_response(FRESH, TAG), proxy.open_response(FRESH, TAG)]
    waiting = list(responses)
    proxy.backend.script = lambda head, body: waiting.pop(0)
    before = proxy.start("GET", "/x")
    responses[0].body.feed(b"old")
    proxy.invalidate_tags(b"two")
    after = proxy.start("GET", "/x")
    assert waiting == []
    for response, text in zip(responses, (b"", b"new"), strict=True):
        response.body.feed(text)
        response.body.end()
    assert (cache_of(before)[1], cache_of(after)[1]) == (b"old", b"new")
    assert proxy.get("/x").body == b"new"
    assert proxy.quiet


def test_a_validation_under_way_freshens_nothing_and_answers_nobody_who_came_later() -> None:
    proxy = Held()
    first = proxy.start("GET", "/x")
    proxy.answer("Cache-Control: max-age=5", 'ETag: "a"', TAG, body=b"old")
    assert cache_of(first)[1] == b"old"
    proxy.advance(6)
    before = proxy.start("GET", "/x")
    assert proxy.sent("If-None-Match") == '"a"'
    assert proxy.invalidate_tags(b"one") == [1]
    after = proxy.start("GET", "/x")
    proxy.answer(FRESH, 'ETag: "a"', status=304, body=b"")
    assert before.answer is not None
    assert after.answer is None
    assert proxy.sent("If-None-Match") is None
    proxy.answer(FRESH, 'ETag: "b"', TAG, body=b"new")
    assert cache_of(after) == ("MISS", b"new")
    assert proxy.get("/x").body == b"new"
    assert proxy.quiet


def test_what_is_read_from_the_store_meanwhile_is_not_used(tagged: MemoryProxy) -> None:
    tagged.forget_memory()
    tagged.store.delay("lookup")
    exchange = tagged.start("GET", "/x")
    tagged.invalidate_tags(b"one")
    tagged.says(FRESH, body=b"new")
    tagged.store.release()
    assert cache_of(exchange) == ("MISS", b"new")
    assert tagged.get("/x").body == b"new"


def test_a_read_that_outlasts_the_removal(tagged: MemoryProxy) -> None:
    """It began after the invalidation, saw the store before the removal, and is answered after it."""
    tagged.forget_memory()
    tagged.store.hold("tagged")
    tagged.invalidate_tags(b"one")
    tagged.store.delay("lookup")
    exchange = tagged.start("GET", "/x")
    tagged.store.release("tagged")
    assert tagged.invalidator.pending == 0
    tagged.says(FRESH, TAG, body=b"new")
    tagged.store.release()
    assert cache_of(exchange) == ("MISS", b"new")
    assert tagged.get("/x").body == b"new"
    tagged.hot.clear()
    assert tagged.get("/x").body == b"new", "nor has the burst tier kept it"


def test_a_write_under_way_is_taken_back(proxy: MemoryProxy) -> None:
    proxy.store.hold("put")
    proxy.says(FRESH, TAG)
    proxy.get("/x")
    proxy.invalidate_tags(b"one")
    proxy.store.release()
    assert proxy.store.fields_of(b"cache:GET:anonymous:/x") == []
    assert proxy.get("/x").cache == "MISS"
    assert proxy.quiet


def test_what_the_store_cannot_remove_yet_is_hidden_and_removed_later(tagged: MemoryProxy) -> None:
    tagged.forget_memory()
    tagged.store.hold("tagged")
    assert tagged.invalidate_tags(b"one") == []
    assert statuses(tagged)[1:] == ["HIT", "HIT"]
    tagged.forget_memory()
    tagged.says(FRESH, body=b"new")
    tagged.advance(1)
    assert tagged.get("/x").cache in ("MISS", "HOT_HIT", "HIT")
    assert tagged.get("/x").body != b"one" or tagged.count > 3
    tagged.store.release()
    assert tagged.invalidator.pending == 0


def test_a_store_that_is_down_carries_it_out_when_it_is_back(tagged: MemoryProxy) -> None:
    tagged.store.failing = down()
    (failure,) = tagged.invalidate_tags(b"one", b"none")
    assert not isinstance(failure, int)
    tagged.store.failing = None
    tagged.advance(1)
    assert tagged.invalidator.pending == 0
    tagged.forget_memory()
    tagged.says(FRESH)
    assert statuses(tagged) == ["MISS", "HIT", "HIT"]


@pytest.mark.slow
def test_many_tags_that_wait_become_everything(tagged: MemoryProxy) -> None:
    tagged.store.hold("tagged", "scan")
    for start in range(0, 12_000, 1000):
        tagged.invalidator.invalidate_tags([b"t%d" % number for number in range(start, start + 1000)])
    assert tagged.invalidator.hides(b"cache:GET:anonymous:/z")
    tagged.store.release()
    tagged.advance(0)
    while tagged.invalidator.pending:
        tagged.advance(0)
    assert tagged.store.inner.entries == 0


@pytest.mark.slow
def test_memory_of_invalidated_tags_is_bounded_and_errs_on_the_safe_side() -> None:
    proxy = Held()
    exchanges = [proxy.start("GET", "/x"), proxy.start("GET", "/y")]
    for start in range(0, 12_000, 1000):
        proxy.invalidate_tags(*(b"t%d" % number for number in range(start, start + 1000)))
    assert len(proxy.key_state.tags) <= 10_000
    proxy.answer(FRESH, TAG)
    proxy.answer(FRESH)
    assert [cache_of(exchange)[0] for exchange in exchanges] == ["MISS", "MISS"]
    assert [proxy.start("GET", target).answer is not None for target in ("/x", "/y")] == [False, True]


def test_a_fill_under_way_does_not_come_back_as_fresh() -> None:
    proxy = Held()
    before = proxy.start("GET", "/x")
    proxy.invalidate("cache:*", soft=True)
    proxy.answer(FRESH, body=b"old")
    assert cache_of(before)[1] == b"old"
    after = proxy.start("GET", "/x")
    proxy.answer(FRESH, body=b"new")
    assert cache_of(after) == ("MISS", b"new")


# -- soft rules


def test_by_a_soft_rule(tagged: MemoryProxy) -> None:
    rules = [{"post_path_regex": "^/change$", "invalidate_tags": ["one"], "invalidate_patterns": ["*/z"], "soft": True}]
    tagged.rules = parse_rules(json.dumps(rules))
    tagged.says()
    tagged.ask("POST", "/change")
    assert [len(tagged.store.fields_of(b"cache:GET:anonymous:/%b" % name)) for name in (b"x", b"y", b"z")] == [1, 1, 1]
    tagged.says(FRESH)
    assert statuses(tagged) == ["MISS", "HOT_HIT", "MISS"]


# -- looking


def carrying(proxy: MemoryProxy, *tags: bytes) -> set[bytes]:
    found: list[set[bytes]] = []
    proxy.inspector.tagged(tags).addCallback(found.append)
    return found[0]


def test_who_carries_a_tag(tagged: MemoryProxy) -> None:
    x, y = b"cache:GET:anonymous:/x", b"cache:GET:anonymous:/y"
    assert carrying(tagged, b"two") == {x, y}
    tagged.forget_memory()
    assert carrying(tagged, b"one", b"three", b"one") == {x, y}
    assert carrying(tagged, b"four") == set()
    tagged.store.inner.delete([x, y])
    assert carrying(tagged, b"two") == set()
    tagged.says(FRESH, TAG)
    tagged.store.hold("put")
    tagged.get("/x")
    assert carrying(tagged, b"one") == {x}, "in memory alone"
