"""A small backend to try the proxy with: JSON resources that POSTs change.

``python examples/demo_backend.py --port 8081`` runs it alone; ``make run`` runs it together with the proxy. It counts
how often it was asked (``served`` in every answer), so one sees which answers came from a cache. It trusts whatever
a token claims and keeps everything in memory: a demonstration, nothing more.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

SLOW_SECONDS = 2.0
LARGEST_BODY = 1024 * 1024

Json = dict[str, object]


class Items:
    """What the backend knows: items by number, and how many requests it has answered."""

    def __init__(self) -> None:
        self.by_number: dict[int, Json] = {
            1: {"id": 1, "name": "lamp", "price": 20},
            2: {"id": 2, "name": "chair", "price": 45},
        }
        self.served = 0

    def add(self, item: Json) -> Json:
        number = max(self.by_number, default=0) + 1
        self.by_number[number] = {**item, "id": number}
        return self.by_number[number]


def reply(request: Request, items: Items, status: int, content: Json) -> bytes:
    """A JSON answer that tells how many answers there have been."""
    items.served += 1
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    return json.dumps({**content, "served": items.served}).encode() + b"\n"


def body_of(request: Request) -> Json | None:
    """The JSON object in the request, or None where there is none."""
    if request.content is None:
        return None
    try:
        content = json.loads(request.content.read(LARGEST_BODY))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


class ItemsResource(Resource):
    """``GET /items`` lists, ``POST /items`` adds; children are the single items."""

    def __init__(self, items: Items) -> None:
        Resource.__init__(self)
        self._items = items

    def getChild(self, path: bytes, request: Request) -> Resource:
        if not path:
            return self
        number = int(path) if path.isdigit() and len(path) < 10 else 0
        return ItemResource(self._items, number)

    def render_GET(self, request: Request) -> bytes:
        return reply(request, self._items, 200, {"items": list(self._items.by_number.values())})

    def render_POST(self, request: Request) -> bytes:
        content = body_of(request)
        if content is None:
            return reply(request, self._items, 400, {"error": "expected a JSON object"})
        return reply(request, self._items, 201, {"item": self._items.add(content)})


class ItemResource(Resource):
    """One item: GET shows, POST and PUT change, DELETE removes."""

    isLeaf = True

    def __init__(self, items: Items, number: int) -> None:
        Resource.__init__(self)
        self._items = items
        self._number = number

    def render_GET(self, request: Request) -> bytes:
        item = self._items.by_number.get(self._number)
        if item is None:
            return reply(request, self._items, 404, {"error": "no such item"})
        return reply(request, self._items, 200, {"item": item})

    def render_POST(self, request: Request) -> bytes:
        content = body_of(request)
        if content is None:
            return reply(request, self._items, 400, {"error": "expected a JSON object"})
        if self._number not in self._items.by_number:
            return reply(request, self._items, 404, {"error": "no such item"})
        item = {**self._items.by_number[self._number], **content, "id": self._number}
        self._items.by_number[self._number] = item
        return reply(request, self._items, 200, {"item": item})

    render_PUT = render_POST

    def render_DELETE(self, request: Request) -> bytes:
        item = self._items.by_number.pop(self._number, None)
        return reply(request, self._items, 404 if item is None else 200, {"removed": item is not None})


class Answer(Resource):
    """A GET answered by a function of the request."""

    isLeaf = True

    def __init__(self, items: Items, make: Callable[[Request], Json], cache_control: bytes | None = None) -> None:
        Resource.__init__(self)
        self._items = items
        self._make = make
        self._cache_control = cache_control

    def render_GET(self, request: Request) -> bytes:
        if self._cache_control is not None:
            request.setHeader(b"cache-control", self._cache_control)
        return reply(request, self._items, 200, self._make(request))


class Slow(Resource):
    """A GET that takes its time."""

    isLeaf = True

    def __init__(self, items: Items, clock: IReactorTime) -> None:
        Resource.__init__(self)
        self._items = items
        self._clock = clock

    def render_GET(self, request: Request) -> int:
        def answer() -> None:
            request.write(reply(request, self._items, 200, {"waited": SLOW_SECONDS}))
            request.finish()

        timer = self._clock.callLater(SLOW_SECONDS, answer)
        request.notifyFinish().addErrback(lambda _: timer.cancel() if timer.active() else None)
        return NOT_DONE_YET


def roles_of(request: Request) -> list[str]:
    """The ``roles`` that the bearer token claims, unverified."""
    scheme, _, token = (request.getHeader(b"authorization") or b"").partition(b" ")
    parts = token.split(b".")
    if scheme.lower() != b"bearer" or len(parts) != 3:
        return []
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return []
    roles = claims.get("roles") if isinstance(claims, dict) else None
    return [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []


def make_site(clock: IReactorTime) -> Site:
    """The demo as a ``twisted.web`` site with a memory of its own."""
    items = Items()
    root = Resource()
    root.putChild(
        b"", Answer(items, lambda _: {"try": ["/items", "/items/1", "/whoami", "/slow", "/private", "/time"]})
    )
    root.putChild(b"items", ItemsResource(items))
    root.putChild(b"whoami", Answer(items, lambda request: {"roles": roles_of(request)}))
    root.putChild(b"slow", Slow(items, clock))
    root.putChild(b"private", Answer(items, lambda _: {"secret": "for you alone"}, b"private"))
    root.putChild(b"time", Answer(items, lambda _: {"time": datetime.now(UTC).isoformat()}, b"max-age=5"))
    site = Site(root)
    site.displayTracebacks = False
    site.noisy = False
    return site


def listen(reactor: IReactorTCP, site: Site, host: str, port: int) -> int:
    """Serve ``site``; the port that was taken, which matters where ``port`` is 0."""
    listening = reactor.listenTCP(port, cast("Any", site), interface=host)
    return cast("IPv4Address", listening.getHost()).port


def main(arguments: list[str]) -> None:
    """Serve until stopped; ``--announce`` prints the address."""
    parser = argparse.ArgumentParser(description="A demo backend for caching_proxy.")
    parser.add_argument("--port", type=int, default=8081, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--announce", action="store_true", help="print the address once it listens")
    options = parser.parse_args(arguments)
    from twisted.internet import reactor

    port = listen(reactor, make_site(reactor), options.host, options.port)
    if options.announce:
        print(f"demo backend on http://{options.host}:{port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
