"""What every client asks of every application: lists of steps, as ``clients/walking.py`` describes them."""

from __future__ import annotations

from typing import Any

Walk = list[dict[str, Any]]
FORM = [("Content-Type", "application/x-www-form-urlencoded")]
JSON = [("Content-Type", "application/json")]
BOUNDARY = [("Content-Type", "multipart/form-data; boundary=cut")]
MULTIPART = (
    '--cut\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    '--cut\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\nContent-Type: text/plain\r\n\r\n'
    "some text\r\n--cut--\r\n"
)


def get(target: str, *fields: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"method": "GET", "target": target, "fields": list(fields), **more}


def send(method: str, target: str, fields: list[tuple[str, str]] = JSON, **more: Any) -> dict[str, Any]:
    return {"method": method, "target": target, "fields": fields, **more}


HTTPBIN: Walk = [
    get("/get?a=1&b=%20x&b=2"),
    {"method": "HEAD", "target": "/get"},
    send("POST", "/post", FORM, body="a=1&b=%C3%BC"),
    send("POST", "/post", body='{"a": [1, 2]}'),
    send("POST", "/post", BOUNDARY, body=MULTIPART),
    send("PUT", "/put", [("Content-Type", "application/octet-stream")], size=300_000),
    send("PATCH", "/patch", body="{}"),
    send("DELETE", "/delete", []),
    *(get(f"/{name}") for name in ("gzip", "deflate", "brotli", "encoding/utf8", "html", "json", "xml", "image/png")),
    *(get(f"/{name}") for name in ("robots.txt", "deny", "links/3/0", "base64/aGVsbG8=", "forms/post")),
    get("/bytes/1024?seed=1"),
    get("/stream/5"),
    get("/stream-bytes/4096?seed=1&chunk_size=100"),
    get("/drip?numbytes=10&duration=0&delay=0"),
    get("/range/2048", ("Range", "bytes=10-99")),
    get("/range/2048", ("Range", "bytes=-20")),
    get("/range/2048", ("Range", "bytes=9000-")),
    get("/range/2048"),
    *(get(f"/{name}/2") for name in ("redirect", "relative-redirect", "absolute-redirect")),
    get("/redirect-to?url=http%3A%2F%2Fexample.org%2F&status_code=307"),
    get("/cookies/set?a=1&b=2"),
    get("/cookies"),
    get("/cookies/delete?a"),
    get("/cookies"),
    get("/cookies/delete?b"),
    get("/basic-auth/u/p"),
    get("/basic-auth/u/p", ("Authorization", "Basic dTpw")),
    get("/bearer", ("Authorization", "Bearer opaque")),
    get("/etag/abc"),
    get("/etag/abc", ("If-None-Match", "*")),
    get("/etag/abc", ("If-Match", '"other"')),
    get("/cache"),
    get("/cache", ("If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT")),
    get("/cache/60"),
    *(get(f"/status/{code}") for code in (204, 404, 405, 410, 418, 500, 503)),
    get("/response-headers?X-A=1&X-A=2&Content-Type=text%2Fplain"),
    get("/anything/a%2Fb/%E2%82%AC?q=%2B+%20&empty="),
    {"method": "OPTIONS", "target": "/get"},
    {"method": "TRACE", "target": "/anything"},
]

FASTAPI: Walk = [
    send("PUT", "/items/7", body='{"name": "desk"}'),
    get("/items/7"),
    get("/items/"),
    send("PUT", "/items/7", body='{"name": "chair"}'),
    get("/items/7"),  # the PUT has invalidated it
    get("/items"),  # redirected to the slash, with an absolute Location
    get("/old"),
    send("PUT", "/items/7", body='{"wrong": 1}'),
    send("DELETE", "/items/7", []),
    get("/items/seven"),
    send("POST", "/upload", BOUNDARY, body=MULTIPART),
    send("POST", "/hash", [("Content-Type", "application/octet-stream")], size=3_000_000),
    get("/large"),
    get("/large", ("Accept-Encoding", "identity")),
    get("/large", ("Accept-Encoding", "gzip")),
    get("/stream"),
    get("/login"),
    get("/me"),
    get("/nowhere"),
    send("POST", "/items/7"),
    get("/openapi.json"),
    get("/docs"),
    get("/items/", ("Origin", "https://shop.example")),
    {
        "method": "OPTIONS",
        "target": "/items/7",
        "fields": [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "PUT")],
    },
]

EXPRESS: Walk = [
    get("/json"),
    {"method": "HEAD", "target": "/json"},
    get("/json", ("If-None-Match", 'W/"2a-fJ/e4y8HkRJ8xZk8dUQmc6HyBxk"')),
    get("/public"),
    get("/public", ("Accept-Encoding", "gzip")),
    get("/public", ("Accept-Encoding", "identity")),
    get("/public", ("Accept-Encoding", "br")),
    get("/movie", ("Range", "bytes=5-14")),
    get("/movie", ("Range", "bytes=0-4, 10-14")),
    get("/movie"),
    {"method": "HEAD", "target": "/movie"},
    get("/movie", ("Range", "bytes=99990-")),
    get("/movie", ("Range", "bytes=200000-")),
    get("/download"),
    get("/moved"),
    get("/elsewhere"),
    get("/signed"),
    get("/cookies"),
    get("/visits"),
    get("/visits"),
    send("POST", "/form", FORM, body="a[b]=1&a[c]=2"),
    send("POST", "/json", body='{"deep": {"er": ["ü"]}}'),
    send("POST", "/json", body='{"broken"'),
    send("PUT", "/length", [("Content-Type", "application/octet-stream")], size=2_000_000),
    get("/trailers"),
    get("/hints"),
    {"method": "OPTIONS", "target": "/json"},
    get("/fails"),
    get("/%E0%A4%A"),
    get("/missing"),
]

CHUNKED: dict[str, Walk] = {
    "fastapi": [send("POST", "/hash", [("Content-Type", "application/octet-stream")], size=100_000, chunked=True)] * 3,
    "express": [send("PUT", "/length", [("Content-Type", "application/x-any")], size=100_000, chunked=True)] * 3,
}
"""Uploads that do not say their length; not for wget, which always does."""

TOKEN = {"token": 'name="csrfmiddlewaretoken" value="([^"]+)"'}

DJANGO: Walk = [
    get("/public/"),
    get("/public/", ("Accept-Encoding", "gzip")),
    get("/public"),  # redirected to the slash
    get("/count/"),
    get("/count/"),
    get("/who/"),
    get("/admin/"),
    get("/admin/login/?next=/admin/", take=TOKEN),
    send("POST", "/admin/login/", FORM, body="username=boss&password=wrong&csrfmiddlewaretoken={token}"),
    send("POST", "/admin/login/", FORM, body="username=boss&password=secret"),  # 403: no token
    get("/admin/login/?next=/admin/", take=TOKEN),
    send(
        "POST",
        "/admin/login/",
        FORM,
        body="username=boss&password=secret&next=/admin/&csrfmiddlewaretoken={token}",
    ),
    get("/admin/"),
    get("/who/"),
    get("/count/"),
    get("/admin/auth/group/add/", take=TOKEN),
    send("POST", "/admin/auth/group/add/", FORM, body="name=editors&csrfmiddlewaretoken={token}"),
    get("/admin/auth/group/"),
    get("/admin/auth/group/1/change/", take=TOKEN),
    send("POST", "/admin/auth/group/1/delete/", FORM, body="post=yes&csrfmiddlewaretoken={token}"),
    get("/admin/auth/group/"),
    get("/admin/", take=TOKEN),
    send("POST", "/admin/logout/", FORM, body="csrfmiddlewaretoken={token}"),
    get("/who/"),
    get("/admin/"),
    get("/nowhere/"),
]

STATIC: Walk = [
    get("/"),
    get("/page.html"),
    {"method": "HEAD", "target": "/page.html"},
    get("/page.html", ("Accept-Encoding", "gzip")),
    get("/folder"),  # redirected to the slash
    get("/data.bin", ("Range", "bytes=100-199")),
    get("/data.bin"),
    get("/data.bin", ("Range", "bytes=100-199")),
    get("/data.bin", ("Range", "bytes=-5")),
    get("/data.bin", ("Range", "bytes=0-1,5-6")),
    get("/data.bin", ("Range", "bytes=99999999-")),
    get("/data.bin", ("Range", "bytes=0-9"), ("If-Range", "Sat, 01 Jan 2000 00:00:00 GMT")),
    get("/data.bin", ("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")),
    get("/data.bin", ("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")),
    get("/a%20b.txt"),
    get("/missing"),
]
