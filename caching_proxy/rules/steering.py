"""Request fields that steer a backend without being in the key: nobody may send them but a trusted proxy.

Whoever sends one can make a backend answer for another host, path, method or user, and that answer would be stored
for everybody. One table says which they are and why; ``STEERING_FIELDS`` extends it. They are taken away before
anything looks at the request, so a field that the backend never sees selects no variant either.

A name with ``_`` goes too, from whomever it comes: CGI and WSGI programs read ``Accept_Language`` as
``Accept-Language`` (``UNDERSCORES_IN_HEADERS=on`` lets them pass, as in nginx).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.http.passing_lines import PassingLines
from caching_proxy.rules.glob import Matcher, compile_glob

_IIS = "IIS and Zend take the path from it"
_METHOD = "frameworks take the method from it, and what it asks for would invalidate nothing"
_HOST = "names the host that links and redirects are made for"
_SCHEME = "says whether the client came over TLS"
_ADDRESS = "says who the client is: allow-lists, rate limits and places depend on it"
_USER = "says who is signed in; only a gateway that has checked may set it"

TABLE: dict[bytes, str] = {
    # path
    b"x-original-*": "host, path, method or address before a rewrite (IIS, Symfony, Envoy, ingress-nginx)",
    b"x-rewrite-*": _IIS,
    b"x-override-*": _IIS,
    b"x-rewritten-url": _IIS,
    b"x-http-destinationurl": _IIS,
    b"x-base-url": "prefix of the links that are made",
    b"base-url": "prefix of the links that are made",
    b"http-url": _IIS,
    b"request-uri": "CGI programs take the target from it",
    b"x-request-uri": "taken for the target behind ingress controllers",
    b"x-replaced-path": "path before Traefik replaced it",
    b"x-http-path-override": "frameworks take the path from it",
    b"x-waws-unencoded-url": "path as Azure's front end tells it",
    b"path-info": "CGI programs take the path from it",
    b"x-path-info": "CGI programs take the path from it",
    b"script-name": "prefix of the links that are made",
    b"x-script-name": "prefix of the links that are made",
    b"x-dest-uri": "target of a gateway",
    b"x-proxy-url": "target of a gateway",
    b"x-envoy-original-path": "path before Envoy rewrote it",
    # method
    b"x-http-method": _METHOD,
    b"x-http-method-override": _METHOD,
    b"x-method-override": _METHOD,
    b"x-method": _METHOD,
    # frameworks' own signals
    b"x-middleware-*": "Next.js: skips its middleware, and with it every check made there",
    b"x-invoke-*": "Next.js: path, query, status and error of an internal call",
    b"x-now-*": "Next.js on Vercel: which route matched",
    b"x-matched-path": "Next.js: which route matched",
    b"x-nextjs-*": "Next.js: answers with data or an empty redirect in place of the page",
    b"x-vercel-*": _ADDRESS,
    b"x-prerender-revalidate": "Next.js: makes it render anew",
    b"x-react-router-prerender-data": "React Router: data of the page, given by the request",
    b"x-react-router-spa-mode": "React Router: an error in place of the page",
    b"x-astro-path": "Astro: path that is rendered",
    b"x-astro-locals": "Astro: variables of the page, given by the request",
    b"x-sendfile": "Rack and Rails: which file is sent",
    b"x-sendfile-type": "Rack and Rails: which field names the file that is sent",
    b"x-accel-*": "Rack and Rails: how paths of files are mapped",
    b"surrogate-capability": "makes Symfony, Drupal and others leave ESI tags in the page for a cache to fill in",
    b"x-wap-profile": "answers in other forms for old phones",
    b"proxy-authorization": "for a proxy; its answer would be anybody's",
    # host and port
    b"forwarded": "host, scheme and address (RFC 7239)",
    b"x-forwarded": "host, scheme and address",
    b"x-forwarded-*": "host, port, prefix, scheme, address and user as the first proxy saw them",
    b"x-forward-*": "misspellings of X-Forwarded-For and its like, which are read too",
    b"x-host": _HOST,
    b"x-backend-host": _HOST,
    b"x-gateway-host": _HOST,
    b"x-proxy-host": _HOST,
    b"proxy-host": _HOST,
    b"x-real-host": _HOST,
    b"x-host-override": _HOST,
    b"host-override": _HOST,
    b"x-requested-host": _HOST,
    b"x-httpd-host": _HOST,
    b"x-server-name": _HOST,
    b"x-http-host-override": _HOST,
    b"disguised-host": _HOST,
    b"was-default-hostname": _HOST,
    b"fastly-host": _HOST,
    # scheme
    b"front-end-https": _SCHEME,
    b"x-url-scheme": _SCHEME,
    b"x-scheme": _SCHEME,
    b"x-proto": _SCHEME,
    b"x-real-proto": _SCHEME,
    b"x-https": _SCHEME,
    b"x-arr-ssl": _SCHEME,
    b"x-appservice-proto": _SCHEME,
    b"cloudfront-forwarded-proto": _SCHEME,
    b"cf-visitor": _SCHEME,
    b"fastly-ssl": _SCHEME,
    b"ssl-offloaded": _SCHEME,
    b"wl-proxy-ssl": _SCHEME,
    # the client's address and place
    b"x-real-ip": _ADDRESS,
    b"x-real-port": _ADDRESS,
    b"x-client-ip": _ADDRESS,
    b"client-ip": _ADDRESS,
    b"x-cluster-client-ip": _ADDRESS,
    b"x-proxyuser-ip": _ADDRESS,
    b"x-remote-ip": _ADDRESS,
    b"x-remote-addr": _ADDRESS,
    b"x-forwarder-for": _ADDRESS,
    b"x-cdn-src-ip": _ADDRESS,
    b"cdn-real-ip": _ADDRESS,
    b"cdn-src-ip": _ADDRESS,
    b"fly-client-ip": _ADDRESS,
    b"do-connecting-ip": _ADDRESS,
    b"incap-client-ip": _ADDRESS,
    b"ali-cdn-real-ip": _ADDRESS,
    b"x-nf-client-connection-ip": _ADDRESS,
    b"x-shopify-client-ip": _ADDRESS,
    b"oxylabs-client-ip": _ADDRESS,
    b"remote-addr": _ADDRESS,
    b"x-originating-ip": _ADDRESS,
    b"x-source-ip": _ADDRESS,
    b"x-true-ip": _ADDRESS,
    b"x-custom-ip-authorization": _ADDRESS,
    b"proxy-client-ip": _ADDRESS,
    b"wl-proxy-client-ip": _ADDRESS,
    b"true-client-ip": _ADDRESS,
    b"cf-connecting-*": _ADDRESS,
    b"cf-pseudo-ipv4": _ADDRESS,
    b"cf-ipcountry": _ADDRESS,
    b"fastly-client-*": _ADDRESS,
    b"fastly-ff": "Fastly: says that the request comes from its own servers",
    b"cloudfront-viewer-*": _ADDRESS,
    b"x-azure-*": _ADDRESS,
    b"x-appengine-*": _ADDRESS,
    b"x-envoy-*": _ADDRESS,
    # the user, where a gateway signs in
    b"remote-user": _USER,
    b"x-remote-user*": _USER,
    b"x-webauth-user": _USER,
    b"x-authenticated-user*": _USER,
    b"x-proxy-user*": _USER,
    b"x-iap-*": _USER,
    b"x-auth-request-*": _USER,
    b"x-amzn-oidc-*": _USER,
    b"x-goog-authenticated-user-*": _USER,
    b"x-goog-iap-jwt-assertion": _USER,
    b"x-ms-client-principal*": _USER,
    b"x-consumer-*": _USER,
    b"x-credential-*": _USER,
    b"cf-access-*": _USER,
    b"client-cert*": "says which certificate the client showed (RFC 9440); only who ended its TLS may set it",
    b"x-client-cert*": _USER,
    b"x-ssl-*": _USER,
    b"ssl-*": _USER,
    b"x-tls-client-*": _USER,
    b"x-arr-clientcert": _USER,
    b"tailscale-user-*": _USER,
    b"x-authentik-*": _USER,
    b"x-vouch-*": _USER,
    b"x-userinfo": _USER,
    b"oidc-claim-*": _USER,
    b"x-token-*": _USER,
}
"""Lower-case name, or its beginning with ``*``, and what it does."""

_EXACT = frozenset(name for name in TABLE if not name.endswith(b"*"))
_BEGINNINGS = tuple(name[:-1] for name in TABLE if name.endswith(b"*"))


def steers(name: bytes) -> bool:
    """Whether the table holds the lower-case ``name``."""
    return name in _EXACT or name.startswith(_BEGINNINGS)


_ABOUT_CLIENT = frozenset(name for name in _EXACT if TABLE[name] == _ADDRESS)
_BEGIN_ABOUT_CLIENT = tuple(name for name in _BEGINNINGS if TABLE[name + b"*"] == _ADDRESS)


def tells_apart(name: bytes) -> bool:
    """Whether a trusted proxy that sends the lower-case ``name`` asks for something else than without it.

    Not where it merely says who the client is: that differs in every request.
    """
    if name in _EXACT:
        return name not in _ABOUT_CLIENT
    return name.startswith(_BEGINNINGS) and not name.startswith(_BEGIN_ABOUT_CLIENT)


@attrs.frozen(slots=True)
class Steering:
    """``more``: globs on lower-case names that belong to the table too. ``underscores``: names with ``_`` pass."""

    more: tuple[bytes, ...] = ()
    underscores: bool = False
    _more: tuple[Matcher, ...] = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: tuple(map(compile_glob, self.more)), takes_self=True),
    )

    def unseen(self, name: bytes, trusted: bool = False) -> bool:
        """Whether the backend must not see a field with the lower-case ``name``; a ``trusted`` peer is believed."""
        if b"_" in name:
            plain = name.replace(b"_", b"-")
            return not self.underscores or self._listed(plain)  # no proxy writes them so
        return not trusted and self._listed(name)

    def told(self, fields: Fields) -> bytes:
        """What ``fields`` of a trusted peer say in those of ``more``: empty for most; it tells resources apart."""
        if not self._more:
            return b""
        index = fields.index
        return b";".join(sorted(b"%b=%b" % (name, b",".join(index[name])) for name in index if self._added(name)))

    def _added(self, name: bytes) -> bool:
        return any(matches(name) for matches in self._more) and not steers(name)

    def _listed(self, name: bytes) -> bool:
        return steers(name) or any(matches(name) for matches in self._more)


DEFAULT = Steering()

REMEMBERED = 1000
LONGEST = 64
"""How many names are remembered that pass, and how long in bytes."""


def believed_under(steering: Steering, trusted: bool) -> Callable[[Fields], Fields]:
    """The function that takes from a request's fields what the backend must not see.

    It gives the same object where nothing goes. Keep it: it is for :meth:`Fields.derived`.
    """
    seen = PassingLines(lambda name: not steering.unseen(name, trusted))
    passing: set[bytes] = set()  # names that are known to pass: most requests hold no others

    def believed(fields: Fields) -> Fields:
        lines = fields.lines
        if lines is not None:
            kept = [line for line in lines if seen[line]]
            if len(kept) == len(lines):
                return fields
            return Fields.received(kept, None if fields.telling is None else fields.telling.less(believed))
        names = fields.index
        if passing.issuperset(names):
            return fields
        unknown = [name for name in names if name not in passing]
        gone = {name for name in unknown if steering.unseen(name, trusted)}
        if len(unknown) > len(gone):
            if len(passing) > REMEMBERED:
                passing.clear()
            passing.update(name for name in unknown if name not in gone and len(name) <= LONGEST)
        return fields.without(gone) if gone else fields

    return believed


class Door:
    """What is left of a request's fields once it is known who sent it."""

    def __init__(self, steering: Steering) -> None:
        self._believed = {trusted: believed_under(steering, trusted) for trusted in (False, True)}

    def admitted(self, head: RequestHead, trusted: bool) -> RequestHead:
        """``head`` without the fields that its backend must not see; the same object where all may pass."""
        fields = head.fields.derived(self._believed[trusted])
        return head if fields is head.fields else RequestHead(head.method, head.target, fields, head.minor)
