"""The description of the admin endpoints: valid, complete, and true of what the endpoints accept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openapi_spec_validator import validate
from support.admin_site import Cache
from twisted.internet.task import Clock

from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.web.admin import insight
from caching_proxy.web.admin.endpoints import AdminServices, ReadyReport, admin_children
from caching_proxy.web.admin.insight import DOCUMENT as PACKAGED
from caching_proxy.web.dashboard.resources import FileResource

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())


def endpoints():
    def unused(*_):
        raise AssertionError("nothing is asked here")

    return admin_children(AdminServices(b"t", False, unused, Metrics(), *[unused] * 5, Clock(), Cache().insight))


@pytest.mark.slow
def test_the_document_is_valid():
    validate(DOCUMENT)


def test_it_describes_every_endpoint_and_method():
    described = {
        path.encode(): {method.upper().encode() for method in item} for path, item in DOCUMENT["paths"].items()
    }
    offered = {
        b"/" + name: set(endpoint.methods) - {b"HEAD"}
        for name, endpoint in endpoints().items()
        if not isinstance(endpoint, FileResource) or name == b"_cache/"
    }
    assert described == offered


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_guarded_endpoints_say_so(path):
    (operation,) = DOCUMENT["paths"][path].values()
    guarded = endpoints()[path[1:].encode()].guarded
    assert operation.get("security", DOCUMENT["security"]) == ([{"adminToken": []}] if guarded else [])
    assert ({"401", "403", "429"} <= set(operation["responses"])) is guarded


def test_the_package_carries_the_document_and_the_repository_shows_it():
    shown = Path(__file__).parents[2] / "openapi.json"
    assert shown.read_bytes() == PACKAGED
    assert shown.resolve() == Path(insight.__file__).with_name("openapi.json"), "there is to be one text"


def test_the_document_knows_every_status():
    verdict = DOCUMENT["components"]["schemas"]["Why"]["properties"]["verdict"]
    assert verdict["enum"] == [status.text for status in CacheStatus]


def test_readiness_has_the_words_of_the_document():
    words = DOCUMENT["components"]["schemas"]["Ready"]["properties"]["status"]["enum"]
    reports = (ReadyReport(), ReadyReport(store="x"), ReadyReport(backend="x"), ReadyReport(draining=True))
    assert [report.status for report in reports] == words
