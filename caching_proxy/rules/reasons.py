"""Every decision of the proxy in plain words: the rule's number in ``docs/http-caching.md``, where it is from, what it
means here, and what to change for another outcome.

Only words; who decides is in the modules beside this one, and names a member of ``outcome``.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from caching_proxy.rules.outcome import Bypass, Detour, Ground, Refusal, Trouble


@attrs.frozen(slots=True)
class Reason:
    """``rule`` is a number of ``docs/http-caching.md``; ``rfc`` the section, or ``project``; ``advice`` what to change,
    empty where nothing is wrong."""

    rule: str
    rfc: str
    text: str
    advice: str = ""


_R9111, _R9110 = "RFC 9111 §", "RFC 9110 §"
_PROJECT = "project"

BYPASSES: Mapping[Bypass, Reason] = {
    Bypass.COOKIE: Reason(
        "Z3",
        _PROJECT,
        "the request carries a cookie that may name a session, so its answer may be for one person",
        "name cookies that do not change the answer in IGNORED_COOKIES (for example _ga*), "
        "or set COOKIE_POLICY=ignore if the backend marks personal answers private",
    ),
    Bypass.NO_STORE: Reason(
        "Q6",
        _R9111 + "5.2.1.5",
        "the client asked with Cache-Control: no-store that nothing of the exchange is kept",
        "send the request without Cache-Control: no-store",
    ),
    Bypass.UPGRADE: Reason("H4", _R9110 + "7.8", "the request asks to switch protocols (Upgrade)"),
    Bypass.RULE: Reason(
        "Z8",
        _PROJECT,
        "a rule of CACHE_RULES says for this path that answers are shared with nobody",
        'change "share" in the first rule of CACHE_RULES whose "match" is found in the target',
    ),
    Bypass.AMBIGUOUS: Reason(
        "Z8",
        _PROJECT,
        "another rule of CACHE_RULES holds for the target as a backend may understand it (dots, slashes, encoding)",
        "send the target in its plain spelling",
    ),
    Bypass.PRECONDITION: Reason(
        "N2",
        _R9110 + "13.1.1",
        "the request carries If-Match or If-Unmodified-Since, which only the backend can judge",
        "send GET requests without If-Match and If-Unmodified-Since",
    ),
}

DETOURS: Mapping[Detour, Reason] = {
    Detour.LOOP: Reason(
        "H10",
        _R9110 + "7.6.3",
        "Via says that the request has been here before",
        "BACKEND_URL leads back to this proxy, or two proxies share one PROXY_NAME",
    ),
    Detour.METHOD: Reason("I5", _R9111 + "4", "only GET and HEAD are answered from the cache"),
    Detour.NO_ROLE: Reason(
        "Z2",
        _PROJECT,
        "the token was refused or its roles were not understood, so nobody knows who may share the answer",
        "check the token's signature, expiry, audience and issuer, the JWT_* settings, and that the claim named by "
        "JWT_ROLES_CLAIM is a list of strings or one string",
    ),
    Detour.BODY: Reason(
        "B19",
        _R9110 + "9.3.1",
        "a GET with a body is more than its key says",
        "send the parameters in the query instead of the body",
    ),
    Detour.OWN_NAME: Reason(
        "B18",
        _PROJECT,
        "the path is, with or without a slash, an endpoint of the proxy's own",
        "set ADMIN_PORT to give the proxy's endpoints a port of their own",
    ),
}

GROUNDS: Mapping[Ground, Reason] = {
    Ground.NOTHING: Reason("B18", _R9111 + "4", "nothing is stored under this key"),
    Ground.OTHER_VARIANTS: Reason(
        "Y1",
        _R9111 + "4.1",
        "answers are stored under this key, but none for these request fields, credentials, scheme or spelling of the "
        "path",
        "let the backend name fewer fields in Vary, or let clients send the same values",
    ),
    Ground.FRESH: Reason("F1", _R9111 + "4.2", "a stored response is fresh and nothing forbids its use"),
    Ground.NO_CACHE: Reason(
        "B11",
        _R9111 + "5.2.2.4",
        "the stored response says no-cache, so the backend has to confirm it each time",
        "let the backend send max-age instead of no-cache",
    ),
    Ground.CLIENT_NO_CACHE: Reason(
        "Q1",
        _R9111 + "5.2.1.4",
        "the client asked for a confirmed answer (no-cache, or Pragma)",
        "leave Cache-Control: no-cache off, or set CLIENT_REFRESH=ignore",
    ),
    Ground.MIN_FRESH: Reason(
        "Q3",
        _R9111 + "5.2.1.3",
        "the client asked for more remaining freshness (min-fresh) than there is",
        "leave min-fresh off, or let the backend state a longer lifetime",
    ),
    Ground.REFRESH: Reason(
        "Z4",
        _PROJECT,
        "the client asked for a fresh answer (max-age=0, Cache-Refresh or X-Cache-Refresh)",
        "leave these fields off, or set CLIENT_REFRESH=ignore",
    ),
    Ground.MAX_AGE: Reason(
        "Q2",
        _R9111 + "5.2.1.1",
        "the stored response is older than the client accepts (max-age)",
        "leave max-age off the request",
    ),
    Ground.STRICT: Reason(
        "E1",
        _R9111 + "4.2.4",
        "the stored response is stale, and it or the client forbids serving it so",
        "let the backend state a longer max-age or s-maxage",
    ),
    Ground.STALE: Reason(
        "E2",
        _R9111 + "4.2.4",
        "the stored response is stale, and nothing allows serving it so",
        "let the backend state a longer max-age, or set STALE_WHILE_REVALIDATE_SECONDS",
    ),
    Ground.REVALIDATE_BEHIND: Reason(
        "E4",
        "RFC 5861 §3",
        "the stored response is stale, but within stale-while-revalidate: it answers, and is validated behind that",
    ),
    Ground.MAX_STALE: Reason(
        "Q4", _R9111 + "5.2.1.2", "the stored response is stale, which the client accepts (max-stale)"
    ),
    Ground.PART: Reason("R8", _R9111 + "3.3", "a part is stored that does not cover what is asked for"),
    Ground.CONDITIONS: BYPASSES[Bypass.PRECONDITION],
}

REFUSALS: Mapping[Refusal, Reason] = {
    Refusal.METHOD: Reason("B1", _R9111 + "3", "only answers to GET are stored"),
    Refusal.STATUS: Reason(
        "B5",
        _R9111 + "3",
        "a response with this status is not stored, or it was brought about by this client's own fields, "
        "or it redirects to itself",
    ),
    Refusal.NO_STORE: Reason(
        "B7",
        _R9111 + "5.2.2.5",
        "the backend said Cache-Control: no-store",
        "let the backend send Cache-Control: max-age=… in place of no-store for answers that may be shared",
    ),
    Refusal.REQUEST_NO_STORE: Reason(
        "Q6", _R9111 + "5.2.1.5", "the client said Cache-Control: no-store", BYPASSES[Bypass.NO_STORE].advice
    ),
    Refusal.MUST_UNDERSTAND: Reason(
        "B8", _R9111 + "5.2.2.3", "the backend said must-understand with a status whose rules are not implemented"
    ),
    Refusal.PRIVATE: Reason(
        "B9",
        _R9111 + "5.2.2.7",
        "the backend said Cache-Control: private, so the answer is for one person",
        "let the backend send public or s-maxage for answers that all holders of a role may share",
    ),
    Refusal.AUTHORIZATION: Reason(
        "B13",
        _R9111 + "3.5",
        "the request carries credentials that no role could be taken from, and the response does not say that it may "
        "be shared",
        "let the backend send public or s-maxage, or configure JWT verification so that a role is known",
    ),
    Refusal.SET_COOKIE: Reason(
        "Z3",
        _PROJECT,
        "the response sets a cookie",
        "let the backend set cookies only where they are needed; STORE_SET_COOKIE=on stores such a response if it also "
        "says public or s-maxage",
    ),
    Refusal.COOKIE: Reason("Z3", _PROJECT, BYPASSES[Bypass.COOKIE].text, BYPASSES[Bypass.COOKIE].advice),
    Refusal.VARY_STAR: Reason(
        "Y4",
        _R9111 + "4.1",
        "the backend said Vary: * (or a Vary that cannot be read), so no stored answer could ever be chosen",
        "let the backend name in Vary the fields that its answer depends on",
    ),
    Refusal.NO_FRESHNESS: Reason(
        "B3",
        _R9111 + "3",
        "nothing allows storing the response or makes it of use: no lifetime, and no validator",
        "let the backend send Cache-Control: max-age=…, or an ETag; CACHE_TTL_SECONDS above 0 gives 2xx responses a "
        "default lifetime",
    ),
    Refusal.MALFORMED: Reason(
        "Z1",
        _PROJECT,
        "the backend's Cache-Control holds the word of a restriction in a form that cannot be read, so no lifetime is "
        "guessed",
        "separate directives by commas and spell them as RFC 9111 does, for example Cache-Control: private, max-age=60",
    ),
    Refusal.RANGE: Reason("R5", _R9111 + "3.3", "only single parts in bytes are stored"),
    Refusal.REQUEST_BODY: DETOURS[Detour.BODY],
    Refusal.TOO_LARGE: Reason(
        "B17", _PROJECT, "the body is longer than MAX_CACHEABLE_BYTES", "raise MAX_CACHEABLE_BYTES if memory allows"
    ),
    Refusal.INCOMPLETE: Reason("B17", _R9111 + "3.3", "the body broke off"),
    Refusal.TAGS: Reason(
        "Z9",
        _PROJECT,
        "the response has more or longer tags (Surrogate-Key, Cache-Tag) than are kept: 1000, 16 KiB together",
        "have the backend send fewer tags, or shorter ones",
    ),
    Refusal.MEMORY: Reason("B17", _PROJECT, "too many bodies were being collected at that moment"),
}

TROUBLES: Mapping[Trouble, Reason] = {
    Trouble.OPEN: Reason(
        "E3",
        _PROJECT,
        "the circuit breaker is open, or too many commands wait: Redis is not asked",
        "see whether Redis can be reached; /ready shows the breaker",
    ),
    Trouble.FAILED: Reason(
        "E3", _PROJECT, "Redis was asked in vain", "see whether Redis can be reached, is writable and not out of memory"
    ),
    Trouble.UNREADABLE: Reason(
        "B17",
        _PROJECT,
        "what Redis holds under this key was not written by this version, and is fetched anew",
    ),
}


def why_not(word: Bypass | Detour) -> Reason:
    """Why a request is not for the cache."""
    return BYPASSES[word] if isinstance(word, Bypass) else DETOURS[word]


NO_ANSWER = Reason(
    "E3",
    _R9111 + "4.2.4",
    "the backend gave no usable answer, and nothing stored may stand in for it",
    "set STALE_IF_ERROR_SECONDS to serve what is stored while the backend is in trouble",
)
OWN_ENDPOINT = Reason(
    "B18", _PROJECT, "this is an endpoint of the proxy's own: neither cache nor backend see the request"
)
CLIMBS = Reason(
    "B18",
    _PROJECT,
    "the path leads out of what is served here: 400",
    "send a path that does not climb above the path of BACKEND_URL",
)
FOREIGN_HOST = Reason("X10", _R9110 + "15.5.20", "the host is not served here: 421", "add the host to ALLOWED_HOSTS")
OWN_CONDITIONS = Reason(
    "V13",
    _R9111 + "4.3.2",
    "nothing is stored, so the client's own conditions go on untouched, and a 304 to them fills no cache",
    "FILL_ON_CONDITIONAL=on fetches and stores the whole for such clients",
)
OWN_RANGE = Reason("R5", _R9111 + "3.3", "a part is asked for; of the answer only a single part in bytes can be stored")
ONLY_IF_CACHED = Reason(
    "Q5",
    _R9111 + "5.2.1.7",
    "the client said only-if-cached, and nothing stored may answer: 504",
    "leave only-if-cached off",
)
