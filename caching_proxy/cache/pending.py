"""Invalidations that the store has not carried out, bounded in bytes.

What is named (a key, or a target for every role) is found by its name; patterns are few. Past a bound nothing is
forgotten and nothing far away is dropped: what is named becomes a pattern of its directory, and patterns are widened
a step at a time until they are few enough to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.glob import escape
from caching_proxy.rules.invalidation_rules import directory, spellings, widened
from caching_proxy.rules.key import GET_PREFIX, target_in
from caching_proxy.rules.pattern_set import PatternSet

NEVER = float("-inf")

PENDING_OVERHEAD = 400
"""Bytes that one waiting invalidation costs beside its name."""

MAX_NAMED_BYTES = 4 * 1024 * 1024
MAX_PATTERN_BYTES = 256 * 1024
MAX_DIRECTORIES = 200

MOST_NAMED = 100_000
"""Names of removed keys that one invalidation keeps; a million would take more memory than all else."""

TARGET, KEY, TAG = b"target ", b"key ", b"tag "
SOFT = b"soft "
"""Stands before the name of one that makes stale instead of deleting."""

OnDone = Callable[[set[bytes] | Failure], object]
"""Hears once which keys were removed, or that the store could not carry it out yet."""


@attrs.define(slots=True, eq=False)
class Swept:
    """What sweeps of the memory tiers removed; ``left`` of them are under way, then ``then`` is called."""

    left: int
    gone: set[bytes] = attrs.field(factory=set)
    then: list[Callable[[], object]] = attrs.field(factory=list)

    def over(self, gone: set[bytes]) -> None:
        """One sweep is over."""
        self.gone = either(self.gone, gone)
        self.left -= 1
        if not self.left:
            waiting, self.then = self.then, []
            for then in waiting:
                then()


def either(one: set[bytes], other: set[bytes]) -> set[bytes]:
    """The keys in one of two sets that belong to one invalidation: the larger, with the others put in. A hundred
    thousand take long to copy."""
    if len(one) < len(other):
        one, other = other, one
    one |= other
    return one


class Removed(set[bytes]):
    """Keys that were removed: by name as long as they are few, so that none counts twice, beyond that by number alone.

    What memory removed has to be put in first, as it may be in the store too; the store removes each but once.
    """

    __slots__ = ("more",)

    def __init__(self) -> None:
        super().__init__()
        self.more = 0

    def note(self, keys: set[bytes]) -> None:
        """The store removed these."""
        if super().__len__() < MOST_NAMED:
            self |= keys
        else:
            self.more += len(keys - self)

    def __len__(self) -> int:
        return super().__len__() + self.more


class Together:
    """Several invalidations that are one to whoever asked: ``answer`` fires with the keys of all, or fails with the
    first failure."""

    def __init__(self, left: int) -> None:
        self.answer: Deferred[set[bytes]] = Deferred()
        self._left = left
        self._keys: set[bytes] = set()

    def heard(self, outcome: set[bytes] | Failure) -> None:
        """One of them is over."""
        self._left -= 1
        if self.answer.called:
            return
        if isinstance(outcome, Failure):
            self.answer.errback(outcome)
            return
        if not self._left and not self._keys:
            self.answer.callback(outcome)  # most are one alone; who else waits for it is told of the very same set
            return
        self._keys |= outcome
        if not self._left:
            self.answer.callback(self._keys)


@attrs.define(slots=True, eq=False)
class Pending:
    """An invalidation that the store has not carried out; ``at`` is POSIX seconds.

    ``subject`` is the target, the key or the tag, as ``kind`` says, or patterns; ``removed`` the keys that left any
    tier so far, ``sweeps`` what is still under way in the memory tiers. ``soft``: the store does not delete, it notes
    that what it has is stale; memory forgets it all the same, and finds it there. ``kept``: the journal has it.
    """

    name: bytes
    subject: bytes | PatternSet
    at: float
    removed: set[bytes]
    counted: bool = True
    soft: bool = False
    waiters: list[OnDone] = attrs.field(factory=list)
    sweeps: list[Swept] = attrs.field(factory=list)
    work: Deferred[set[bytes]] | None = None
    kept: bool = False
    kind: bytes = b""

    def absorb(self, other: Pending) -> None:
        """This one stands for ``other`` too."""
        self.at = max(self.at, other.at)
        self.removed |= other.removed
        if isinstance(self.removed, Removed) and isinstance(other.removed, Removed):
            self.removed.more += other.removed.more
        self.counted |= other.counted
        self.waiters += other.waiters
        self.sweeps += other.sweeps
        self.gather()

    def gather(self) -> Swept | None:
        """Take over what ended sweeps removed; one that is still under way, if there is any."""
        under_way: list[Swept] = []
        for swept in self.sweeps:
            if swept.left:
                under_way.append(swept)
            elif isinstance(self.subject, PatternSet):
                self.removed.update(self.subject.select(list(swept.gone)))
            else:
                self.removed = either(self.removed, swept.gone)
        self.sweeps = under_way
        return under_way[0] if under_way else None

    def note(self, gone: set[bytes]) -> None:
        """The store removed these keys."""
        self.gather()
        if isinstance(self.removed, Removed):
            self.removed.note(gone)
        else:
            self.removed |= gone

    def tell(self, outcome: set[bytes] | Failure) -> None:
        """Tell everybody who waits."""
        waiters, self.waiters = self.waiters, []
        for on_done in waiters:
            on_done(outcome)

    def take_waiters(self) -> list[OnDone]:
        """Those who wait, to be told by whoever takes them."""
        waiters, self.waiters = self.waiters, []
        return waiters


def of_target(target: bytes, at: float, removed: set[bytes], soft: bool = False) -> Pending:
    name = SOFT + TARGET + target if soft else TARGET + target
    return Pending(name, target, at, removed, soft=soft, kind=TARGET)


def of_key(key: bytes, at: float, removed: set[bytes], counted: bool, soft: bool = False) -> Pending:
    return Pending(_named(KEY + key, soft), key, at, removed, counted, soft, kind=KEY)


def of_tag(tag: bytes, at: float, soft: bool) -> Pending:
    return Pending(_named(TAG + tag, soft), tag, at, set(), soft=soft, kind=TAG)


def of_patterns(patterns: PatternSet, at: float, soft: bool = False) -> Pending:
    return Pending(_named(b"\n".join(patterns.patterns), soft), patterns, at, Removed(), soft=soft)


def _named(name: bytes, soft: bool) -> bytes:
    return SOFT + name if soft else name


def pending_of(invalidation: Invalidation, at: float) -> Iterator[Pending]:
    """What the journal had of it: nobody waits for it, and what was soft is for good."""
    for target in invalidation.targets:
        yield of_target(target, at, set())
    for key in invalidation.keys:
        yield of_key(key, at, set(), True)
    for tag in invalidation.tags:
        yield of_tag(tag, at, False)
    if invalidation.patterns:
        yield of_patterns(PatternSet(*invalidation.patterns), at)


def invalidation_of(together: Iterable[Pending]) -> Invalidation:
    """What other proxies are told of these."""
    targets: list[bytes] = []
    keys: list[bytes] = []
    tags: list[bytes] = []
    soft = True
    patterns: dict[bytes, None] = {}
    for pending in together:
        soft = soft and pending.soft
        if isinstance(pending.subject, PatternSet):
            patterns.update(dict.fromkeys(pending.subject.patterns))
        else:
            (targets if pending.kind is TARGET else tags if pending.kind is TAG else keys).append(pending.subject)
    return Invalidation(tuple(targets), tuple(keys), tuple(patterns), tuple(tags), soft)


class Queue(dict[bytes, Pending]):
    """Pending invalidations by name, in order, and their ``size`` in bytes. Every lookup asks whether there are any."""

    size = 0

    def add(self, pending: Pending) -> Pending:
        """Put it at the end, or into the one of its name that waits already; the one that waits."""
        held = self.get(pending.name)
        if held is not None:
            held.absorb(pending)
            return held
        self[pending.name] = pending
        self.size += len(pending.name) + PENDING_OVERHEAD
        return pending

    def take(self, name: bytes) -> Pending:
        """Remove one that is there."""
        pending = self.pop(name)
        self.size -= len(name) + PENDING_OVERHEAD
        return pending

    def take_all(self) -> list[Pending]:
        """Remove all."""
        taken = list(self.values())
        self.clear()
        self.size = 0
        return taken


class Waiting:
    """All that waits: ``named`` (keys and targets) and ``patterns``."""

    _log = Logger()

    def __init__(self) -> None:
        self.named = Queue()
        self.patterns = Queue()

    def add(self, pending: Pending) -> None:
        """One more; makes room if that is too many."""
        if isinstance(pending.subject, PatternSet):
            self.patterns.add(pending)
        else:
            self.named.add(pending)
            if self.named.size > MAX_NAMED_BYTES:
                self._generalise()
        if self.patterns.size > MAX_PATTERN_BYTES:
            self._widen()

    def _generalise(self) -> None:
        """What is named becomes what is in its directory."""
        named = self.named.take_all()
        for path, members in _by_directory(named).items():
            general = of_patterns(PatternSet(*spellings(GET_PREFIX + escape(path) + b"*")), NEVER)
            for pending in members:
                general.absorb(pending)
            self.patterns.add(general)
        self._log.warn("{n} invalidations wait for the store; merged into their directories", n=len(named))

    def _widen(self) -> None:
        """The deepest first: what is wide already stays as it is as long as that is enough."""
        while self.patterns.size > MAX_PATTERN_BYTES // 2:
            waiting = self.patterns.take_all()
            deepest = max(map(_depth, waiting))
            for pending in waiting:
                self.patterns.add(_wide(pending) if _depth(pending) == deepest else pending)
        self._log.warn("patterns that wait for the store were widened; {n} are left", n=len(self.patterns))

    def everything(self) -> Iterator[Pending]:
        yield from self.named.values()
        yield from self.patterns.values()

    def __len__(self) -> int:
        return len(self.named) + len(self.patterns)


def _depth(pending: Pending) -> int:
    return max(pattern.count(b"/") for pattern in pending.name.split(b"\n"))


def _by_directory(named: list[Pending]) -> dict[bytes, list[Pending]]:
    """Keys and targets by the directory that they are in, or by one further up where there are many."""
    groups: dict[bytes, list[Pending]] = {}
    for pending in named:
        assert isinstance(pending.subject, bytes)
        if pending.kind is TAG:  # anywhere
            target = b""
        else:
            target = pending.subject if pending.kind is TARGET else target_in(pending.subject)
        groups.setdefault(directory(target), []).append(pending)
    while len(groups) > MAX_DIRECTORIES:
        deepest = max(path.count(b"/") for path in groups)
        higher: dict[bytes, list[Pending]] = {}
        for path, members in groups.items():
            up = directory(path[:-1]) if path.count(b"/") == deepest else path
            higher.setdefault(up, []).extend(members)
        groups = higher
    return groups


def _wide(pending: Pending) -> Pending:
    assert isinstance(pending.subject, PatternSet)
    wide = of_patterns(PatternSet(*dict.fromkeys(map(widened, pending.subject.patterns))), pending.at, pending.soft)
    wide.counted = pending.counted
    wide.absorb(pending)
    return wide


def hidden_since(key: bytes, named: Queue, patterns: Iterable[Pending], after: float = NEVER) -> float:
    """The latest moment, later than ``after``, at which one of these covered ``key``; ``after`` if none did."""
    moment = after
    if named:
        target, key_name = TARGET + target_in(key), KEY + key
        for name in (target, key_name, SOFT + target, SOFT + key_name):
            held = named.get(name)
            if held is not None and held.at > moment:
                moment = held.at
    for pending in patterns:
        if pending.at > moment and pending.subject(key):  # type: ignore[operator]
            moment = pending.at
    return moment


def tagged_since(tags: Iterable[bytes], named: Queue, after: float = NEVER) -> float:
    """:func:`hidden_since` of something that carries ``tags``, as far as tags go."""
    moment = after
    for tag in tags:
        for name in (TAG + tag, SOFT + TAG + tag):
            held = named.get(name)
            if held is not None and held.at > moment:
                moment = held.at
    return moment
