"""Serves the page and its files: to everybody, as there is nothing in them.

The page may load nothing from elsewhere and run nothing inline, so that whatever a cached response, a key or a field
holds stays text. Scripts cannot write markup (Trusted Types).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from caching_proxy.http.messages import Field
from caching_proxy.web.admin.guard import Guard
from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer
from caching_proxy.web.admin.services import AdminResource, AdminServices

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_FIELDS: tuple[Field, ...] = (
    (b"Content-Security-Policy", POLICY),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Frame-Options", b"DENY"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
    "txt": b"text/plain; charset=utf-8",
}
PAGE = "index.html"


@cache
def _content(name: str) -> bytes:
    """What is in a file; read once in a process, as it belongs to the package and does not change."""
    return files("caching_proxy.web.dashboard").joinpath("files", name).read_bytes()


class FileResource(AdminResource):
    """One file of the page."""

    def __init__(self, services: AdminServices, guard: Guard, name: str) -> None:
        super().__init__(services, guard)
        self._content = _content(name)
        self._type = _TYPES[name.rpartition(".")[2]]

    async def act(self, request: AdminRequest) -> JsonAnswer:
        return JsonAnswer(200, self._content, self._type, _FIELDS)


def dashboard_children(services: AdminServices, guard: Guard) -> dict[bytes, FileResource]:
    """The page by the empty name, and every file of it by its own."""
    names = sorted(each.name for each in files("caching_proxy.web.dashboard").joinpath("files").iterdir())
    served = [name for name in names if name.rpartition(".")[2] in _TYPES]
    return {b"" if name == PAGE else name.encode(): FileResource(services, guard, name) for name in served}
