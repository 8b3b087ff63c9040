"""Tokens (RFC 9110 §5.6.2): what names of fields, methods and options consist of."""

from __future__ import annotations

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""One character of a token, as a regular expression."""

TOKEN = TCHAR + b"+"
"""A token, as a regular expression."""

_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def is_token(value: bytes) -> bool:
    """Whether ``value`` is a token."""
    return bool(value) and not value.translate(None, _CHARACTERS)


def is_token_text(value: str) -> bool:
    """Whether ``value``, from a file of the operator's, is a token."""
    return value.isascii() and is_token(value.encode())
