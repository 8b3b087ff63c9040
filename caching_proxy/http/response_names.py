"""Which field lines of a response decide, by their name, whether it is stored and who may have it.

Responses that say the same in these share what is made of it (:meth:`Fields.told`). A rule that looks at other names as
well finds them in the fields themselves, for a little more.
"""

from __future__ import annotations

OWN_OF_RESPONSE = frozenset((b"age", b"cache-status", b"cache-tag", b"set-cookie", b"set-cookie2", b"surrogate-key"))
"""Those of a response whose values tend to differ, and of which most have none."""

PROXY_AUTHENTICATION = frozenset((b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization"))
"""Meant for one connection only (RFC 9111 §3.1)."""

READ_OF_RESPONSE = (
    OWN_OF_RESPONSE | PROXY_AUTHENTICATION | {b"cache-control", b"cdn-cache-control", b"content-type", b"vary"}
)
"""What decides whether a response is stored and who may have it, beside what says when it was made or changed."""
