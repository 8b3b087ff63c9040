"""Sharing out descriptors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.rules.descriptor_shares import OWN, Shares, share_out


@pytest.mark.parametrize(
    ("limit", "shares"),
    [
        (None, Shares(20_000, 100)),
        (1 << 20, Shares(20_000, 100)),
        (20_000 + 100 + 14 + OWN, Shares(20_000, 100)),
        (20_000 + 100 + 14 + OWN - 1, Shares(19_999, 100)),
        (1024, Shares(1024 - OWN - 114, 100)),
        (256, Shares(112, 98)),
        (64, Shares(16, 8)),
        (16, Shares(2, 1)),
    ],
)
def test_shares_of_the_defaults(limit, shares):
    assert share_out(limit, 20_000, 100, 14) == shares


@given(st.integers(OWN + 8, 5000), st.integers(1, 5000), st.integers(1, 500), st.integers(0, 200))
def test_clients_leave_room_for_the_backend(limit, clients, backend, others):
    shares = share_out(limit, clients, backend, others)
    assert 1 <= shares.clients <= clients
    assert 1 <= shares.backend <= backend
    assert shares.clients + shares.backend + OWN <= limit
