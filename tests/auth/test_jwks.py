"""Published keys: what is taken, when it is fetched, and what happens when it cannot be."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.util import Redirect

from caching_proxy.auth.address import check_url
from caching_proxy.auth.fetching import FetchError, fetch_document
from caching_proxy.auth.jwks import BadKeySet, JwksKeys, parse_key_set
from caching_proxy.auth.keys import TokenConfig
from caching_proxy.auth.verifier import TokenVerifier
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.interfaces import Identity

NOW = 1_700_000_000.0
ONE = rsa.generate_private_key(65537, 2048)
TWO = rsa.generate_private_key(65537, 2048)
SMALL = rsa.generate_private_key(65537, 1024)
CURVE = ec.generate_private_key(ec.SECP384R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
SECRET = b"k" * 32


def jwk(key, **extra):
    if isinstance(key, bytes):
        return {"kty": "oct", "k": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s", **extra}
    kind = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm = next((value for base, value in kind.items() if isinstance(key, base)), OKPAlgorithm)
    return {**json.loads(algorithm.to_jwk(key.public_key())), **extra}


def document(*members):
    return json.dumps({"keys": members}).encode()


def token(key, kid=None, algorithm="RS256", exp=NOW + 86400):
    headers = {"kid": kid} if kid else None
    return b"Bearer " + jwt.encode({"exp": int(exp), "roles": ["editor"]}, key, algorithm, headers).encode()


class Endpoint:
    """A key endpoint that answers when told to."""

    def __init__(self):
        self.calls = []

    def __call__(self):
        self.calls.append(Deferred())
        return self.calls[-1]

    def answer(self, body):
        self.calls[-1].callback(body)

    def break_down(self):
        self.calls[-1].errback(Failure(FetchError("status 503")))


class Harness:
    def __init__(self, **config):
        self.clock = Clock()
        self.clock.advance(NOW)
        self.endpoint = Endpoint()
        self.keys = JwksKeys(self.endpoint, self.clock)
        self.verifier = TokenVerifier(TokenConfig(**config), self.clock, self.keys)

    def identify(self, value):
        found = self.verifier.identify(RequestHead(b"GET", b"/", Fields([(b"Authorization", value)])))
        if isinstance(found, Identity):
            return found.role
        results = []
        found.addBoth(results.append)
        return results[0].role if results else results  # [] while it waits; filled in place later

    def waiting(self, value):
        found = self.verifier.identify(RequestHead(b"GET", b"/", Fields([(b"Authorization", value)])))
        assert isinstance(found, Deferred)
        return found


def result(deferred):
    results = []
    deferred.addBoth(results.append)
    assert results
    return results[0]


def loaded(*members):
    harness = Harness()
    harness.verifier.start()
    harness.endpoint.answer(document(*members))
    return harness


def test_keys_are_fetched_at_start():
    harness = Harness()
    harness.verifier.start()
    assert len(harness.endpoint.calls) == 1
    harness.endpoint.answer(document(jwk(ONE, kid="1")))
    assert harness.identify(token(ONE, "1")) == b"editor"
    assert len(harness.endpoint.calls) == 1


def test_first_token_waits_for_the_keys_and_the_next_do_not():
    harness = Harness()
    waiting = harness.waiting(token(ONE, "1"))
    harness.endpoint.answer(document(jwk(ONE, kid="1")))
    assert result(waiting).role == b"editor"
    assert harness.identify(token(ONE, "1", exp=NOW + 50)) == b"editor"
    assert len(harness.endpoint.calls) == 1


def test_concurrent_tokens_share_one_fetch():
    harness = Harness()
    waiting = [harness.waiting(token(ONE, "1", exp=NOW + 100 + n)) for n in range(5)]
    harness.endpoint.answer(document(jwk(ONE, kid="1")))
    assert [result(each).role for each in waiting] == [b"editor"] * 5
    assert len(harness.endpoint.calls) == 1


def test_one_waiter_may_leave():
    harness = Harness()
    first, second = harness.waiting(token(ONE, "1")), harness.waiting(token(ONE, "1"))
    failures = []
    first.addErrback(failures.append)
    first.cancel()
    harness.endpoint.answer(document(jwk(ONE, kid="1")))
    assert result(second).role == b"editor"
    assert len(failures) == 1


def test_unknown_kid_fetches_at_most_once_in_thirty_seconds():
    harness = loaded(jwk(ONE, kid="1"))
    assert harness.identify(token(TWO, "2")) is None
    harness.clock.advance(30)
    waiting = harness.waiting(token(TWO, "2"))
    harness.endpoint.answer(document(jwk(ONE, kid="1"), jwk(TWO, kid="2")))
    assert result(waiting).role == b"editor"
    assert harness.identify(token(ONE, "3")) is None
    harness.clock.advance(29.9)
    assert harness.identify(token(ONE, "4")) is None
    assert len(harness.endpoint.calls) == 2


def test_old_keys_serve_while_they_are_refreshed():
    harness = loaded(jwk(ONE, kid="1"))
    harness.clock.advance(599)
    assert harness.identify(token(ONE, "1", exp=NOW + 7000)) == b"editor"
    assert len(harness.endpoint.calls) == 1
    harness.clock.advance(1)
    assert harness.identify(token(ONE, "1", exp=NOW + 8000)) == b"editor"
    assert len(harness.endpoint.calls) == 2
    harness.endpoint.answer(document(jwk(TWO, kid="2")))
    assert harness.identify(token(TWO, "2")) == b"editor"


def test_a_removed_key_is_forgotten_with_what_it_signed():
    harness = loaded(jwk(ONE, kid="1"))
    value = token(ONE, "1")
    harness.clock.advance(600)
    assert harness.identify(value) == b"editor"
    harness.endpoint.answer(document(jwk(TWO, kid="2")))
    assert harness.verifier.remembered(value) is None
    assert harness.identify(value) is None


def test_keys_stay_when_the_endpoint_fails():
    harness = loaded(jwk(ONE, kid="1"))
    for body in (None, b"<html>", b'{"keys": []}', b'{"keys": {}}'):
        harness.clock.advance(600)
        now = harness.clock.seconds()
        assert harness.identify(token(ONE, "1", exp=now + 7)) == b"editor"
        if body is None:
            harness.endpoint.break_down()
        else:
            harness.endpoint.answer(body)
        assert harness.identify(token(ONE, "1", exp=now + 8)) == b"editor"
    assert len(harness.endpoint.calls) == 5


def test_a_dead_endpoint_is_tried_again_after_a_while():
    harness = Harness()
    waiting = harness.waiting(token(ONE, "1"))
    harness.endpoint.break_down()
    assert result(waiting).role is None
    assert harness.identify(token(ONE, "1")) is None
    harness.clock.advance(5)
    waiting = harness.waiting(token(ONE, "1"))
    harness.endpoint.answer(document(jwk(ONE, kid="1")))
    assert result(waiting).role == b"editor"


def test_a_silent_endpoint_holds_a_request_for_five_seconds():
    harness = Harness()
    waiting = harness.waiting(token(ONE, "1"))
    harness.clock.advance(5)
    assert result(waiting).role is None
    assert harness.clock.getDelayedCalls() == []


def test_a_secret_algorithm_never_fetches():
    harness = Harness()
    assert harness.identify(token(SECRET, "1", "HS256")) is None
    assert harness.endpoint.calls == []


def test_a_published_secret_is_ignored():
    harness = loaded(jwk(SECRET, kid="1"), jwk(ONE, kid="2"))
    harness.clock.advance(30)
    assert harness.identify(token(SECRET, "1", "HS256")) is None


def test_stop_lets_waiters_go_and_leaves_no_timer():
    harness = Harness()
    waiting = harness.waiting(token(ONE, "1"))
    harness.verifier.stop()
    assert result(waiting).role is None
    assert harness.clock.getDelayedCalls() == []
    assert harness.identify(token(ONE, "1")) is None


def test_a_fetch_that_answers_at_once_needs_no_waiting():
    clock = Clock()
    clock.advance(NOW)
    keys = JwksKeys(lambda: succeed(document(jwk(ONE, kid="1"))), clock)
    assert [key.kid for key in keys.keys_for("RS256", "1")] == ["1"]


@pytest.mark.parametrize(
    ("member", "algorithms", "expected"),
    [
        (jwk(ONE, kid="1"), (), ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (jwk(ONE, alg="RS256", use="sig"), (), ("RS256",)),
        (jwk(ONE), ("ES256", "RS384"), ("RS384",)),
        (jwk(CURVE), (), ("ES384",)),
        (jwk(EDWARDS), (), ("EdDSA", "Ed25519")),
        (jwk(ONE, key_ops=["verify"]), ("RS256",), ("RS256",)),
        (jwk(ONE, use="enc"), (), None),
        (jwk(ONE, key_ops=["encrypt"]), (), None),
        (jwk(ONE, alg="HS256"), (), None),
        (jwk(ONE, alg="none"), (), None),
        (jwk(ONE, alg="RS256"), ("RS512",), None),
        (jwk(ONE, alg=5), (), None),
        (json.loads(RSAAlgorithm.to_jwk(ONE)), (), None),
        (jwk(SMALL), (), None),
        (jwk(SECRET), (), None),
        (jwk(SECRET, alg="HS256"), ("HS256",), None),
        ({"kty": "RSA"}, (), None),
        ({"kty": "RSA", "n": "!!", "e": 3}, (), None),
        ({"kty": ["RSA"]}, (), None),
        ({"kty": "EC", "crv": "P-9", "x": "AA", "y": "AA"}, (), None),
        ({"kty": "OKP", "crv": "X25519", "x": "AA"}, (), None),
        ("text", (), None),
    ],
    ids=lambda value: "",
)
def test_which_keys_are_taken(member, algorithms, expected):
    other = jwk(TWO, kid="other", alg=(algorithms or ("RS256",))[0])
    if algorithms in (("ES256", "RS384"), ("HS256",)):
        other = None
    if expected is None:
        with pytest.raises(BadKeySet):
            parse_key_set(document(member), algorithms)
    else:
        keys = parse_key_set(document(member, *([other] if other else [])), algorithms)
        assert keys[0].algorithms == expected
        assert len(keys) == 1 + (other is not None)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"keys": 3}', b"{", b"[" * 100_000, b"\xff"])
def test_documents_that_are_no_key_set(body):
    with pytest.raises(BadKeySet):
        parse_key_set(body)


class Document(Resource):
    isLeaf = True

    def __init__(self, body=b"", status=200):
        Resource.__init__(self)
        self.body, self.status = body, status

    def render_GET(self, request):
        request.setResponseCode(self.status)
        return self.body


class Silent(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.write(b"{")
        return NOT_DONE_YET


def fetched(resource, limit=1000):
    agent = RequestTraversalAgent(resource)
    deferred = Deferred.fromCoroutine(fetch_document(HTTPClient(agent), "http://keys.test/jwks", limit, Clock()))
    results = []
    deferred.addBoth(results.append)
    agent.flush()
    agent.flush()
    return deferred, results


def test_fetching_a_document():
    assert fetched(Document(b"x" * 1000))[1] == [b"x" * 1000]


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (Document(b"x" * 1001), "more than 1000 bytes"),
        (Document(b"x", 404), "status 404"),
        (Redirect(b"http://other.test/"), "status 302"),
    ],
    ids=["large", "missing", "redirect"],
)
def test_documents_that_are_refused(resource, reason):
    (failure,) = fetched(resource)[1]
    failure.trap(FetchError)
    assert reason in failure.getErrorMessage()


def test_a_fetch_can_be_given_up():
    deferred, results = fetched(Silent())
    assert results == []
    deferred.cancel()
    assert len(results) == 1


@pytest.mark.parametrize(
    ("url", "good"), [("https://a/b", True), ("http://a", True), ("file:///x", False), ("//a", False)]
)
def test_addresses(url, good):
    if good:
        assert check_url(url) == url
    else:
        with pytest.raises(ValueError, match="http"):
            check_url(url)


class Moved(Resource):
    """``/jwks`` leads to ``location``; everything else is the document."""

    isLeaf = True

    def __init__(self, location, status=302):
        Resource.__init__(self)
        self.location, self.status = location, status

    def render_GET(self, request):
        if request.path != b"/jwks":
            return b"keys"
        request.setResponseCode(self.status)
        request.setHeader(b"Location", self.location)
        return b"elsewhere"


def followed(resource, redirects=1, url="http://keys.test/jwks"):
    agent = RequestTraversalAgent(resource)
    results = []
    fetching = fetch_document(HTTPClient(agent), url, 1000, Clock(), redirects)
    Deferred.fromCoroutine(fetching).addBoth(results.append)
    for _ in range(6):
        agent.flush()
    return results[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", [b"/v2", b"http://keys.test/v2", b"http://KEYS.test:8080/v2"])
def test_one_redirect_to_the_same_host_is_followed(status, location):
    assert followed(Moved(location, status)) == b"keys"


@pytest.mark.parametrize(
    "location",
    [b"http://other.test/v2", b"//other.test/v2", b"file:///etc/passwd", b"http://u:p@keys.test/v2", b"/jwks", b""],
)
def test_other_redirects_are_not(location):
    failure = followed(Moved(location))
    failure.trap(FetchError)
    assert "status 302" in failure.getErrorMessage()


def test_never_from_https_to_http():
    followed(Moved(b"http://keys.test/v2"), url="https://keys.test/jwks").trap(FetchError)
