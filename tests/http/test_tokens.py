"""The test for tokens and the expressions for them say the same."""

from __future__ import annotations

import re

import pytest

from caching_proxy.http.tokens import TCHAR, TOKEN, is_token, is_token_text


@pytest.mark.parametrize("byte", range(256))
def test_one_character(byte):
    value = bytes((byte,))
    expected = byte < 128 and (value.isalnum() or value in b"!#$%&'*+-.^_`|~")
    assert is_token(value) is expected
    assert (re.fullmatch(TCHAR, value) is not None) is expected
    assert is_token_text(value.decode("latin-1")) is expected


@pytest.mark.parametrize(("value", "expected"), [(b"", False), (b"a b", False), (b"a-B.c", True), (b"a\n", False)])
def test_more_or_fewer(value, expected):
    assert is_token(value) is expected
    assert (re.fullmatch(TOKEN, value) is not None) is expected
