"""A real daemon reads its ``.env``: each form that Node's dotenv 16 knows, seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, free_port

pytestmark = pytest.mark.live

SECRET = "-----first line-----\nsecond # line = of a secret\n-----last line-----"

TEXT = f"""\ufeff# The order of quotes, comments and escapes matters.\r
export BACKEND_URL=URL # the API\r
METRIX_PREFIX=overwritten
METRIX_PREFIX: 'shop' # a colon, and quotes
  CACHE_TTL_SECONDS =\t61# no blank before the comment
PROXY_NAME=`edge'`
ADMIN_TOKEN="a#b=c$HOME${{X}}\\t'd" # a comment with " in it
JWT_SECRET="{SECRET}"
LOG_LEVEL=
KEEP_STALE_SECONDS=''
HOST=192.0.2.1
LOG_FILE=proxy.log
nothing that could be an assignment
IGNORED_COOKIES="a\\nb"
#PORT=1
MAX_VARIANTS=7"""


@pytest.fixture
def proxy(tmp_path: Path, backend: LiveBackend) -> Iterator[ProxyProcess]:
    (tmp_path / ".env").write_bytes(TEXT.replace("URL=URL", f"URL={backend.url}").encode())
    proxy = ProxyProcess(tmp_path, {"PORT": str(free_port()), "HOST": "127.0.0.1"})  # the environment wins
    proxy.wait_until_serving()
    yield proxy
    proxy.stop()


def test_every_form_arrives(proxy: ProxyProcess) -> None:
    answer = proxy.get("/env")
    assert answer["X-Cache-Expires-In"] == "61s"
    assert answer["Cache-Status"].startswith("edge'")
    assert b"shop_http_requests_total" in proxy.get("/metrics").body
    token = jwt.encode({"roles": ["editor"], "exp": 4e9}, SECRET, "HS256")
    assert proxy.get("/env", Authorization=f"Bearer {token}").cache == "MISS"  # a role of its own, not a bypass
    assert proxy.get("/env", Authorization=f"Bearer {token}").cache == "HOT_HIT"
    assert proxy.get("/keys", Authorization="Bearer a#b=c$HOME${X}\\t'd").status == 200
    assert proxy.get("/keys", Authorization="Bearer a").status in (401, 403)
    assert proxy.stop() == 0
    log = (proxy.directory / "proxy.log").read_text()
    assert ".env line 15 is not NAME=value: ignored" in log
    assert '"role":"editor"' in log
    assert "second" not in log
    assert proxy.log == ""


def test_a_quote_that_is_not_closed_stops_a_start_in_one_line(tmp_path: Path, backend: LiveBackend) -> None:
    (tmp_path / ".env").write_text(f"BACKEND_URL={backend.url}\nCOOKIE_POLICY='ignore\nPORT=0\n")
    proxy = ProxyProcess(tmp_path, {"PORT": "0"})
    assert proxy.wait() == 1
    assert proxy.log == 'COOKIE_POLICY: "\'ignore" is not allowed; expected one of bypass, ignore\n'
