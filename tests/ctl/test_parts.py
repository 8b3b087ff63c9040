"""What ``cachingproxyctl`` works out by itself: where the proxy is, what is shown, which URLs are warmed."""

from __future__ import annotations

from pathlib import Path

import pytest

from caching_proxy.ctl.client import Client, Refused, WrongUsage
from caching_proxy.ctl.place import find_token, find_url
from caching_proxy.ctl.shown import duration, plain, share, size
from caching_proxy.ctl.warm import target_of, targets_of, tokens_in


@pytest.mark.parametrize(
    ("given", "environ", "dotenv", "found"),
    [
        (None, {}, {}, "http://127.0.0.1:3000"),
        (None, {"PORT": "81"}, {"PORT": "82"}, "http://127.0.0.1:81"),
        (None, {"PORT": "81"}, {"ADMIN_PORT": "9"}, "http://127.0.0.1:9"),
        (None, {"PORT": "81", "CACHINGPROXY_URL": "http://a:1"}, {}, "http://a:1"),
        ("https://b", {"CACHINGPROXY_URL": "http://a:1"}, {}, "https://b"),
        (None, {"PORT": ""}, {"PORT": "82"}, "http://127.0.0.1:82"),
    ],
)
def test_where_the_proxy_is(given: str | None, environ: dict[str, str], dotenv: dict[str, str], found: str) -> None:
    assert find_url(given, environ, dotenv) == found


def test_what_opens_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    both = {"ADMIN_TOKEN": "from-environment"}
    assert find_token(file, both, {}) == "from-file"
    assert find_token(None, both, {"ADMIN_TOKEN": "from-dotenv"}) == "from-environment"
    assert find_token(None, {}, {"ADMIN_TOKEN": "from-dotenv"}) == "from-dotenv"
    assert find_token(None, {"ADMIN_TOKEN": ""}, {}) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [("/x?y=ä", "/x?y=ä"), ("a\x1b[31mb\r\n", "a\\x1b[31mb\\r\\n"), ("[bold]x", "[bold]x"), ("\u202e", "\\u202e")],
)
def test_nothing_from_others_moves_the_cursor(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_figures_for_people() -> None:
    assert [size(count) for count in (0, 1023, 1024, 5 << 20, 3 << 40, None)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3072.0 GiB",
        "0 B",
    ]
    assert [duration(seconds) for seconds in (0, 59, 61, 3600, 90_000, None)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
        "0 s",
    ]
    assert (share(0.5), share(None)) == ("50.0 %", "-")


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("/a\n\n# no\nhttp://x.test/b?c=1&d\n  /a  \n", ["/a", "/b?c=1&d"]),
        (
            '<?xml version="1.0"?>\n<urlset><url><loc>https://x/p?a=1&amp;b=2</loc></url>'
            "<url><loc> https://x </loc></url></urlset>",
            ["/p?a=1&b=2", "/"],
        ),
        (
            "<urlset><loc><![CDATA[https://x/p?a=1&b=2]]></loc><loc>\n<![CDATA[ /q ]]>\n</loc></urlset>",
            ["/p?a=1&b=2", "/q"],
        ),
        ("\ufeff/a\r\n/b\r\n", ["/a", "/b"]),
        ("", []),
        ("<?xml version='1.0'?><urlset></urlset>", []),
    ],
)
def test_the_urls_of_a_list_or_a_sitemap(text: str, targets: list[str]) -> None:
    assert targets_of(text) == targets


@pytest.mark.parametrize("url", ["x y", "http://a/b c", "/ä", "relative", "/a\x00", "mailto:a@b", "http://["])
def test_what_is_no_target_is_named(url: str) -> None:
    with pytest.raises(Refused, match="is no path and no URL"):
        target_of(url)


def test_identities_to_warm_under(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("one\n# no\n\ntwo\n")
    assert tokens_in(file) == ["one", "two"]
    assert tokens_in(None) == [None]
    file.write_text("\n")
    assert tokens_in(file) == [None]


@pytest.mark.parametrize("token", ["a b", "gehe\u0131m", "a\x00b"])
def test_a_token_that_cannot_be_sent_is_named_by_its_line(tmp_path: Path, token: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"one\n{token}\n")
    with pytest.raises(Refused, match="line 2 is no bearer token") as caught:
        tokens_in(file)
    assert token not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "://", "http://[", "http://a:99999", "a:b"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(WrongUsage, match="is no http"):
        Client(url)
