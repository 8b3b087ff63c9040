"""Every answer of an admin endpoint is one that openapi.json describes."""

from __future__ import annotations

import pytest
from support.admin_site import Request, check_described


@pytest.fixture(autouse=True)
def _only_described_answers():
    Request.answered.clear()
    yield
    for request in Request.answered:
        check_described(request)
