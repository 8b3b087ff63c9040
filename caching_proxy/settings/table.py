"""One row per variable: what ``--help``, ``.env.example`` and ``docs/settings.md`` are made from.

The attribute of :class:`caching_proxy.settings.model.Settings` is the name in lower case; the flag is the same with
dashes. Defaults stand as a user would write them and go through the same parser.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.settings import parsers as p
from caching_proxy.settings.variable import Variable

ALGORITHMS = (
    *("HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448"),
)
LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")

_algorithm = p.matching("|".join(ALGORITHMS), "one of " + " ".join(ALGORITHMS))
_NODE_ENVIRONMENTS = {"test": "production", "staging": "production"}


def _environment(text: str) -> str:
    # Node programs know more names for "not development".
    return p.one_of("development", "production").convert(_NODE_ENVIRONMENTS.get(text.lower(), text))


def _codings(text: str) -> tuple[bytes, ...]:
    if text.lower() == "off":
        return ()
    found = p.listed(p.one_of("gzip", "br", "zstd")).convert(text)
    if not found or len(set(found)) != len(found):
        raise ValueError(text)
    return tuple(coding.encode() for coding in found)


def _collector(text: str) -> str:
    parts = urlsplit(text)
    strange = parts.query or parts.fragment or parts.username is not None or parts.port == 0
    if parts.scheme not in ("http", "https") or not parts.hostname or strange:
        raise ValueError(text)
    return text


def _group(title: str, *rows: Variable) -> tuple[Variable, ...]:
    return tuple(attrs.evolve(row, group=title) for row in rows)


V = Variable

TABLE: tuple[Variable, ...] = (
    *_group(
        "Where it stands",
        V("BACKEND_URL", None, p.backend_url, "base URL of the one backend; a path prefix is kept", required=True),
        V(
            "CACHE_URL",
            "memory:",
            p.cache_url,
            "the shared store: embedded, one server, a master that Sentinels name, or a Cluster (docs/operating.md)",
            aliases=("REDIS_URL",),
        ),
        V("PORT", "3000", p.whole(0, 65535), "port of the listener; 0 takes a free one"),
        V("HOST", "0.0.0.0", p.anything, "address of the listener"),
        V(
            "LISTEN",
            None,
            p.matching(r"[a-z][a-z0-9_.+-]*:\S.*", "a Twisted endpoint string such as unix:/run/proxy.sock"),
            "Twisted endpoint string in place of HOST and PORT (unix:…, systemd:domain=INET:index=0, ssl:…)",
        ),
        V(
            "TLS_CERT_FILE",
            None,
            p.listed(p.anything),
            "PEM files of the listener's certificates with their chains, comma-separated; the client's SNI chooses",
        ),
        V("TLS_KEY_FILE", None, p.listed(p.anything), "PEM files of their private keys, in the same order"),
        V("HTTP2", "on", p.boolean, "offer HTTP/2 to clients that come by TLS"),
        V(
            "APP_ENV",
            "production",
            p.Parser("development or production", _environment),
            "development: coloured one-line logs and error details; production: JSON lines and no internals",
            aliases=("NODE_ENV",),
        ),
        V(
            "WORKERS",
            "1",
            p.workers,
            "processes that share the port; auto: one for each core. Memory bounds and pools are of each process",
        ),
        V(
            "SPARE_WORKERS",
            "0",
            p.whole(0, 16),
            "with several WORKERS: processes started in advance, to take the place of one that dies at once",
        ),
        V("SHUTDOWN_GRACE_SECONDS", "8", p.seconds(False), "time to finish requests on SIGTERM or SIGINT"),
        V(
            "DRAIN_DELAY_SECONDS",
            "0",
            p.seconds(False),
            "before that, time for which all is served as ever, but /ready says draining",
        ),
        V("PROXY_NAME", "caching-proxy", p.token, "name in Via and Cache-Status"),
    ),
    *_group(
        "Freshness",
        V(
            "CACHE_TTL_SECONDS",
            "1800",
            p.whole(0, unit="seconds"),
            "freshness of a successful GET response whose backend said nothing about it; 0 = never guess",
        ),
        V("KEEP_STALE_SECONDS", "600", p.whole(0, unit="seconds"), "how long an entry outlives its freshness"),
        V("STALE_WHILE_REVALIDATE_SECONDS", "0", p.whole(0, unit="seconds"), "default where the backend states none"),
        V("STALE_IF_ERROR_SECONDS", "0", p.whole(0, unit="seconds"), "default where the backend states none"),
        V(
            "STALE_WAIT_SECONDS",
            "1",
            p.seconds(positive=False),
            "how long a silent backend is waited for where a stale copy may be served instead",
        ),
        V(
            "HEURISTIC_MAX_SECONDS",
            "86400",
            p.whole(0, unit="seconds"),
            "longest freshness taken from Last-Modified; 0 = none",
        ),
        V(
            "TARGETED_FIELDS",
            "CDN-Cache-Control",
            p.listed(p.field_name),
            "targeted cache control fields (RFC 9213), the first valid one decides",
        ),
        V("CLIENT_REFRESH", "allow", p.one_of("allow", "ignore"), "whether clients may force a refresh"),
        V(
            "FILL_ON_CONDITIONAL",
            "off",
            p.boolean,
            "fetch the whole for clients that only ask whether their copy still holds, so that they fill the cache too",
        ),
        V("CACHE_STATUS", "on", p.boolean, "send the Cache-Status field (RFC 9211)"),
    ),
    *_group(
        "What is stored, and under which key",
        V("MAX_CACHEABLE_BYTES", "10MiB", p.size(), "larger responses stream through uncached"),
        V("MAX_VARIANTS", str(MAX_VARIANTS), p.whole(1), "variants (Vary) of one key; past that the oldest go"),
        V(
            "MAX_VARIANT_BYTES",
            f"{MAX_VARIANT_BYTES >> 20}MiB",
            p.size(),
            "bytes of all variants of one key; past that the oldest go",
        ),
        V("COOKIE_POLICY", "bypass", p.one_of("bypass", "ignore"), "requests with cookies: pass them by, or disregard"),
        V(
            "STORE_SET_COOKIE",
            "off",
            p.boolean,
            "store a response that sets cookies where the backend said public or s-maxage; others get the same cookie",
        ),
        V(
            "COLLAPSE",
            "process",
            p.one_of("process", "fleet"),
            "misses of one key at the same time make one fetch: in each process, or among all proxies on one Redis",
        ),
        V("IGNORED_COOKIES", None, p.listed(p.glob), "names (globs) of cookies that are no obstacle, comma-separated"),
        V(
            "CACHE_KEY_IGNORE_PARAMS",
            None,
            p.listed(p.glob),
            "query parameters (globs, such as utm_*) left out of keys",
        ),
        V("CACHE_KEY_SORT_QUERY", "false", p.boolean, "sort query parameters in keys"),
        V(
            "COMPRESS",
            "off",
            p.Parser("off, or a comma-separated list of gzip, br and zstd, each once", _codings),
            "codings in which stored text is sent to clients that accept them, the most wanted first",
        ),
        V("COMPRESS_MIN_BYTES", "1024", p.whole(1), "shorter bodies are sent as they are"),
        V(
            "INVALIDATION_CONFIG",
            "invalidation_config.json",
            p.anything,
            "rules file; a missing one means no rules",
        ),
        V(
            "CACHE_RULES",
            None,
            p.anything,
            "JSON file of rules for paths, see docs/rules.md; unset: cache_rules.json if that is there",
        ),
    ),
    *_group(
        "Memory tiers",
        V("HOT_CACHE_MAX_ENTRIES", "5000", p.whole(0), "entries in process memory"),
        V("HOT_CACHE_MAX_BYTES", "64MiB", p.size(), "their total size, in each worker"),
        V("HOT_CACHE_TTL_SECONDS", "30", p.seconds(False), "longest stay of an entry; reading does not extend it"),
        V("BURST_CACHE_MAX_ENTRIES", "5000", p.whole(0), "raw Redis answers remembered"),
        V("BURST_CACHE_MAX_BYTES", "64MiB", p.size(), "their total size, in each worker"),
        V("BURST_CACHE_TTL_SECONDS", "10", p.seconds(False), "longest stay of an answer"),
        V("MEMORY_STORE_MAX_BYTES", "256MiB", p.size(1), "size of each worker's embedded store (CACHE_URL=memory:)"),
    ),
    *_group(
        "Redis",
        V("REDIS_POOL_MIN", "2", p.whole(1, 10_000), "connections kept open (to each master of a Cluster)"),
        V("REDIS_POOL_MAX", "10", p.whole(1, 10_000), "connections at most (to each master of a Cluster)"),
        V("REDIS_CONNECT_TIMEOUT", "5", p.seconds(), "seconds"),
        V("REDIS_COMMAND_TIMEOUT", "3", p.seconds(), "seconds, waiting for a connection included"),
        V("REDIS_MAX_PENDING", "1000", p.whole(1), "commands waiting before new ones fail fast"),
        V(
            "CACHE_CA_FILE",
            None,
            p.anything,
            "PEM file of the authorities that rediss:// trusts, not the system's",
        ),
        V("CACHE_CERT_FILE", None, p.anything, "PEM file of the certificate, and its chain, shown to Redis"),
        V("CACHE_KEY_FILE", None, p.anything, "PEM file of its private key"),
        V("BREAKER_FAILURE_THRESHOLD", "5", p.whole(1), "consecutive failures that open the circuit breaker"),
        V(
            "BREAKER_RECOVERY_SECONDS",
            "5",
            p.seconds(),
            "time until an open breaker probes, unless a connection succeeds earlier",
        ),
    ),
    *_group(
        "Backend",
        V("BACKEND_MAX_CONNECTIONS", "100", p.whole(1, 65535), "keep-alive connections at most"),
        V("BACKEND_CONNECT_TIMEOUT", "5", p.seconds(), "seconds"),
        V("BACKEND_TIMEOUT", "60", p.seconds(), "seconds of silence allowed; not a bound on length"),
        V(
            "BACKEND_TLS_VERIFY",
            "true",
            p.boolean,
            "verify the backend's certificate",
            aliases=("NODE_TLS_REJECT_UNAUTHORIZED",),
        ),
        V("BACKEND_CA_FILE", None, p.anything, "PEM file of the authorities to trust, not the system's"),
        V("BACKEND_CERT_FILE", None, p.anything, "PEM file of the certificate, and its chain, shown to the backend"),
        V("BACKEND_KEY_FILE", None, p.anything, "PEM file of its private key"),
        V(
            "BACKEND_MAX_PER_PEER",
            None,
            p.whole(1, 65535),
            "backend connections that one client may hold; unset: half of BACKEND_MAX_CONNECTIONS",
        ),
        V("PRESERVE_HOST", "false", p.boolean, "send the client's Host on; it must be in ALLOWED_HOSTS"),
        V(
            "REWRITE_LOCATION",
            "on",
            p.boolean,
            "name the client's scheme and host in Location and Content-Location where the backend names its own",
        ),
        V("ALLOWED_HOSTS", None, p.listed(p.authority), "hosts that clients may name, comma-separated"),
    ),
    *_group(
        "Roles",
        V("JWT_SECRET", None, p.as_bytes(p.anything), "shared secret that tokens are verified with", secret=True),
        V("JWT_SECRET_BASE64", None, p.base64_bytes, "the same in base64, for a secret of any bytes", secret=True),
        V(
            "JWT_PUBLIC_KEY_FILE",
            None,
            p.anything,
            "PEM file of the public key or certificate that verifies tokens",
        ),
        V("JWT_JWKS_URL", None, p.web_url, "URL of the key set that tokens are verified with"),
        V("JWT_JWKS_CA_FILE", None, p.anything, "PEM file of the authorities to trust for it, not the system's"),
        V(
            "JWT_ALGORITHMS",
            None,
            p.listed(_algorithm),
            "algorithms accepted; by default HS256 for a secret, what fits the key's type otherwise",
        ),
        V("JWT_AUDIENCE", None, p.listed(p.anything), "audiences, comma-separated, of which tokens must name one"),
        V("JWT_ISSUER", None, p.anything, "issuer that tokens must name"),
        V("JWT_LEEWAY_SECONDS", "0", p.seconds(False), "clock difference forgiven"),
        V("JWT_MAX_BYTES", "8KiB", p.size(1), "size of an Authorization value past which the cache is passed by"),
        V(
            "JWT_TRUST",
            "isolate",
            p.one_of("isolate", "trust"),
            "without a key: isolate each token's entries, or trust claims that a gateway has verified",
        ),
        V(
            "JWT_ROLES_CLAIM",
            "roles",
            p.matching(r"\s*[^.\s][^.]*(\.\s*[^.\s][^.]*)*", "names joined by single dots such as realm_access.roles"),
            "dotted path of the claim that holds roles",
        ),
    ),
    *_group(
        "Admin and seeing",
        V(
            "ADMIN_TOKEN",
            None,
            p.as_bytes(p.matching(r"[!-~]+", "printable ASCII without spaces")),
            "bearer token of the guarded admin endpoints",
            secret=True,
        ),
        V("ADMIN_AUTH", "token", p.one_of("token", "none"), "none opens the guarded admin endpoints to everyone"),
        V("ADMIN_PORT", None, p.whole(0, 65535), "own port for the admin endpoints, which then leave the proxy port"),
        V("ADMIN_HOST", "127.0.0.1", p.anything, "address of that port"),
        V("LOG_LEVEL", "info", p.one_of(*LEVELS), "least level that is logged"),
        V("ACCESS_LOG", "on", p.boolean, "log a line for each request"),
        V(
            "LOG_FILE",
            None,
            p.anything,
            "file that all log lines go to; unset: stdout, or twistd.log for a daemon. SIGUSR1 opens it anew",
        ),
        V(
            "LOG_ROTATE_BYTES",
            "100MiB",
            p.size(),
            "size past which the log file is renamed to .1, .1 to .2 and so on; 0 = never",
        ),
        V("LOG_KEEP", "5", p.whole(0, 100), "renamed log files that are kept at most"),
        V(
            "STATE_DIR",
            None,
            p.anything,
            "directory for the journal of invalidations that Redis has not carried out; unset: kept in memory only",
        ),
        V(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            None,
            p.Parser("the URL of a collector that takes OTLP over HTTP, as http://127.0.0.1:4318", _collector),
            "requests are traced, and their spans sent there (with the extra [otel])",
        ),
        V(
            "METRIX_PREFIX",
            None,
            p.matching(r"[a-zA-Z_][a-zA-Z0-9_]*", "letters, digits and _, not starting with a digit", unset=""),
            "prefix of every metric name and value of the label app",
            aliases=("METRICS_PREFIX",),
        ),
    ),
    *_group(
        "Limits",
        V(
            "TRUSTED_PROXIES",
            None,
            p.listed(p.network),
            "CIDRs whose X-Forwarded-* and Forwarded are believed; unix: for Unix sockets",
        ),
        V(
            "STEERING_FIELDS",
            None,
            p.listed(p.field_glob),
            "more request fields (globs, such as X-Shop-*) that only TRUSTED_PROXIES may send",
        ),
        V(
            "UNDERSCORES_IN_HEADERS",
            "off",
            p.boolean,
            "let request fields pass whose names have an underscore; CGI and WSGI programs read it as a hyphen",
        ),
        V("MAX_REQUEST_BODY_BYTES", "unlimited", p.or_unlimited(p.size()), "larger uploads are refused (413)"),
        V(
            "REQUEST_BUFFER_BYTES",
            "1MiB",
            p.size(),
            "uploads up to so long are read whole before they take a backend connection; 0 = none",
        ),
        V("MAX_HEAD_BYTES", "32KiB", p.size(1024), "request line and fields together (431)"),
        V("MAX_HEADER_FIELDS", "128", p.whole(8, 10_000), "field lines in a request (431)"),
        V("MAX_TARGET_BYTES", "16KiB", p.size(64), "request target (414)"),
        V("PIPELINE_DEPTH", "32", p.whole(1, 10_000), "requests that may wait on one connection"),
        V("HEAD_TIMEOUT", "30", p.seconds(), "seconds for a request head to arrive"),
        V("BODY_TIMEOUT", "60", p.seconds(), "seconds for a request body, and one more for every 500 bytes received"),
        V("WRITE_TIMEOUT", "60", p.seconds(), "seconds for which a client may take nothing of its answer"),
        V("IDLE_TIMEOUT", "75", p.seconds(), "seconds that an idle connection is kept"),
        V("MAX_CONNECTIONS", "20000", p.whole(1), "client connections at once"),
        V("MAX_CONNECTIONS_PER_PEER", "0", p.whole(0), "of these from one address; 0 = no bound"),
    ),
)
