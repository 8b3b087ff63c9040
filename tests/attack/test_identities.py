"""Invariants 4 and 5: through the whole proxy, nobody is ever given what was written for somebody else.

The backend writes into each body whom it sees, judged by its own reading of the credentials, and declares everything
cacheable. Whatever a client does, the identity in the body it receives must be its own.
"""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.whole_proxy import START, WholeProxy, ok

SECRET = "a-secret-of-more-than-thirty-two-bytes"
PLAIN = json.JSONEncoder(ensure_ascii=True)


def signed(roles, secret=SECRET, **claims):
    """A token whose claim holds ``roles``; PyJWT would refuse lone surrogates, hence by hand."""
    payload = {"exp": START + 3600, "roles": roles, **claims}
    return jwt.api_jws.encode(PLAIN.encode(payload).encode(), secret, "HS256").encode()


def who(authorization: list[bytes]) -> str:
    """Whom a careful backend takes the sender for: one verified set of roles, or just these very bytes."""
    if not authorization:
        return "nobody"
    scheme, _, token = authorization[0].partition(b" ")
    if len(authorization) == 1 and scheme.lower() == b"bearer":
        try:
            claims = json.loads(jwt.api_jws.decode(token, SECRET, ["HS256"]))
        except (jwt.PyJWTError, ValueError):
            claims = {}
        if claims.get("exp", 0) > START:
            roles = claims.get("roles")
            roles = [roles] if isinstance(roles, str) and roles else roles or []
            if isinstance(roles, list) and all(isinstance(role, str) for role in roles):
                return "admin" if "administrator" in roles else "roles " + PLAIN.encode(sorted(set(roles)))
    return "bytes " + repr(authorization)


def mirror(message):
    """Everything that could make an answer personal, in the body; all of it declared fit for sharing."""
    body = {
        "who": who(message.all("authorization")),
        "cookie": [value.decode("latin-1") for value in message.all("cookie")],
        "target": message.target.decode(),
    }
    return ok(json.dumps(body).encode(), b"Cache-Control: max-age=600")


NAMES = st.one_of(
    st.sampled_from(
        [
            "anonymous",
            "authenticated",
            "admin",
            "administrator",
            "opaque",
            "opaque~",
            "a",
            "b",
            "a-b",
            "b-a",
            "",
            "-",
            "~",
            "a:b",
            "*",
            "a*",
            "a/b",
            "%",
            "%61",
            "a%2Db",
            "\n",
            "a\r\nX: y",
            "\x00",
            "á",
            "A",
            "\ud800",
            "roles",
            "a" * 300,
        ]
    ),
    st.text(max_size=6),
)
CLAIMS = st.one_of(
    st.lists(NAMES, max_size=4),
    NAMES,
    st.sampled_from([None, 0, True, {}, {"a": 1}, ["a", 1], [["a"]], [None], "", [""], 1e308]),
)
CREDENTIALS = st.one_of(
    st.just(()),
    CLAIMS.map(lambda claim: (b"Bearer " + signed(claim),)),
    CLAIMS.map(lambda claim: (b"bearer " + signed(claim),)),
    CLAIMS.map(lambda claim: (b"Bearer " + signed(claim, secret="another-secret-of-thirty-two-bytes!!"),)),
    CLAIMS.map(lambda claim: (b"Bearer " + signed(claim, exp=START - 1),)),
    CLAIMS.map(lambda claim: (b"Bearer " + jwt.encode({"roles": PLAIN.encode(claim)}, None, "none").encode(),)),
    st.tuples(CLAIMS, CLAIMS).map(lambda two: tuple(b"Bearer " + signed(claim) for claim in two)),
    st.tuples(CLAIMS, CLAIMS).map(lambda two: (b"Bearer " + b", Bearer ".join(map(signed, two)),)),
    st.sampled_from(
        [(b"Basic dTpw",), (b"Basic eDp5",), (b"Bearer opaque1",), (b"Bearer opaque2",), (b"Bearer",), (b"",)]
    ),
    st.sampled_from([(b"Digest x",), (b"Bearer a.b.c",), (b"Negotiate ..",), (b"anonymous",), (b"Bearer anonymous",)]),
)
TARGETS = st.sampled_from(
    [
        b"/",
        b"/x",
        b"/x/",
        b"//x",
        b"/x?",
        b"/x?a",
        b"/cache:GET:admin:/x",
        b"/:/x",
        b"/*",
        b"/admin:/x",
        b"/x%2f",
        b"/X",
    ]
)
COOKIES = st.sampled_from([(), (), (), (b"id=1",), (b"id=2",), (b"id=1", b"id=2"), (b"=3",), (b"4",), (b"; 5",)])
REQUESTS = st.lists(
    st.tuples(CREDENTIALS, TARGETS, COOKIES, st.sampled_from([b"GET", b"GET", b"HEAD"])), min_size=2, max_size=12
)


def check_all(whole, requests, who=who):
    """Asks each twice, so that the second time may be a hit."""
    statuses = []
    for credentials, target, cookies, method in requests * 2:
        fields = [b"Authorization: " + value for value in credentials] + [b"Cookie: " + value for value in cookies]
        answer = whole.get(target, *fields, method=method)
        assert answer.status == 200
        statuses.append(answer.cache)
        if method == b"HEAD":
            continue
        seen = answer.json()
        assert seen["who"] == who([value.strip() for value in credentials])
        assert seen["cookie"] == [value.decode() for value in cookies]
        path, mark, query = target.partition(b"?")
        theirs, their_mark, their_query = seen["target"].encode().partition(b"?")
        assert (theirs.removesuffix(b"/"), their_mark, their_query) == (path.removesuffix(b"/"), mark, query)
    return statuses


@settings(max_examples=200)
@given(REQUESTS)
@pytest.mark.slow
def test_verified_identities_never_mix(requests):
    whole = WholeProxy(mirror, JWT_SECRET=SECRET)
    check_all(whole, requests)
    whole.stop()


@settings(max_examples=100)
@given(REQUESTS)
@pytest.mark.slow
def test_isolated_tokens_never_share(requests):
    """Without a key nobody's claims count: only the very same token gives the very same answers."""
    own = lambda authorization: "bytes " + repr(authorization) if authorization else "nobody"  # noqa: E731

    def backend(message):
        body = {
            "who": own(message.all("authorization")),
            "cookie": [value.decode() for value in message.all("cookie")],
            "target": message.target.decode(),
        }
        return ok(json.dumps(body).encode(), b"Cache-Control: max-age=600")

    def same(authorization):
        return own(authorization)

    whole = WholeProxy(backend)
    requests = [
        (tuple(c.replace(b"bearer ", b"Bearer ") for c in credentials), *rest) for credentials, *rest in requests
    ]
    check_all(whole, requests, same)
    whole.stop()


def test_this_suite_can_see_sharing(make_whole):
    """The same role shares, so a leak between roles would show."""
    whole = make_whole(mirror, JWT_SECRET=SECRET)
    one, two = signed(["a"], sub="one"), signed(["a"], sub="two")
    assert whole.get("/x", b"Authorization: Bearer " + one).cache == "MISS"
    assert whole.get("/x", b"Authorization: Bearer " + two).cache == "HOT_HIT"


def tampered(token):
    head, payload, signature = token.split(b".")
    claims = json.loads(base64.urlsafe_b64decode(payload + b"=="))
    claims["roles"] = ["administrator"]
    return b".".join((head, base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"="), signature))


def with_header(**header):
    return jwt.encode({"exp": START + 60, "roles": ["administrator"]}, SECRET, "HS256", headers=header).encode()


DOUBTFUL = {
    "tampered": b"Bearer " + tampered(signed(["user"])),
    "alg-none": b"Bearer " + jwt.encode({"roles": ["administrator"], "exp": START + 60}, None, "none").encode(),
    "wrong-key": b"Bearer " + signed(["administrator"], secret="x" * 32),
    "hs512": b"Bearer " + jwt.encode({"roles": "administrator", "exp": START + 60}, SECRET * 2, "HS512").encode(),
    "no-exp": b"Bearer " + jwt.encode({"roles": ["administrator"]}, SECRET, "HS256").encode(),
    "expired": b"Bearer " + signed(["administrator"], exp=START),
    "exp-text": b"Bearer " + signed(["administrator"], exp="tomorrow"),
    "exp-nan": b"Bearer " + signed(["administrator"], exp=float("nan")),
    "exp-infinite": b"Bearer " + signed(["administrator"], exp=float("inf")),
    "not-yet": b"Bearer " + signed(["administrator"], nbf=START + 60),
    "crit": b"Bearer " + with_header(crit=["x"], x=1),
    "two-in-one": b"Bearer " + signed(["administrator"]) + b", Bearer " + signed(["user"]),
    "huge": b"Bearer " + signed(["administrator", "x" * 9000]),
    "basic": b"Basic YWRtaW46YWRtaW4=",
    "opaque": b"Bearer administrator",
    "empty": b"",
    "no-token": b"Bearer",
    "spaces": b"Bearer  ",
    "dots": b"Bearer ..",
    "high-bytes": b"Bearer \xff\xfe.\xff.\xff",
}


@pytest.mark.parametrize("credentials", DOUBTFUL.values(), ids=DOUBTFUL)
@pytest.mark.parametrize("environment", [{"JWT_SECRET": SECRET}, {}], ids=["key", "isolate"])
def test_doubtful_credentials_share_nothing_and_fail_nothing(make_whole, credentials, environment):
    """They neither read what an administrator or nobody in particular was given, nor leave anything for those."""
    whole = make_whole(
        lambda message: ok(repr(message.all("authorization")).encode(), b"Cache-Control: max-age=60"), **environment
    )
    admin, field = b"Authorization: Bearer " + signed(["administrator"]), b"Authorization: " + credentials
    for target in ("/a", "/b"):
        order = [admin, b"X: nobody", field]
        bodies = [whole.get(target, line).body for line in (order if target == "/a" else reversed(order))]
        bodies = bodies if target == "/a" else bodies[::-1]
        assert bodies[2] == repr([credentials.strip()]).encode()
        assert bodies[1] == b"[]"
        assert b"Bearer" in bodies[0]
        assert whole.get(target, b"X: y").body == b"[]"
    [sent] = {request.get("authorization") for request in whole.backend.requests} - {None, admin[15:]}
    assert sent == credentials.strip(), "forwarded untouched: the backend decides"


def test_two_authorization_fields_pass_the_cache_by(make_whole):
    whole = make_whole(mirror, JWT_SECRET=SECRET)
    fields = [b"Authorization: Bearer " + signed(["a"])] * 2
    assert [whole.get("/x", *fields).cache for _ in range(2)] == ["BYPASS", "BYPASS"]
    assert whole.keys == []


@pytest.mark.parametrize(
    "header",
    [{"jku": "https://evil.test/"}, {"x5u": "https://evil.test/"}, {"jwk": {"kty": "oct"}}, {"kid": "../../x"}],
)
def test_a_token_cannot_bring_or_fetch_its_key(make_whole, header):
    whole = make_whole(mirror, JWT_SECRET=SECRET)
    forged = jwt.encode({"exp": START + 60, "roles": ["administrator"]}, "evil" * 8, "HS256", headers=header).encode()
    assert whole.get("/x", b"Authorization: Bearer " + forged).cache == "BYPASS"


@pytest.mark.parametrize(
    ("control", "shared"),
    [
        (b"max-age=60", False),
        (b"max-age=60, private", False),
        (b"public, max-age=60", True),
        (b"s-maxage=60", True),
        (b"must-revalidate, max-age=60", True),
    ],
)
@pytest.mark.parametrize("credentials", [b"Basic eDp5", b"Bearer opaque"])
def test_opaque_credentials_share_only_what_rfc_9111_3_5_allows(make_whole, credentials, control, shared):
    whole = make_whole(lambda message: ok(b"secret", b"Cache-Control: " + control))
    assert whole.get("/x", b"Authorization: " + credentials).status == 200
    stored = bool(whole.keys)
    assert stored is shared
    assert whole.get("/x").cache == ("HOT_HIT" if shared else "MISS")


@pytest.mark.parametrize(("control", "shared"), [(b"max-age=60", False), (b"public, max-age=60", True)])
def test_opaque_credentials_get_of_what_is_anonymous_only_what_may_be_shared(make_whole, control, shared):
    whole = make_whole(lambda message: ok(b"anonymous", b"Cache-Control: " + control))
    whole.get("/x")
    caches = [whole.get("/x", b"Authorization: Basic " + name).cache for name in (b"eDp5", b"eTp6")]
    assert (set(caches) == {"HOT_HIT"}) is shared
    assert whole.get("/x").cache == "HOT_HIT"
    assert len(whole.backend.requests) == (1 if shared else 3)


@pytest.mark.parametrize("expires_in", [1, 30, 59])
def test_a_remembered_token_is_nothing_after_its_exp(make_whole, expires_in):
    whole = make_whole(mirror, JWT_SECRET=SECRET)
    field = b"Authorization: Bearer " + signed(["administrator"], exp=START + expires_in)
    assert [whole.get("/x", field).cache for _ in range(2)] == ["MISS", "HOT_HIT"]
    whole.pass_time(expires_in)
    answer = whole.get("/x", field)
    assert (answer.cache, answer.json()["who"]) == ("BYPASS", who([field[15:]]))


def test_no_token_cookie_or_body_is_logged(make_whole):
    whole = make_whole(mirror, JWT_SECRET=SECRET)
    token = signed(["a"])
    whole.get("/x", b"Authorization: Bearer " + token, b"Cookie: session=topsecret")
    text = json.dumps(whole.logged)
    assert token.decode() not in text
    assert token.split(b".")[2].decode() not in text
    assert "topsecret" not in text
