"""How a fleet of proxies on one Redis grows, on paper: ``python -m bench.scaling`` prints the table of docs/scaling.md.

From unit costs that were measured (:data:`MEASURED`) and the shape of the traffic (Zipf) follow how often Redis is
asked, how busy that keeps it, what it holds, and how much the fan-out of invalidations costs. :func:`simulate` plays
the same fleet request by request, small enough to do so, and a test holds both against each other.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from math import exp, log, pow

import attrs

ZIPF = 0.9
HOT_ENTRIES = 5000
HOT_SECONDS = 30.0
BUSY = 0.7
"""The share of its one core up to which Redis answers without a queue worth mentioning."""


@attrs.frozen
class Costs:
    """Microseconds of Redis's core, and bytes. ``deliver``: for each subscriber that a message goes to."""

    lookup: float
    put: float
    mark: float
    deliver: float
    key: float


MEASURED = Costs(lookup=5.3, put=57.0, mark=26.0, deliver=0.085, key=630.0)
"""Redis 7.0 on one of two busy cores: ``INFO commandstats`` under the load of the fault tests (``HMGET``, ``PTTL`` and,
for roles, ``ZSCORE``; the script that writes), the script that enters an invalidation (800 calls),
``PUBLISH`` to 0, 1, 10 and 100 subscribers, ``used_memory`` of 2,595
keys less their bodies. To 1,000 subscribers a message took 0.34 µs each."""


@attrs.frozen
class Fleet:
    """``rate`` is requests a second in all, ``lifetime`` that of an answer in seconds, ``body`` its size in bytes."""

    proxies: int
    keys: int
    rate: float
    lifetime: float = 600.0
    body: float = 4096.0
    invalidations: float = 1.0


@attrs.frozen
class Load:
    """What a fleet asks of its Redis, a second; ``busy`` of one core, ``held`` in bytes."""

    lookups: float
    puts: float
    busy: float
    fan_out: float
    held: float
    hot_ratio: float


def load(fleet: Fleet, costs: Costs = MEASURED) -> Load:
    """The load of ``fleet``, whose requests are spread evenly over its proxies."""
    ratio = hot_ratio(fleet.keys, fleet.rate / fleet.proxies)
    lookups = fleet.rate * (1 - ratio)
    puts = sum(
        count * (rate * fleet.lifetime / (1 + rate * fleet.lifetime)) / fleet.lifetime
        for count, rate in _rates(fleet.keys, fleet.rate)
    )
    fan_out = fleet.invalidations * 2 * fleet.proxies
    spent = lookups * costs.lookup + puts * costs.put + fleet.invalidations * 2 * costs.mark + fan_out * costs.deliver
    stored = sum(
        count * (rate * fleet.lifetime / (1 + rate * fleet.lifetime)) for count, rate in _rates(fleet.keys, fleet.rate)
    )
    return Load(lookups, puts, spent / 1e6, fan_out, stored * (costs.key + fleet.body), ratio)


def hot_ratio(keys: int, rate: float, entries: int = HOT_ENTRIES, seconds: float = HOT_SECONDS) -> float:
    """Which part of a proxy's ``rate`` its hot tier answers: it holds ``entries`` for ``seconds`` at most each.

    An entry lives until as many others have been asked for as there is room (Che's approximation), or for its time,
    which reads do not extend.
    """
    rates = list(_rates(keys, rate))
    held = sum(count * each * seconds / (1 + each * seconds) for count, each in rates)
    if held <= entries:
        return sum(count * each * (each * seconds / (1 + each * seconds)) for count, each in rates) / rate
    low, high = 0.0, seconds
    for _ in range(60):
        middle = (low + high) / 2
        if sum(count * (1 - exp(-each * middle)) for count, each in rates) < entries:
            low = middle
        else:
            high = middle
    return (
        sum(count * each * min(1 - exp(-each * low), each * seconds / (1 + each * seconds)) for count, each in rates)
        / rate
    )


def _rates(keys: int, rate: float) -> Iterator[tuple[float, float]]:
    """How many keys are asked for how often, a second: Zipf, in steps that grow with the rank."""
    total = _harmonic(keys)
    first = 1
    while first <= keys:
        last = min(keys, first if first < 100 else int(first * 1.05))
        weight = _harmonic(last) - (_harmonic(first - 1) if first > 1 else 0.0)
        count = last - first + 1
        yield count, rate * weight / total / count
        first = last + 1


def _harmonic(n: int) -> float:
    """The sum of ``k ** -ZIPF`` for k up to ``n`` (Euler–Maclaurin)."""
    if n < 100:
        return sum(pow(k, -ZIPF) for k in range(1, n + 1))
    return _HUNDRED + (pow(n, 1 - ZIPF) - pow(100, 1 - ZIPF)) / (1 - ZIPF) + (pow(n, -ZIPF) - pow(100, -ZIPF)) / 2


_HUNDRED = sum(pow(k, -ZIPF) for k in range(1, 101))


def simulate(proxies: int, keys: int, rate: float, seconds: float, entries: int, seed: int = 1) -> float:
    """The part of requests that hot tiers answer, request by request."""
    chance = random.Random(seed)
    weights = list(accumulate(k**-ZIPF for k in range(1, keys + 1)))
    tiers: list[OrderedDict[int, float]] = [OrderedDict() for _ in range(proxies)]
    now, hits, asked = 0.0, 0, 0
    while now < 2 * seconds:
        now += -log(1 - chance.random()) / rate
        tier, key = chance.choice(tiers), bisect(weights, chance.random() * weights[-1])
        counts = now > seconds  # until then it fills
        asked += counts
        ends = tier.get(key)
        if ends is not None and ends > now:
            tier.move_to_end(key)
            hits += counts
            continue
        tier[key] = now + HOT_SECONDS
        tier.move_to_end(key)
        while len(tier) > entries:
            tier.popitem(last=False)
    return hits / asked


def first_limit(fleet: Fleet, found: Load) -> str:
    """What becomes the limit, and what to do there."""
    if found.held > 64 << 30:
        return "Redis memory: Cluster"
    if found.busy > BUSY:
        return (
            "Redis core: Cluster" if found.lookups * MEASURED.lookup > found.puts * MEASURED.put else "writes: Cluster"
        )
    if fleet.rate / fleet.proxies > 30_000:
        return "proxies: more of them"
    if found.fan_out * MEASURED.deliver / 1e6 > 0.1:
        return "fan-out: a bus for each region"
    return "none"


ROWS = (
    *(Fleet(n, 10**6, 10_000 * n) for n in (1, 10, 100, 1000)),
    *(Fleet(10, keys, 100_000) for keys in (10**4, 10**5, 10**7, 10**9)),
    *(Fleet(max(1, rate // 20_000), 10**6, rate) for rate in (10**3, 10**4, 10**6, 10**7)),
)


def table() -> str:
    """Markdown."""
    lines = [
        "| proxies | keys | requests/s | from hot tiers | Redis lookups/s | writes/s | of a Redis core | Redis memory "
        "| messages/s | first limit |",
        "| --- " * 10 + "|",
    ]
    for fleet in ROWS:
        found = load(fleet)
        lines.append(
            f"| {fleet.proxies:,} | {fleet.keys:,} | {fleet.rate:,.0f} | {found.hot_ratio:.0%} | {found.lookups:,.0f} "
            f"| {found.puts:,.0f} | {found.busy:.2f} | {found.held / (1 << 30):,.1f} GiB | {found.fan_out:,.0f} "
            f"| {first_limit(fleet, found)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
