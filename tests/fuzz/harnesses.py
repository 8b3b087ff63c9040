"""One function per parser that reads what strangers wrote: bytes in, nothing out, an exception for anything wrong.

``HARNESSES`` names them. The suite feeds them from Hypothesis and from ``regressions/``, ``make fuzz`` from atheris.
A parser may refuse with the exceptions that it documents; everything else is a finding, and so is an accepted input
that breaks what the rest of the program relies on.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable

import attrs
from twisted.internet.task import Clock

from caching_proxy.auth.keys import TokenConfig
from caching_proxy.auth.verifier import token_verifier
from caching_proxy.http.cache_control import CacheControl
from caching_proxy.http.chunked import ChunkedDecoder
from caching_proxy.http.dates import format_date, parse_date
from caching_proxy.http.framing import BadMessage, request_framing
from caching_proxy.http.hop_by_hop import is_loop
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.http.request_directives import parse_request_control
from caching_proxy.http.targeted_control import parse_targeted
from caching_proxy.interfaces import Identity, UpstreamProtocolError
from caching_proxy.rules.codec import CodecError, decode, encode
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.forwarding import request_to_backend
from caching_proxy.rules.glob import compile_glob, escape, shorten
from caching_proxy.rules.key import KeyPolicy, build_key, parse_key, target_of
from caching_proxy.rules.ranges import parse_content_range, parse_range
from caching_proxy.rules.references import same_origin_target
from caching_proxy.rules.role import UnclearRoles, role_of
from caching_proxy.rules.variance import normal_form, selecting_of
from caching_proxy.server.limits import Limits
from caching_proxy.server.request_head import parse_request_head
from caching_proxy.upstream.response_head import parse_response_head

NOW = 1_900_000_000.0
SECRET = b"a-secret-of-more-than-thirty-two-bytes"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ROLE = re.compile(rb"[A-Za-z0-9_.%~-]+")


def _clean(fields: Fields) -> None:
    for name, value in fields:
        assert _TOKEN.fullmatch(name), name
        assert not set(value) & {0, 10, 13}, value


def request_head(data: bytes) -> None:
    """Accepted heads have one meaning, and what is sent on means the same when read again."""
    data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        head = parse_request_head(data, Limits(head_bytes=1 << 20))
        framing = request_framing(head)
    except BadMessage as problem:
        assert problem.status in (400, 413, 414, 431, 501, 505)
        return
    _clean(head.fields)
    assert _TOKEN.fullmatch(head.method)
    assert head.target == b"*" or head.target.startswith(b"/")
    assert all(33 <= byte <= 126 for byte in head.target)
    assert len(head.fields.all(b"host")) <= 1
    parse_request_control(head.fields, True)
    is_loop(head.fields, b"proxy")
    sent = request_to_backend(
        head,
        host=b"backend",
        client_ip=b"192.0.2.1",
        scheme=b"http",
        request_id=b"id",
        proxy_name=b"proxy",
        trusted_peer=False,
        base_path=b"",
    )
    again = parse_request_head(
        b"%b %b HTTP/1.1\r\n%b\r\n" % (sent.method, sent.target, sent.lines),
        Limits(head_bytes=1 << 22, field_count=1 << 20, target_bytes=1 << 20),
    )
    assert again == sent.head
    assert len(again.fields) == sent.count
    assert request_framing(again).length == 0, "the sender alone adds framing"
    assert framing.length is None or framing.length >= 0


def chunked_body(data: bytes) -> None:
    """Where the bytes are split makes no difference; what comes out came in."""
    step = 1 + (data[0] if data else 0)
    whole, pieces = _decoded(data, len(data) or 1), _decoded(data, step)
    if whole is None or pieces is None:
        return
    assert whole == pieces
    assert len(whole[0]) <= len(data)


def _decoded(data: bytes, step: int) -> tuple[bytes, bool, bytes] | None:
    decoder = ChunkedDecoder()
    content = b""
    try:
        for at in range(0, len(data), step):
            found = decoder.feed(data[at : at + step])
            assert all(found), "no piece is empty"
            content += b"".join(found)
    except BadMessage as problem:
        assert problem.status == 400
        return None
    _clean(decoder.trailers)
    return content, decoder.done, decoder.rest


def response_head(data: bytes) -> None:
    """Accepted heads hold clean fields and a status in three digits."""
    data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        head = parse_response_head(data)
    except UpstreamProtocolError:
        return
    _clean(head.fields)
    assert 100 <= head.status <= 999
    assert not set(head.reason) & {0, 10, 13}
    for line in head.fields.all(b"location"):
        target = same_origin_target(line, b"/a/b?c", {b"http://backend"})
        assert target is None or target.startswith(b"/")


def cache_control(data: bytes) -> None:
    """Directives have lower-case names; limits are whole numbers, not negative; several lines are one list."""
    lines = data.split(b"\n")
    control = CacheControl.parse(lines)
    assert control.directives == CacheControl.parse([b", ".join(lines)]).directives or b'"' in data
    for directive in control.directives:
        assert directive.name == directive.name.lower()
        seconds = control.seconds(directive.name)
        assert seconds is None or 0 <= seconds <= 2**31
        control.fields_of(directive.name)
        control.unqualified(directive.name)
    parse_request_control(Fields([(b"Cache-Control", line) for line in lines]), True)


def cdn_cache_control(data: bytes) -> None:
    """A structured dictionary, or None; every key once."""
    control = parse_targeted(data.split(b"\n"))
    if control is not None:
        names = [directive.name for directive in control.directives]
        assert len(names) == len(set(names))
        for name in names:
            seconds = control.seconds(name)
            assert seconds is None or seconds >= 0


def dates(data: bytes) -> None:
    """What is accepted can be written and read again."""
    moment = parse_date(data, NOW)
    if moment is not None and moment >= 0:
        assert parse_date(format_date(moment), NOW) == moment


def ranges(data: bytes) -> None:
    """Spans lie within the representation, and there are few of them."""
    for size in (0, 1, 1000):
        spans = parse_range(data, size)
        assert spans is None or all(0 <= first <= last < size for first, last in spans)
    found = parse_content_range(data)
    if found is not None:
        first, last, total = found
        assert 0 <= first <= last
        assert total is None or last < total


_verifier = token_verifier(TokenConfig(secret=SECRET), Clock(), None)
_isolating = token_verifier(TokenConfig(), Clock(), None)


def tokens(data: bytes) -> None:
    """Any credentials have an identity; without a signature of ours none has a role; keys stay well-formed."""
    value = bytes(byte for byte in data if byte not in (0, 10, 13))
    dressed = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in data.split(b"\n")[:3])
    for authorization in (value, b"Bearer " + value, b"Bearer " + dressed):
        request = RequestHead(b"GET", b"/", Fields([(b"Authorization", authorization)]))
        checked, isolated = _verifier.identify(request), _isolating.identify(request)
        assert isinstance(checked, Identity)
        assert isinstance(isolated, Identity)
        assert checked.role is None or not checked.established
        assert isolated.role is None or isolated.established is (isolated.role != b"anonymous")
        for role in (checked.role, isolated.role):
            assert role is None or _ROLE.fullmatch(role)


def keys(data: bytes) -> None:
    """Two targets share a key only if one trailing slash of the path is all that tells them apart."""
    first, _, second = data.partition(b"\n")
    targets = [b"/" + bytes(byte for byte in part if 33 <= byte <= 126) for part in (first, second)]
    made = [build_key(b"a-b", target_of(target, KeyPolicy())) for target in targets]
    for target, key in zip(targets, made, strict=True):
        assert (parse_key(key).role, parse_key(key).method) == (b"a-b", b"GET")
        path, mark, query = target.partition(b"?")
        assert parse_key(key).target in (target, path[:-1] + mark + query)
    if made[0] == made[1] and targets[0] != targets[1]:
        short, long = sorted((target.partition(b"?") for target in targets), key=len)
        paths = sorted((short[0], long[0]), key=len)
        assert paths[1] == paths[0] + b"/"
        assert short[1:] == long[1:]


_ENTRY = CacheEntry(
    key=b"k", status=200, reason=b"OK", head=b"A: b\r\n", body=b"body", received_at=NOW, initial_age=0, lifetime=60,
    stale_while_revalidate=0, stale_if_error=0, keep=660, flags=0, selecting=((b"accept", None), (b"x", b"y")),
)  # fmt: skip


def entry_codec(data: bytes) -> None:
    """No bytes but those written for a key are an entry for it; what is encoded is decoded."""
    for key in (b"k", data[:8]):
        try:
            entry = decode(data, key)
        except CodecError:
            continue
        assert entry.key == key
        assert encode(entry) == data
    good = bytearray(encode(attrs.evolve(_ENTRY, body=data)))
    decoded = decode(bytes(good), b"k")
    assert (decoded.body, decoded.selecting) == (data, _ENTRY.selecting)
    at = int.from_bytes(data[:4], "big") % len(good)
    good[at] ^= 1 + (data[4] % 255 if len(data) > 4 else 0)
    try:
        decode(bytes(good), b"k")
    except CodecError:
        return
    raise AssertionError(f"a change at {at} went unseen")


def glob(data: bytes) -> None:
    """Never fails; what is escaped or shortened keeps its promise."""
    pattern, _, key = data.partition(b"\n")
    matches = compile_glob(pattern)
    matched = matches(key)
    assert compile_glob(escape(key))(key)
    for limit in (1, 3, 10):
        short = shorten(pattern, limit)
        assert len(short) <= max(limit, 1)
        assert not matched or compile_glob(short)(key)


def vary(data: bytes) -> None:
    """A variant is found again by the request that made it; equal values have equal normal forms."""
    name, _, value = data.partition(b"\n")
    request = RequestHead(b"GET", b"/", Fields([(b"Accept-Language", value), (b"Accept-Encoding", value)]))
    selecting = selecting_of(request, Fields([(b"Vary", name), (b"Vary", b"Accept-Language")]))
    assert selecting is None or selecting == selecting_of(request, Fields([(b"Vary", name + b",accept-language")]))
    normal = normal_form(b"accept-language", value)
    assert normal_form(b"accept-language", normal) == normal


def claims(data: bytes) -> None:
    """Any JSON in the claims of a token has an answer, and only characters that are safe in keys come of it."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    for claimed in (values, {"roles": values}):
        if isinstance(claimed, dict):
            try:
                role = role_of(claimed)
            except UnclearRoles:
                continue
            assert _ROLE.fullmatch(role.identifier)
            assert len(role.identifier) <= 200


HARNESSES: dict[str, Callable[[bytes], None]] = {
    harness.__name__: harness
    for harness in (
        *(request_head, chunked_body, response_head, cache_control, cdn_cache_control, dates, ranges, tokens, claims),
        *(keys, entry_codec, glob, vary),
    )
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "request_head": (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\nX: y",
        b"POST http://a:80/x?y HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nVia: 1.1 (c) x",
        b"PUT /%2f HTTP/1.0\r\nContent-Length: 5\r\nX_Forwarded_Host: z\r\nCache-Control: max-age=0",
    ),
    "chunked_body": (b"5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\nrest", b"\x01A\r\n0123456789\r\n0\r\n\r\n"),
    "response_head": (
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nVary: x",
        b"HTTP/1.0 999\r\nLocation: //backend/x?y#z\r\nX : y",
    ),
    "cache_control": (b'max-age=60, private="a, b", no-cache', b"s-maxage=01\nmax-age=x\npublic"),
    "cdn_cache_control": (b'max-age=60, public, x="a\\"b";p=1', b"a=(1 2.5 tok), b=?0, c=:YQ==:, max-age=-1"),
    "dates": (b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"),
    "ranges": (b"bytes=0-1,-5, 7-", b"bytes 0-1/5", b"bytes 0-1/*", b"bytes */5"),
    "tokens": (
        b'{"alg":"none"}\n{"roles":["administrator"]}\n',
        b"Basic YTpi",
        b'{"alg":"HS256","kid":1}\n{"exp":1e999}\nx',
    ),
    "claims": (b'{"roles":["a","b-c","\\ud800"]}', b'["administrator"]', b'"x"', b"[1,null]"),
    "entry_codec": (encode(_ENTRY), b"", b"\xc5CP\x02" + bytes(80)),
    "glob": (b"cache:*:/[a-z]?\\*\ncache:x:/ab*", b"[^]\nx", b"*a*b\naab", b"[z-\xc3\n\xd0"),
    "keys": (b"x/\nx", b"x/?a\nx?a", b"/\n", b"cache:GET:a:/\n%2f"),
    "vary": (b"Accept-Encoding, X\ngzip;q=0.5, br", b"*\nx", b"accept-language\nde-DE, *;q=0"),
}
"""Where to begin: inputs that get far into each parser."""
