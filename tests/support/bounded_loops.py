"""Loops over what cannot grow, or whose work is counted elsewhere, and why."""

from __future__ import annotations

PATTERNS = "patterns of the operator's; their work is counted in tests/rules/test_glob.py and test_pattern_set.py"
URL = "reads a setting"
FRAMES = "frames of one read, or streams of one connection, whose number is bounded (tests/server/test_http2_floods.py)"
FILES = "reads a file of the operator's"
SOCKETS = "goes over sockets or connections, whose number is bounded"
ADMIN = "behind the admin token; answers in bounded pages"
BOUNDED = {
    "auth/keys.py": FILES,
    "auth/verifier.py": FILES,
    "rules/cache_hosts.py": URL,
    "rules/cache_rules.py": FILES,
    "rules/cache_url.py": URL,
    "rules/glob.py": PATTERNS,
    "rules/invalidation_rules.py": FILES,
    "rules/pattern_set.py": PATTERNS,
    "rules/steering.py": "made once, of the operator's patterns",
    "server/connections.py": SOCKETS,
    "server/http2/bounds.py": FRAMES,
    "server/http2/connection.py": FRAMES,
    "server/http2/sending.py": FRAMES,
    "server/listener.py": SOCKETS,
    "server/tls_front.py": SOCKETS,
    "upstream/line.py": SOCKETS,
    "upstream/pool.py": SOCKETS,
    "web/admin/": ADMIN,
    "web/peers.py": FILES,
    "web/dashboard/": "made once, of our own files",
    "web/root.py": "made once, of our own paths",
}
"""Modules, or rooms, some of whose loops no message reaches, and why."""

BOUNDED_FUNCTIONS = {
    "auth/claims.py:verified": "at most MAX_CANDIDATES keys",
    "auth/jwks.py:JwksKeys._ended": "at most MAX_WAITING requests",
    "http/body.py:Body.attach": "bytes that wait, which are bounded",
    "http/dates.py:_two_digit_year": "a few centuries",
    "rules/ledger.py:merged": "entries of the ledger, which is bounded, and so is each of them",
    "rules/ledger.py:missed": "entries of the ledger, which is bounded",
    "rules/overriding.py:_overridden": "the operator's rules, of which one holds",
    "rules/terms_by_target.py:TermsByTarget._first": "the operator's rules, at most MAX_RULES",
    "rules/terms_by_target.py:TermsByTarget.use": FILES,
    "rules/variance.py:alike": "at most MAX_NAMES names",
    "server/request_line.py:past_empty_lines": "at most EMPTY_LINES",
    "server/answering.py:AnsweringHalf.writeHeaders": "for resources of other programs",
    "server/request.py:ProxyRequest.connectionLost": "who asked to be told",
    "server/request.py:ProxyRequest.received_cookies": "for resources of other programs",
    "server/request.py:ProxyRequest.requestHeaders": "for resources of other programs",
    "server/request.py:ProxyRequest.take_over": "two names",
    "server/sending.py:SendingHalf._pin": "parts of one answer",
    "server/pinned.py:Alone.wait": "each turn ends a connection",
    "server/sending.py:SendingHalf._pump": "slices of one answer",
    "server/http2/fields.py:StaticEncoder.encode": "lines of one response, bounded where the backend's head is read",
    "server/http2/fields.py:integer": "at most nine turns for a length in 64 bits",
    "server/http2/stream.py:Stream._add": "frames of one stream that wait",
    "server/http2/stream.py:Stream.writeHeaders": "for resources of other programs",
    "upstream/tunnel.py:Tunnel.start": "what came behind one head",
    "web/fast_pass.py:FastPass.__init__": "two kinds of peers; made once",
    "web/fast_miss.py:FastMiss.__init__": "two kinds of peers; made once",
    "web/fast_miss.py:_asked_by_names": "names of one head, which is bounded",
    "web/hosts.py:HostPolicy._listed": "two spellings of a host",
    "web/hosts.py:HostPolicy.settled": "with PRESERVE_HOST; the fields of one head, once",
}
