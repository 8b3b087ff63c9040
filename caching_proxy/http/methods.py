"""What is known about request methods, from the IANA registry of HTTP methods (RFC 9110 §16.1).

A method that is not registered counts as unsafe and not idempotent (RFC 9110 §9.2).
"""

from __future__ import annotations

SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PRI", b"PROPFIND", b"QUERY", b"REPORT", b"SEARCH", b"TRACE"))
"""They change nothing on the backend, so they invalidate nothing (RFC 9110 §9.2.1, RFC 9111 §4.4)."""

RETRIED = SAFE | {b"PUT", b"DELETE"}
"""Sent a second time when a reused connection died before the answer: twice does no more than once (RFC 9110 §9.2.2).

Other idempotent methods are left out: the answer to a second MOVE or LOCK is not that to the first."""
