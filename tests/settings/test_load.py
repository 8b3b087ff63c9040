"""Settings: where they come from, what is refused and what is warned about."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.settings import dotenv
from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.settings.table import TABLE

BACKEND = {"BACKEND_URL": "http://backend:8080"}

NODE_ENV_FILE = """\
# Settings of the Node original
NODE_ENV='development'
METRIX_PREFIX="articles"   # prefix of the metrics
CACHE_URL=redis://keydb:6379 # the cache
BACKEND_URL = "http://localhost:8080/"
CACHE_TTL_SECONDS=900 # a quarter of an hour
LOG_LEVEL=debug
KEYDB_PORT=6379
"""


def one(**variables: str) -> Settings:
    return load({**BACKEND, **variables}, {}, {})[0]


def refusal(**variables: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        one(**variables)
    return caught.value


def test_every_row_has_its_attribute() -> None:
    names = {field.name for field in attrs.fields(Settings)}
    made = {"jwt_public_key", "cache_tls", "backend_tls", "jwks_tls"}
    assert names - made == {row.attribute for row in TABLE}


def test_names_and_flags_are_unique() -> None:
    names = [name for row in TABLE for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))


def test_defaults() -> None:
    found = one()
    assert (found.port, found.host, found.cache_url) == (3000, "0.0.0.0", "memory:")
    assert (found.cache_ttl_seconds, found.hot_cache_max_bytes) == (1800, 64 * 1024 * 1024)
    assert found.max_request_body_bytes is None
    assert found.admin_port is None
    assert found.metrix_prefix == ""
    assert found.policy().targets == (b"cdn-cache-control",)


def test_defaults_warn_of_nothing() -> None:
    assert load(BACKEND, {}, {})[1] == ()


def test_a_flag_beats_the_environment_beats_dotenv() -> None:
    files, environ, flags = {"PORT": "1", "HOST": "a", "WORKERS": "1"}, {"PORT": "2", "HOST": "b"}, {"PORT": "3"}
    found, _ = load({**BACKEND, **environ}, files, flags)
    assert (found.port, found.host) == (3, "b")


def test_empty_counts_as_unset() -> None:
    found, _ = load({**BACKEND, "PORT": " ", "ADMIN_TOKEN": ""}, {"PORT": "81"}, {})
    assert (found.port, found.admin_token) == (81, None)


def test_a_name_beats_its_alias_within_a_source() -> None:
    assert one(APP_ENV="production", NODE_ENV="development").app_env == "production"


def test_an_alias_in_the_environment_beats_dotenv() -> None:
    found, _ = load({**BACKEND, "NODE_ENV": "development"}, {"APP_ENV": "production"}, {})
    assert found.development


def test_the_env_file_of_the_node_original() -> None:
    values, complaints = dotenv.parse(NODE_ENV_FILE)
    found, warnings = load({}, values, {})
    assert (complaints, warnings) == ((), ())
    assert (found.app_env, found.metrix_prefix, found.cache_url) == ("development", "articles", "redis://keydb:6379")
    assert (found.backend_url, found.cache_ttl_seconds, found.log_level) == ("http://localhost:8080", 900, "debug")


REFUSED = [
    ("PORT", "abc"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "٣"),
    ("BACKEND_URL", "ftp://x"),
    ("BACKEND_URL", "http://"),
    ("BACKEND_URL", "http://x:port"),
    ("BACKEND_URL", "http://x/?q"),
    ("BACKEND_URL", "http://user@x"),
    ("BACKEND_URL", "http://a b"),
    ("BACKEND_URL", "http://[::1"),
    ("CACHE_URL", "memcached://x"),
    ("CACHE_URL", "redis://x/zero"),
    ("CACHE_URL", "redis+sentinel://x"),
    ("CACHE_URL", "redis+cluster://x/1"),
    ("CACHE_URL", "unix://"),
    ("CACHE_TTL_SECONDS", "1.5"),
    ("LOG_LEVEL", "loud"),
    ("NODE_ENV", "prduction"),
    ("WORKERS", "0"),
    ("WORKERS", "-1"),
    ("WORKERS", "257"),
    ("WORKERS", "many"),
    ("HOT_CACHE_MAX_BYTES", "1XB"),
    ("HOT_CACHE_MAX_BYTES", "-1"),
    ("MAX_REQUEST_BODY_BYTES", "infinite"),
    ("REDIS_CONNECT_TIMEOUT", "0"),
    ("REDIS_CONNECT_TIMEOUT", "nan"),
    ("REDIS_COMMAND_TIMEOUT", "1e3"),
    ("BACKEND_TLS_VERIFY", "maybe"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("ALLOWED_HOSTS", "a/b"),
    ("PROXY_NAME", "two words"),
    ("METRIX_PREFIX", "1st"),
    ("JWT_ALGORITHMS", "none"),
    ("JWT_JWKS_URL", "file:///etc/passwd"),
    ("JWT_TRUST", "always"),
    ("JWT_ROLES_CLAIM", "."),
    ("JWT_ROLES_CLAIM", ".."),
    ("JWT_ROLES_CLAIM", "a..b"),
    ("JWT_ROLES_CLAIM", ".a"),
    ("JWT_ROLES_CLAIM", "a."),
    ("JWT_ROLES_CLAIM", "a. .b"),
    ("ADMIN_AUTH", "basic"),
    ("LISTEN", "3000"),
    ("COOKIE_POLICY", "eat"),
    ("TARGETED_FIELDS", "CDN Cache"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{name}={value}" for name, value in REFUSED])
def test_refused(name: str, value: str) -> None:
    problem = str(refusal(**{name: value}))
    assert problem.startswith(f"{name}: ")
    assert " is not allowed; expected " in problem
    assert "\n" not in problem


def test_the_refusal_quotes_the_value() -> None:
    assert str(refusal(PORT="abc")) == "PORT: 'abc' is not allowed; expected a whole number from 0 to 65535"


def test_a_required_one_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"^BACKEND_URL: not set; expected an http:// or https:// URL"):
        load({}, {}, {})


TAKEN = [
    ("BACKEND_URL", "https://x:8443/base/", "https://x:8443/base"),
    ("CACHE_URL", "memory", "memory:"),
    ("CACHE_URL", "rediss://:p%40ss@h:1/2", "rediss://:p%40ss@h:1/2"),
    ("CACHE_URL", "valkey://h", "valkey://h"),
    ("CACHE_URL", "redis+sentinel://h,g:1/m", "redis+sentinel://h,g:1/m"),
    ("REDIS_URL", "unix:///run/redis.sock", "unix:///run/redis.sock"),
    ("HOT_CACHE_MAX_BYTES", "1 gib", 1024**3),
    ("MAX_CACHEABLE_BYTES", "512", 512),
    ("MAX_REQUEST_BODY_BYTES", "1KiB", 1024),
    ("BACKEND_TIMEOUT", "0.5", 0.5),
    ("PRESERVE_HOST", "OFF", False),
    ("NODE_TLS_REJECT_UNAUTHORIZED", "0", False),
    ("NODE_ENV", "test", "production"),
    ("LOG_LEVEL", "WARN", "warn"),
    ("ALLOWED_HOSTS", "A.example, [::1]:80,", (b"a.example", b"[::1]:80")),
    ("IGNORED_COOKIES", "_ga*,theme", (b"_ga*", b"theme")),
    ("METRICS_PREFIX", "shop", "shop"),
    ("WORKERS", "1", 1),
    ("WORKERS", "256", 256),
    ("WORKERS", "Auto", len(os.sched_getaffinity(0))),
    ("LISTEN", "systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
    ("CACHE_STATUS", "off", False),
    ("JWT_ROLES_CLAIM", "realm access.the-roles", "realm access.the-roles"),
]


@pytest.mark.parametrize(("name", "text", "value"), TAKEN, ids=[f"{name}={text}" for name, text, _ in TAKEN])
def test_taken(name: str, text: str, value: object) -> None:
    row = next(row for row in TABLE if name in (row.name, *row.aliases))
    assert getattr(one(**{name: text}), row.attribute) == value


def test_networks() -> None:
    found = one(TRUSTED_PROXIES="10.0.0.1/8, ::1").trusted_proxies
    assert [str(network) for network in found] == ["10.0.0.0/8", "::1/128"]


CONTRADICTIONS = [
    ({"REDIS_POOL_MIN": "5", "REDIS_POOL_MAX": "4"}, "REDIS_POOL_MIN"),
    ({"MAX_TARGET_BYTES": "2KiB", "MAX_HEAD_BYTES": "1KiB"}, "MAX_TARGET_BYTES"),
    ({"PRESERVE_HOST": "true"}, "PRESERVE_HOST"),
    ({"ADMIN_PORT": "3000"}, "ADMIN_PORT"),
    ({"JWT_SECRET": "s", "JWT_JWKS_URL": "https://x/keys"}, "JWT_JWKS_URL"),
    ({"JWT_SECRET": "s", "JWT_ALGORITHMS": "RS256"}, "JWT_ALGORITHMS"),
    ({"JWT_JWKS_URL": "https://x/keys", "JWT_ALGORITHMS": "ES256,HS256"}, "JWT_ALGORITHMS"),
    ({"JWT_PUBLIC_KEY_FILE": "/nowhere/key.pem"}, "JWT_PUBLIC_KEY_FILE"),
]


@pytest.mark.parametrize(
    ("variables", "blamed"), CONTRADICTIONS, ids=["+".join(variables) for variables, _ in CONTRADICTIONS]
)
def test_contradictions(variables: dict[str, str], blamed: str) -> None:
    assert refusal(**variables).variable == blamed


def _pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


KEYS = {
    "rsa": (_pem(rsa.generate_private_key(65537, 2048).public_key()), "PS256", "ES256"),
    "ec": (_pem(ec.generate_private_key(ec.SECP256R1()).public_key()), "ES256", "HS256"),
    "ed25519": (_pem(ed25519.Ed25519PrivateKey.generate().public_key()), "EdDSA", "RS256"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_algorithms_fit_the_key(kind: str, tmp_path: Path) -> None:
    pem, fits, does_not = KEYS[kind]
    path = tmp_path / "key.pem"
    path.write_bytes(pem)
    assert one(JWT_PUBLIC_KEY_FILE=str(path)).jwt_public_key == pem
    assert one(JWT_PUBLIC_KEY_FILE=str(path), JWT_ALGORITHMS=fits).jwt_algorithms == (fits,)
    assert refusal(JWT_PUBLIC_KEY_FILE=str(path), JWT_ALGORITHMS=does_not).variable == "JWT_ALGORITHMS"


def test_a_key_file_with_something_else(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert "PEM" in str(refusal(JWT_PUBLIC_KEY_FILE=str(path)))


WARNED = [
    ({"JWT_TRUST": "trust"}, "JWT_TRUST=trust"),
    ({"ADMIN_AUTH": "none"}, "ADMIN_AUTH=none"),
    ({"NODE_TLS_REJECT_UNAUTHORIZED": "0"}, "NODE_TLS_REJECT_UNAUTHORIZED=0"),
    ({"BACKEND_TLS_VERIFY": "false"}, "BACKEND_TLS_VERIFY=false"),
    ({"ADMIN_TOKEN": "short"}, "ADMIN_TOKEN"),
    ({"JWT_SECRET": "short"}, "JWT_SECRET"),
]


@pytest.mark.parametrize(("variables", "start"), WARNED, ids=[start for _, start in WARNED])
def test_warnings(variables: dict[str, str], start: str) -> None:
    warnings = load({**BACKEND, **variables}, {}, {})[1]
    assert [warning.startswith(start) for warning in warnings] == [True]


def test_trust_with_a_key_is_no_matter() -> None:
    assert load({**BACKEND, "JWT_TRUST": "trust", "JWT_SECRET": "s" * 32}, {}, {})[1] == ()


SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2"


@pytest.mark.parametrize("name", ["ADMIN_TOKEN", "JWT_SECRET"])
def test_repr_shows_no_secret(name: str) -> None:
    assert SECRET not in repr(one(**{name: SECRET}))


def test_repr_shows_no_password() -> None:
    assert SECRET not in repr(one(CACHE_URL=f"redis://user:{SECRET}@host"))


@pytest.mark.parametrize(
    "variables",
    [
        {"CACHE_URL": f"redis://user:{SECRET}@host/x"},
        {"CACHE_URL": f"redis://user:a/{SECRET}@host"},
        {"CACHE_URL": f"redis+sentinel://host/m/x?sentinel_password={SECRET}"},
        {"BACKEND_URL": f"http://user:{SECRET}@host"},
        {"ADMIN_TOKEN": f"{SECRET} with spaces"},
        {"JWT_SECRET": SECRET, "JWT_JWKS_URL": "https://x"},
    ],
    ids=["path", "slash", "parameter", "backend", "token", "two keys"],
)
def test_refusals_show_no_secret(variables: dict[str, str]) -> None:
    assert SECRET not in str(refusal(**variables))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.sampled_from([row.name for row in TABLE]), st.text(min_size=1, max_size=30))
def test_any_text_is_taken_or_refused_in_one_line(name: str, text: str) -> None:
    try:
        load({**BACKEND, name: text}, {}, {})
    except SettingsError as problem:
        assert len(str(problem).splitlines()) == 1
