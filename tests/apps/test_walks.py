"""Every HTTP client walks through every application, directly and through the daemon, and is told the same."""

from __future__ import annotations

import base64
import contextlib
import getpass
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import walks
from apps.comparing import differences, documented
from apps.running import HERE, SECONDS, Pair, node, pair, program, python

ADMIN = {"ADMIN_TOKEN": "of-a-test-of-many"}
SERVERS = HERE / "servers"
OWN_NAME = {"PRESERVE_HOST": "true", "ALLOWED_HOSTS": "127.0.0.1:{port}"}
NGINX = """
user {user}; daemon off; pid {home}/nginx.pid; error_log stderr;
events {{ }}
http {{
  access_log off; types {{ text/html html; text/plain txt; }} default_type application/octet-stream;
  gzip on; gzip_proxied any; gzip_vary on; gzip_types text/plain; gzip_min_length 100;
  client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
  uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
  server {{ listen 127.0.0.1:{port}; root {home}/www; autoindex on; autoindex_exact_size on; }}
}}
"""


def httpbin(port: int, home: Path) -> list[str]:
    return [python(), "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--threads", "8", "httpbin:app"]


def fastapi(port: int, home: Path) -> list[str]:
    return [python(), "-m", "uvicorn", "--app-dir", str(SERVERS), "--port", str(port), "fastapi_app:app"]


def django(port: int, home: Path) -> list[str]:
    return [python(), str(SERVERS / "django_site.py"), str(port)]


def express(port: int, home: Path) -> list[str]:
    return node("express_app.mjs", str(port))


def static(port: int, home: Path) -> list[str]:
    nginx = program("nginx", "nginx-light")
    files = home / "www"
    (files / "folder").mkdir(parents=True)
    (files / "page.html").write_text("<p>some text</p>\n" * 100)
    (files / "a b.txt").write_text("blank")
    (files / "data.bin").write_bytes(bytes(range(256)) * 1000)
    (home / "nginx.conf").write_text(NGINX.format(user=getpass.getuser(), home=home, port=port))
    return [nginx, "-c", str(home / "nginx.conf"), "-e", "stderr"]


APPLICATIONS: dict[str, tuple[Callable[[int, Path], list[str]], dict[str, str], walks.Walk]] = {
    "httpbin": (httpbin, {}, walks.HTTPBIN),
    "fastapi": (fastapi, {}, walks.FASTAPI),
    "express": (express, {}, walks.EXPRESS),
    "static": (static, {}, walks.STATIC),
    "django": (django, OWN_NAME, walks.DJANGO),
}
LEFT_OUT = {
    "requests": ("/hints",),  # http.client takes a 103 for the answer
    "wget": ("/hints", "If-None-Match", "If-Modified-Since"),  # and waits for the body of a 304
    "undici": ("TRACE", "If-Unmodified-Since"),  # nginx closes after a 412, and they go on
    "axios": ("If-Unmodified-Since",),
}
CLIENTS = ("requests", "httpx", "aiohttp", "curl", "wget", "undici", "axios")


def test_what_an_application_sees_of_a_request(tmp_path: Path) -> None:
    odd = [("Keep-Alive", "3"), ("TE", "trailers"), ("X-Forwarded-Host", "elsewhere"), ("X-Mine", "1")]
    steps = [walks.get("/headers?show_env=1", *odd)]
    with pair(httpbin, tmp_path) as both:
        seen = [
            json.loads(base64.b64decode(walk("requests", base, steps, tmp_path)[0]["body"]))["headers"]
            for base in (both.direct, both.proxied)
        ]
    direct, proxied = ({name.lower(): value for name, value in each.items()} for each in seen)
    rules = documented("request")
    assert {name for name in proxied if name not in direct} == {name for name, how in rules.items() if how == "added"}
    assert {name for name in direct if name not in proxied} == {name for name, how in rules.items() if how == "gone"}
    assert {name for name in direct if proxied.get(name, direct[name]) != direct[name]} == {"host"}
    assert rules["host"] == "may differ"


def walk(client: str, base: str, steps: walks.Walk, place: Path) -> list[dict[str, Any]]:
    """What ``client`` was answered."""
    if client in ("undici", "axios"):
        command = node(f"with_{client}.mjs")
    else:
        command = [python(), str(HERE / "clients" / f"with_{client}.py")]
    given = json.dumps({"base": base, "steps": steps})
    done = subprocess.run(command, input=given, cwd=place, capture_output=True, text=True, timeout=3 * SECONDS)
    if done.returncode:
        pytest.fail(f"{client} at {base}:\n{done.stderr[-3000:]}")
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module", params=APPLICATIONS)
def application(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Pair]]:
    command, settings, _ = APPLICATIONS[request.param]
    with contextlib.ExitStack() as stack:
        yield (
            request.param,
            stack.enter_context(pair(command, tmp_path_factory.mktemp(request.param), **ADMIN, **settings)),
        )


@pytest.mark.parametrize("client", CLIENTS)
def test_the_answers_are_the_direct_ones(application: tuple[str, Pair], client: str, tmp_path: Path) -> None:
    name, both = application
    steps = _possible(client, APPLICATIONS[name][2] * 2)  # the second time what may be comes from the cache
    if client != "wget":
        steps = steps + walks.CHUNKED.get(name, [])
    if client in ("curl", "wget"):
        program(client, client)
    forget(both)
    direct, proxied = (walk(client, base, steps, tmp_path) for base in (both.direct, both.proxied))
    found = [each for one in zip(steps, direct, proxied, strict=True) for each in differences(*one, both)]
    assert not found, "\n".join(found)


def forget(both: Pair) -> None:
    """No client is to get what another one's request had the application say."""
    fields = {"Authorization": f"Bearer {ADMIN['ADMIN_TOKEN']}", "Content-Type": "application/json"}
    assert both.proxy.request("POST", "/invalidate", fields, b'{"pattern": "cache:*"}').status == 200


def _possible(client: str, steps: walks.Walk) -> walks.Walk:
    """What ``client`` can ask for and understand the answer of, directly too."""
    left_out = LEFT_OUT.get(client, ())
    words = [(step, {step["method"], step["target"], *(name for name, _ in step.get("fields", ()))}) for step in steps]
    return [step for step, its in words if its.isdisjoint(left_out)]


def test_some_of_it_came_from_the_cache(application: tuple[str, Pair], tmp_path: Path) -> None:
    """Or the comparison would say nothing about stored answers."""
    name, both = application
    steps = _possible("requests", APPLICATIONS[name][2] * 2)
    answers = walk("requests", both.proxied, steps, tmp_path)
    statuses = {value for answer in answers for key, value in answer["fields"] if key.lower() == "x-cache-status"}
    assert "HOT_HIT" in statuses
