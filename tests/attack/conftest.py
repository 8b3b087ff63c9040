"""The whole proxy in memory for each test; no timer may outlive it. What makes sense over HTTP/2 is tried so, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.whole_proxy import Script, WholeProxy, cacheable

ONLY_HTTP1 = {
    "test_upgrades": "HTTP/2 has no Upgrade (RFC 9113 §8.6)",
    "test_ambiguity_is_refused_and_ends_the_connection": "is about where messages end; frames say that",
    "test_what_is_clear_is_written_anew": "is about chunks and lines",
    "test_an_answer_before_the_body_ended_keeps_the_connections_apart": "is about one request behind another",
    "test_a_nominated_field_selects_nothing": "HTTP/2 has no Connection (RFC 9113 §8.2.2)",
    "test_without_a_host_the_path_alone_says_it": "HTTP/1.0",
    "test_an_http_1_0_client_expects_nothing": "HTTP/1.0",
    "test_pipelining_depth": "streams take the place of pipelines",
    "test_a_head_has_to_be_here_in_time": "sends half a head",
    "test_a_body_has_to_make_progress": "sends half a body by hand",
    "test_a_chunked_body_that_outgrows_its_bound_later": "sends half a body by hand",
    "test_a_client_that_leaves_within_its_body_leaves_nothing_behind": "sends half a body by hand",
    "test_memory_held_for_one_connection_is_bounded": "sends half a body by hand",
    "test_a_client_that_does_not_read_is_dropped": "stops reading; test_http2_floods has its like",
    "test_a_silent_backend_is_given_up": "sends without waiting",
}
"""Tests of the whole proxy, or modules of them, that are about HTTP/1.1 alone, and why."""

OVER_HTTP2 = pytest.param("h2", marks=pytest.mark.slow)
"""The same again, which costs as much again: not on every save."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "over" in metafunc.fixturenames:
        named = metafunc.function.__name__, metafunc.module.__name__.rpartition(".")[2]
        over = ["h1"] if ONLY_HTTP1.keys() & set(named) else ["h1", OVER_HTTP2]
        metafunc.parametrize("over", over, indirect=True)


@pytest.fixture
def over(request: pytest.FixtureRequest) -> str:
    """What clients speak."""
    return str(request.param)


@pytest.fixture
def make_whole(over: str) -> Iterator[Callable[..., WholeProxy]]:
    """``make_whole(script, SETTING="value", …)``."""
    made: list[WholeProxy] = []

    def make(script: Script = cacheable, **environment: str) -> WholeProxy:
        made.append(WholeProxy(script, **environment))
        made[-1].over_h2 = over == "h2"
        return made[-1]

    yield make
    for proxy in made:
        proxy.stop()


@pytest.fixture
def whole(make_whole: Callable[..., WholeProxy]) -> WholeProxy:
    """With default settings, and a backend whose answers may be shared."""
    return make_whole()
