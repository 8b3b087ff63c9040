"""The figures of several workers as one, and how they are shown."""

from __future__ import annotations

import json

import attrs

from caching_proxy.app.figures import Figures, shown, together
from caching_proxy.telemetry.metrics.series import FINE_BUCKETS

LATENCY = (4, *[0] * len(FINE_BUCKETS))
TIER = {"entries": 1, "bytes": 100, "hits": 3, "misses": 1, "evictions": 0, "maxEntries": 10, "maxBytes": 1000}


def figures(**changes: object) -> Figures:
    values = {
        "time": 5.0,
        "version": "1",
        "uptime": 60.0,
        "seconds": 10.0,
        "by_status": {"HOT_HIT": 3, "MISS": 1},
        "window": {"HOT_HIT": 2},
        "latency": LATENCY,
        "cached_seconds": 0.5,
        "paths": {"/x": (4, 3)},
        "roles": {"admin": (4, 3)},
        "hot": TIER,
        "burst": TIER,
        "store": {"hits": 0, "misses": 0, "failedWrites": 0},
        "kind": "redis",
        "breaker": "closed",
        "trips": 1,
        "pool": {"size": 2, "inUse": 1, "waiting": 0},
        "backend": (2, 4.0),
        "resident": 1000,
        "collapsed": 1,
    }
    return Figures(**{**values, **changes})


def test_what_is_shown_of_one() -> None:
    seen = shown(figures())
    assert seen["savedBackendSeconds"]["total"] == 3 * 2.0 - 0.5
    assert (seen["requests"]["hitRatio"], seen["requests"]["windowHitRatio"]) == (0.75, 1.0)
    assert (seen["requests"]["perSecond"], seen["tiers"]["hot"]["hitRatio"], seen["workers"]) == (0.2, 0.75, 1)
    assert seen["latencySeconds"]["p50"] == 0.000005
    assert shown(figures(backend=(0, 0.0)))["savedBackendSeconds"]["total"] is None


def test_several_are_summed() -> None:
    more = {"MISS": 2, "BYPASS": 1}
    other = figures(
        by_status=more, paths={"/x": (1, 1), "/y": (9, 0)}, breaker="open", uptime=90.0, pool=None, version="2"
    )
    seen = shown(together([figures(), other]))
    assert seen["requests"]["byStatus"] == {"HOT_HIT": 3, "MISS": 3, "BYPASS": 1}
    assert [(each["path"], each["requests"]) for each in seen["topPaths"]] == [("/y", 9), ("/x", 5)]
    assert (seen["store"]["breaker"], seen["store"]["pool"]["size"], seen["store"]["breakerTrips"]) == ("open", 2, 2)
    assert (seen["workers"], seen["uptimeSeconds"], seen["version"]) == (2, 90.0, "1")
    assert (seen["tiers"]["hot"]["maxBytes"], seen["memory"]["residentBytes"]) == (2000, 2000)


def test_they_pass_through_json() -> None:
    told = Figures(**json.loads(json.dumps(attrs.asdict(figures()))))
    assert shown(together([told])) == shown(figures())
