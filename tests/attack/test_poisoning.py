"""Invariant 6: no request can leave for others what they would not have got themselves."""

from __future__ import annotations

import json

import pytest
from support.whole_proxy import BACKEND, ok

from caching_proxy.settings.parsers import SettingsError

LONG = b"x" * 3000


def reflecting(message):
    """A backend that trusts all it is told: every field in the body, all cacheable."""
    seen = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in message.fields]
    return ok(json.dumps({"fields": seen, "target": message.target.decode()}).encode(), b"Cache-Control: max-age=60")


STEERING = [
    *(b"X-Forwarded-Host", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Port", b"X-Forwarded-Prefix"),
    *(b"X-Forwarded-Scheme", b"X-Forwarded-Server", b"X-Forwarded-Path", b"X-Forwarded-Anything", b"X-Forwarded"),
    *(b"Forwarded", b"X-Host", b"X-Original-Host", b"X-HTTP-Host-Override", b"X-Real-IP", b"X-Client-IP", b"Client-IP"),
    *(b"True-Client-IP", b"X-Cluster-Client-IP", b"X-Original-URL", b"X-Original-URI", b"X-Rewrite-URL"),
    *(b"X-Override-URL", b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override", b"X-URL-Scheme"),
    *(b"Front-End-Https", b"X-Request-ID", b"Proxy", b"X-Wap-Profile", b"X-Script-Name", b"X-Envoy-Original-Path"),
    *(b"Proxy-Authorization", b"Cache-Refresh", b"X-Cache-Refresh", b"TE", b"Keep-Alive", b"Proxy-Connection"),
    *(b"Client-Cert", b"Client-Cert-Chain", b"Surrogate-Capability"),
]


def spellings(name: bytes) -> set[bytes]:
    under = name.replace(b"-", b"_")
    return {name, name.lower(), name.upper(), under, under.upper(), name.replace(b"-", b"_", 1)}


@pytest.mark.parametrize("name", STEERING, ids=lambda name: name.decode())
def test_no_steering_field_reaches_a_shared_answer(make_whole, name):
    whole = make_whole(reflecting)
    for number, spelling in enumerate(sorted(spellings(name))):
        target = b"/%d" % number
        first = whole.get(target, b"%b: evil.test" % spelling)
        assert b"evil" not in first.body, spelling
        assert b"evil" not in whole.get(target).body
    assert b"evil" not in whole.backend.bytes


@pytest.mark.parametrize("name", [b"X-Forwarded-Host", b"Forwarded", b"X-Original-URL"])
def test_trusted_proxies_are_believed_and_nobody_else(make_whole, name):
    whole = make_whole(reflecting, TRUSTED_PROXIES="10.0.0.0/8")
    assert b"good.test" in whole.get("/a", b"%b: good.test" % name, host="10.1.2.3").body
    assert b"evil.test" not in whole.get("/b", b"%b: evil.test" % name, host="192.0.2.1").body
    spelt = name.replace(b"-", b"_")
    if spelt != name:
        assert b"evil.test" not in whole.get("/c", b"%b: evil.test" % spelt, host="10.1.2.3").body


def test_the_host_of_a_client_is_never_shared(make_whole):
    whole = make_whole(reflecting)
    assert b"evil" not in whole.get("/x", b"Host: evil.test").body
    assert json.loads(whole.get("/x").body)["fields"][0] == ["host", BACKEND.decode()]


# -- PRESERVE_HOST and ALLOWED_HOSTS -------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [b"evil.test", b"good.test.evil.test", b"evil.test:80", b"good.test.", b"good.test:", b"xgood.test", b"127.0.0.1"],
)
@pytest.mark.parametrize("preserve", ["true", "false"])
def test_other_hosts_get_421_unseen(make_whole, host, preserve):
    whole = make_whole(reflecting, ALLOWED_HOSTS="good.test,also.test", PRESERVE_HOST=preserve)
    answer = whole.get("/x", b"Host: " + host)
    assert (answer.status, answer.cache) == (421, "ERROR")
    assert whole.backend.requests == []
    [answer] = whole.ask(b"GET http://%b/x HTTP/1.1\r\nHost: good.test\r\n\r\n" % host)
    assert answer.status == 421, "the authority of an absolute-form counts, not the Host beside it"


def test_several_hosts_have_keys_of_their_own(make_whole):
    whole = make_whole(reflecting, ALLOWED_HOSTS="one.test,two.test", PRESERVE_HOST="true")
    for _ in range(2):
        for host in (b"one.test", b"two.test"):
            fields = json.loads(whole.get("/x", b"Host: " + host).body)["fields"]
            assert fields[0] == ["host", host.decode()]
    assert whole.keys == [b"cache:GET:anonymous://one.test/x", b"cache:GET:anonymous://two.test/x"]
    assert len(whole.backend.requests) == 2


def test_a_path_cannot_spell_another_hosts_key(make_whole):
    whole = make_whole(reflecting, ALLOWED_HOSTS="one.test,two.test", PRESERVE_HOST="true")
    whole.get("//two.test/x", b"Host: one.test")
    assert whole.keys == [b"cache:GET:anonymous://one.test//two.test/x"]
    assert whole.get("/x", b"Host: two.test").cache == "MISS"


@pytest.mark.parametrize("allowed", ["good.test", "good.test,other.test"])
@pytest.mark.parametrize("host", [b"good.test:80", b"GOOD.test", b"Good.Test:0080"])
def test_port_and_spelling_of_a_preserved_host_are_ours(make_whole, allowed, host):
    """One key, one Host: what only the sender chose does not show up in what others get."""
    whole = make_whole(reflecting, ALLOWED_HOSTS=allowed, PRESERVE_HOST="true")
    first = whole.get("/x", b"Host: " + host)
    assert json.loads(first.body)["fields"][0] == ["host", "good.test"]
    assert whole.get("/x", b"Host: good.test").cache == "HOT_HIT"
    assert whole.get("/x", b"Host: " + host).cache == "HOT_HIT"
    assert len(whole.keys) == 1


@pytest.mark.parametrize("allowed", ["good.test", "good.test,other.test"])
def test_a_port_of_a_preserved_host_reaches_the_backend_and_those_who_came_by_it_alone(make_whole, allowed):
    whole = make_whole(reflecting, ALLOWED_HOSTS=allowed, PRESERVE_HOST="true")
    hosts = {b"good.test": "good.test", b"Good.test:1337": "good.test:1337", b"good.test:8080": "good.test:8080"}
    for _ in range(2):
        for sent, seen in hosts.items():
            assert json.loads(whole.get("/x", b"Host: " + sent).body)["fields"][0] == ["host", seen]
    assert [len(whole.keys), len(whole.backend.requests)] == [1, 3]
    for port in (b":0", b":65536", b":99999"):
        assert whole.get("/x", b"Host: good.test" + port).cache in (None, "HOT_HIT")
    assert len(whole.backend.requests) == 3


def test_a_listed_port_is_kept(make_whole):
    whole = make_whole(reflecting, ALLOWED_HOSTS="good.test:8443", PRESERVE_HOST="true")
    assert json.loads(whole.get("/x", b"Host: good.test:8443").body)["fields"][0] == ["host", "good.test:8443"]
    assert whole.get("/x", b"Host: good.test").status == 421


def test_PRESERVE_HOST_alone_does_not_start(make_whole):
    with pytest.raises(SettingsError, match="ALLOWED_HOSTS"):
        make_whole(PRESERVE_HOST="true")


# -- errors client_induced by odd requests -------------------------------------------------------------------

ODD = {
    "oversized": b"X-Oversized: " + LONG,
    "oversized-accept": b"Accept: " + LONG,
    "many": b"\r\n".join(b"X-%d: %b" % (n, b"y" * 500) for n in range(20)),
    "high-bytes": b"X-Meta: caf\xc3\xa9",
    "range": b"Range: bytes=9999999-",
    "range-odd": b"Range: bytes=0-0,1-1,2-2",
    "range-nonsense": b"Range: potatoes=1-2",
    "expect": b"Expect: nonsense",
    "accept": b"Accept: application/x-nothing",
    "accept-encoding": b"Accept-Encoding: nothing, identity;q=0",
    "if-match": b'If-Match: "nothing"',
    "if-unmodified-since": b"If-Unmodified-Since: yesterday",
    "method-override": b"X-HTTP-Method-Override: DELETE",
    "method-override-alias": b"X_HTTP_Method_Override: DELETE",
    "upgrade": b"Connection: upgrade\r\nUpgrade: websocket",
    "content-type": b"Content-Type: x/y",
    "max-forwards": b"Max-Forwards: 0",
    "no-cache-oversized": b"Cache-Control: no-cache\r\nX-Oversized: " + LONG,
    "if-none-match": b"If-None-Match: \xff",
}


def touchy(status: bytes):
    """Answers ``status``, for caches to keep, to whatever has more than a plain request; 200 to a plain one."""
    plain = {b"host", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"}

    def script(message):
        odd = [name for name, _ in message.fields if name not in plain]
        if odd:
            return ok(b"error", b"Cache-Control: public, max-age=3600", status=status)
        return ok(b"fine", b"Cache-Control: max-age=60")

    return script


BY_STATUS = {
    b"400 Bad Request": ODD.keys() - {"accept", "accept-encoding"},
    b"406 Not Acceptable": {"accept", "accept-encoding", "oversized-accept"},
    b"412 Precondition Failed": {"if-match", "if-unmodified-since", "if-none-match"},
    b"413 Content Too Large": ODD.keys(),
    b"415 Unsupported Media Type": {"accept-encoding", "content-type"},
    b"416 Range Not Satisfiable": {"range", "range-odd", "range-nonsense"},
    b"417 Expectation Failed": {"expect"},
    b"431 Request Header Fields Too Large": ODD.keys(),
    b"501 Not Implemented": {"range", "range-nonsense", "oversized", "method-override"},
    b"500 Internal Server Error": {"oversized", "high-bytes", "range-odd", "content-type"},
    b"404 Not Found": {"oversized", "method-override", "method-override-alias", "high-bytes"},
}


@pytest.mark.parametrize(
    ("status", "odd"),
    [
        pytest.param(status, ODD[name], id=f"{status[:3].decode()}-{name}")
        for status, names in BY_STATUS.items()
        for name in sorted(names)
    ],
)
def test_an_error_that_odd_fields_provoked_is_for_their_sender_alone(make_whole, status, odd):
    whole = make_whole(touchy(status))
    whole.get("/x", odd)
    assert whole.get("/x").body == b"fine"
    assert whole.get("/x").cache == "HOT_HIT"
    whole.get("/x", odd)
    assert whole.get("/x").body == b"fine"


def test_this_suite_can_see_poisoning(make_whole):
    """A field that is neither odd nor in the key does carry over: what the backend says about such answers is law."""
    whole = make_whole(touchy(b"404 Not Found"))
    whole.get("/x", b"X-Plain: 1")
    assert (whole.get("/x").status, whole.get("/x").cache) == (404, "HOT_HIT")


def test_part_of_an_answer_is_never_given_for_the_whole(make_whole):
    def script(message):
        if message.get("range"):
            lines = (b"Cache-Control: max-age=60", b"Content-Range: bytes 0-1/10", b'ETag: "a"')
            return ok(b"01", *lines, status=b"206 Partial Content")
        return ok(b"0123456789", b"Cache-Control: max-age=60", b'ETag: "a"')

    whole = make_whole(script)
    assert whole.get("/x", b"Range: bytes=0-1").status == 206
    assert (whole.get("/x").status, whole.get("/x").body) == (200, b"0123456789")


def test_a_nominated_field_selects_nothing(make_whole):
    """Connection may strip Accept-Language on its way: then the answer is that of a request without it."""
    whole = make_whole(
        lambda message: ok(
            message.get("accept-language") or b"none", b"Cache-Control: max-age=60", b"Vary: Accept-Language"
        )
    )
    assert whole.get("/x", b"Accept-Language: de", b"Connection: Accept-Language").body == b"none"
    assert whole.get("/x", b"Accept-Language: de").body == b"de"
    assert whole.get("/x").body == b"none"


def test_a_get_with_a_body_leaves_nothing(make_whole):
    """A "fat" GET: the backend may read parameters from its body, which is not in the key."""
    whole = make_whole(lambda message: ok(b"got " + message.body, b"Cache-Control: max-age=60"))
    [answer] = whole.ask(b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nq=evil")
    assert (answer.body, answer.cache) == (b"got q=evil", "BYPASS")
    assert whole.get("/x").body == b"got "


@pytest.mark.parametrize("query", [b"utm_x=1;q=evil", b"q=evil", b"utm%5fx=evil&q=evil", b"&q=evil&utm_x=1"])
def test_an_ignored_parameter_hides_no_other(make_whole, query):
    whole = make_whole(
        lambda message: ok(message.target, b"Cache-Control: max-age=60"), CACHE_KEY_IGNORE_PARAMS="utm_*"
    )
    whole.get(b"/x?" + query)
    assert b"evil" not in whole.get("/x").body
    assert b"evil" not in whole.get("/x?utm_x=2").body


# -- path tricks -----------------------------------------------------------------------------------------

TRICKS = [
    *(b"/account", b"/account/x.css", b"/account%2fx.css", b"/account%2Fx.css", b"/account;x.css", b"/account;.css"),
    *(b"/account%3bx.css", b"/account%00.css", b"/account%0a.css", b"/account%23x.css", b"/account%3fx.css"),
    *(b"/account.", b"/account..", b"/account/.", b"/account/..", b"/static/../account", b"/static/..%2faccount"),
    *(b"/static/%2e%2e/account", b"//account", b"/./account", b"/ACCOUNT", b"/account%20", b"/account\\x.css"),
    *(b"/account?x.css", b"/account?", b"/account%", b"/account%zz", b"/%61ccount", b"/account!x.js", b"/account,x.js"),
]


@pytest.mark.parametrize(
    "control", [b"private", b"no-store", b"private, max-age=60", b"max-age=60\r\nSet-Cookie: id=1"]
)
def test_no_path_makes_a_private_answer_shared(make_whole, control):
    """Only what the backend says counts: nothing ends in ``.css`` here."""
    whole = make_whole(lambda message: ok(b"mine", b"Cache-Control: " + control))
    for path in TRICKS:
        assert whole.get(path).cache == "MISS"
        assert whole.get(path).cache == "MISS"
    assert whole.keys == []


def test_cookies_keep_answers_apart_whatever_the_path(make_whole):
    whole = make_whole(lambda message: ok(message.get("cookie") or b"nobody"))  # nothing said about freshness
    for path in TRICKS:
        assert whole.get(path, b"Cookie: session=victim").body == b"session=victim"
        assert whole.get(path).body == b"nobody"


def test_no_two_paths_share_a_key(make_whole):
    """The backend may tell any of them apart, so none may be answered with another's."""
    whole = make_whole(lambda message: ok(message.target, b"Cache-Control: max-age=60"))
    for _ in range(2):
        for path in TRICKS:
            assert whole.get(path).body == path
    assert len(whole.keys) == len(TRICKS)


def test_targets_go_through_byte_by_byte(make_whole):
    whole = make_whole(lambda message: ok(b""))
    for path in TRICKS:
        whole.get(path)
    assert whole.backend.targets == TRICKS
