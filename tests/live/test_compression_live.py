"""Compression with a real process: by HTTP/1.1, large bodies in a thread, and settings that cannot work."""

from __future__ import annotations

import gzip

import brotli
import pytest
from support.live_backend import LiveBackend
from support.proxy_process import StartProxy, wait_for

pytestmark = pytest.mark.live


def test_small_and_large(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url, COMPRESS="br,gzip")
    body = b"".join(b"line %d of many\n" % number for number in range(400_000))
    fields = [("Cache-Control", "max-age=600"), ("Content-Type", "text/plain"), ("ETag", '"x"')]
    backend.on("/packed", lambda exchange: exchange.reply(body[:5000], 200, fields))
    backend.on("/packed-large", lambda exchange: exchange.reply(body, 200, fields))
    assert proxy.get("/packed", Accept_Encoding="gzip").body == body[:5000]
    packed = proxy.get("/packed", Accept_Encoding="gzip")
    assert (packed["Content-Encoding"], packed["ETag"], packed["Vary"]) == ("gzip", 'W/"x"', "Accept-Encoding")
    assert gzip.decompress(packed.body) == body[:5000]
    proxy.get("/packed-large")
    wait_for(
        lambda: proxy.get("/packed-large", Accept_Encoding="gzip, br").get("Content-Encoding") == "br",
        "the large body to be compressed",
    )
    large = proxy.get("/packed-large", Accept_Encoding="gzip, br")
    assert brotli.decompress(large.body) == body
    assert proxy.get("/packed-large", Accept_Encoding="gzip;q=0").body == body
    assert len(backend.seen("/packed-large")) == 1


@pytest.mark.parametrize("value", ["deflate", "gzip,gzip", "gzip,off"])
def test_codings_that_there_are_not(start_proxy: StartProxy, backend: LiveBackend, value: str) -> None:
    proxy = start_proxy(wait=False, BACKEND_URL=backend.url, COMPRESS=value)
    assert proxy.wait() == 1
    [line] = proxy.log.splitlines()
    assert "COMPRESS" in line
    assert value in line
    assert "gzip, br and zstd" in line
