"""A whole game: what clients, operators and accidents do, one event after the other, and what must hold."""

from __future__ import annotations

from collections.abc import Iterable

from simulation.backend import TAG, Exchange
from simulation.clients import Request
from simulation.faults import Faults
from simulation.insides import under_way
from simulation.model import PLACES, Place
from simulation.network import Link
from simulation.process import COMMAND_SECONDS, Disk, Process
from simulation.profiles import PROFILES
from simulation.redis_server import Server
from simulation.world import World, Wrong
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.cache.pipeline import FLIGHTS
from caching_proxy.interfaces import Postponed
from caching_proxy.rules.codec import decode
from caching_proxy.store.breaker import Phase

REST_SECONDS = 60.0
"""After which nothing may be under way any more, once nothing goes wrong and nobody asks."""


WRITTEN_SECONDS = 2.0
"""After which what was fetched is in the store, and what was read before is gone, where no message is stuck."""

ROUNDS = 6
"""Within so many times of asking for everything, all must come from the cache: in the first it is fetched, in one of
the next the memory may end that holds what could not be written to the store."""


class Slot:
    """The place of one proxy: its link, its disk, the process that runs there now, and what it has promised."""

    def __init__(self, game: Game, name: bytes) -> None:
        self.game = game
        self.world = game.world
        self.name = name
        self.link = Link(game.world, game.server, name.decode())
        self.disk = Disk(game.world)
        self.lives = 0
        self.requests: list[Request] = []
        self.own = dict.fromkeys(PLACES, 0)  # the oldest versions that this process may answer
        self.lasting = dict.fromkeys(PLACES, 0)  # and its successors
        self.passed: list[tuple[Place, int]] = []  # changes that came through here, and may not have reached the store
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.lives += 1
        self.process = Process(self.world, self.link, self.disk, b"%b%d" % (self.name, self.lives), self._fetches)

    def lose(self) -> None:
        """Whoever waits for the process waits no more, and what it had only promised is forgotten."""
        for request in self.requests:
            request.lost()
        self.requests.clear()
        self.passed.clear()
        self.own = dict(self.lasting)

    @property
    def alone(self) -> bool:
        """Whether nobody else writes to the store: no other proxy, and no predecessor that has not stopped yet."""
        return self.game.alone and not self.game.faults.stopping

    # -- what it may answer --------------------------------------------------------------------------

    def least(self, place: Place) -> int:
        """The oldest version that may be answered to a request from now on."""
        model, odds = self.world.model, self.world.odds
        self._settle_passed()
        patience = max(odds.hot_seconds, odds.burst_seconds) + self.game.longest
        heard = model.heard(place, self.process.bus.seen)
        return max(self.own[place], heard, model.before(place, self.world.now - patience))

    def _settle_passed(self) -> None:
        """Nobody is told when what a client has changed is invalidated in the store; nothing left to do tells."""
        if self.passed and not self.process.cache.invalidator.pending:
            for place, version in self.passed:
                self._promise(frozenset([place]), version)
            self.passed.clear()

    def changed_through(self, request: Request, version: int) -> None:
        """A client has made this ``version`` of the target, and has the answer."""
        target = request.place[0]
        for place in PLACES:
            if place[0] == target:
                self.passed.append((place, version))
                if self.alone:
                    self.own[place] = max(self.own[place], version)

    def refreshed(self, request: Request, version: int) -> None:
        """A client asked for what is new, and got ``version``: once it is written, it is what the cache has, if no
        fetch is under way that began before, and nobody else writes."""
        place = request.place
        fetches = request.process.backend.exchanges
        if self.alone and place[0] != b"/varied" and all(each.over or each.key != place for each in fetches):
            self.world.clock.callLater(WRITTEN_SECONDS, self._own, frozenset([place]), version)

    def invalidate(self, target: bytes, how: str) -> None:
        """The operator invalidates what has changed; softly, it stays in the store and has to be asked about."""
        soft, how = how.startswith("soft "), how.removeprefix("soft ")
        places = frozenset(place for place in PLACES if place[0] == target and (how != "key" or place[1] == b"editor"))
        version, process = self.world.model.versions[target], self.process
        self.world.note(f"{process.origin.decode()} is to invalidate {target.decode()} by {how}")
        process.loosen(None)
        if self.alone:
            self._own(places, version)

        def done(outcome: object) -> None:
            self._done(outcome, process, places, version, soft)

        invalidator = process.cache.invalidator
        if how == "target":
            invalidator.invalidate_target(target, done, soft)
        elif how == "tag":
            invalidator.invalidate_tags([TAG], soft).addBoth(done)
        else:
            pattern = b"cache:GET:editor:" + target if how == "key" else b"cache:*:" + target[:-1] + b"?"
            invalidator.invalidate(pattern, soft=soft).addBoth(done)

    def _done(self, outcome: object, process: Process, places: frozenset[Place], version: int, soft: bool) -> None:
        if process is not self.process:
            return
        if not isinstance(outcome, Failure):
            self.world.note(f"{process.origin.decode()} has invalidated {version} of {sorted(places)}")
            self._promise(places, version, soft)
        elif not outcome.check(Postponed):
            self.world.fail(f"an invalidation failed with {outcome.value!r}")
        elif isinstance(outcome.value, Postponed) and outcome.value.kept and self.game.alone:
            self.world.note(f"{process.origin.decode()} has {version} of {sorted(places)} in its journal")
            for place in places:
                self.lasting[place] = max(self.lasting[place], version)

    def _promise(self, places: frozenset[Place], version: int, soft: bool = False) -> None:
        self._own(places, version)
        self.world.model.promised(places, version, soft)
        for place in places:
            self.lasting[place] = max(self.lasting[place], version)
            if self.world.odds.ledger:
                self.game.check_stored(place)

    def _own(self, places: frozenset[Place], version: int) -> None:
        for place in places:
            self.own[place] = max(self.own[place], version)

    # -- one fetch a key -----------------------------------------------------------------------------

    def _fetches(self, process: Process, exchange: Exchange) -> None:
        """Of one key one fetch at most is under way, if the requests that they are for could have shared it."""
        if not self.game.collapses(exchange) or self._out_of_patience(process, exchange):
            return
        for other in process.backend.exchanges:
            if other.key != exchange.key or other.over or not self.game.collapses(other):
                continue
            if self._out_of_patience(process, other):
                continue
            since = min(self.game.began(other), self.game.began(exchange))
            if process.loose.get(exchange.key, 0.0) < since:
                self.world.fail(f"{exchange.key} is fetched for #{exchange.number} beside #{other.number}")

    def _out_of_patience(self, process: Process, exchange: Exchange) -> bool:
        """Whether its request may have waited for so many fetches in vain that it went alone."""
        began = self.game.began(exchange)
        ends = [each.decided for each in process.backend.exchanges if each.key == exchange.key]
        return sum(end is not None and began <= end <= exchange.began for end in ends) >= FLIGHTS


class Game:
    """One seed's story. ``alone``: one proxy has the store for itself."""

    def __init__(self, seed: int, profile: str = "mixed", tracing: bool = False) -> None:
        self.world = world = World(seed, PROFILES[profile].odds, tracing)
        self.server = Server(world.clock.seconds)
        self.server.ahead = world.odds.server_ahead
        self.server.machine.ledger_length = world.odds.ledger_length
        self.server.machine.entered = world.model.entered
        self.server.data.step = world.random.choice((1, 3, 1000))
        self.server.stored = self._stored
        self.alone = world.odds.proxies == 1
        self.longest = 0.0
        self.number = 0
        self.requests: dict[int, tuple[float, bool]] = {}
        self.slots = [Slot(self, name) for name in (b"a", b"b")[: world.odds.proxies]]
        self.faults = Faults(self)

    # -- the story -----------------------------------------------------------------------------------

    def play(self) -> None:
        """From the first event to the last check; :class:`Wrong` if something must not be."""
        world = self.world
        self._until(world.now + world.random.choice((0.0, 0.0, 0.01, 2.0)))
        for _ in range(world.odds.events):
            self._event()
            self._until(world.now + self._gap())
        self.faults.end()
        world.calm = True
        self._come_to_rest()
        self._all_is_well()
        self._stop()

    def _gap(self) -> float:
        random = self.world.random
        if self.world.happens(self.world.odds.sleep):
            return random.choice((0.6, 4.0, 12.0, 31.0))
        return random.choice((0.0, 0.0, 0.0005, 0.003, 0.003, 0.05))

    def _until(self, moment: float) -> None:
        clock, world = self.world.clock, self.world
        while clock.step(moment):
            if world.wrong is not None:
                raise Wrong(world.wrong)

    def _event(self) -> None:
        world, random = self.world, self.world.random
        slot = random.choice(self.slots)
        if world.happens(world.odds.fault):
            self.faults.strike(slot)
        elif world.happens(world.odds.changes):
            self._change(slot)
        elif world.happens(world.odds.leaving) and slot.requests:
            random.choice(slot.requests).leave()
        else:
            place = random.choice(random.choice(world.odds.places))
            method, part = b"HEAD" if world.happens(world.odds.heads) else b"GET", None
            if world.happens(world.odds.parts):
                start = random.randrange(8)
                part = start, start + random.randrange(16)
            self.ask(slot, method, place, world.happens(world.odds.refresh), part)
        if world.wrong is not None:
            raise Wrong(world.wrong)

    def _change(self, slot: Slot) -> None:
        odds, random = self.world.odds, self.world.random
        target, how = random.choice(random.choice(odds.places))[0], random.choice(odds.hows)
        if how == "put":
            self.ask(slot, b"PUT", (target, b"anonymous"), False)
            return
        self.world.model.changed(target)
        if how == "silently":
            return
        slot.invalidate(target, how.replace("tag", "target") if how.endswith("tag") and target != b"/tagged" else how)

    def ask(
        self, slot: Slot, method: bytes, place: Place, refresh: bool, part: tuple[int, int] | None = None
    ) -> Request:
        """A client asks the proxy in ``slot``."""
        self.number += 1
        self.requests[self.number] = (self.world.now, method == b"GET" and not refresh and part is None)
        request = Request(slot, self.number, method, place, refresh, part)
        slot.requests = [each for each in slot.requests if not each.over]
        if not request.over:
            slot.requests.append(request)
        return request

    # -- what holds all the time ---------------------------------------------------------------------

    def collapses(self, exchange: Exchange) -> bool:
        """Whether its request could have waited for another's answer."""
        return exchange.key[0] != b"/varied" and self.requests[exchange.number][1]

    def began(self, exchange: Exchange) -> float:
        return self.requests[exchange.number][0]

    def _stored(self, key: bytes) -> None:
        """Something may have been written to ``key``. Without a ledger Redis takes what comes too late, and the proxy
        takes it back."""
        if self.world.odds.ledger and key.startswith(b"cache:GET:"):
            role, _, target = key[10:].partition(b":")
            self.check_stored((target, role))

    def check_stored(self, place: Place) -> None:
        """Nothing is in the store that is older than was promised."""
        key, least = b"cache:GET:" + place[1] + b":" + place[0], self.world.model.stored[place]
        data = self.server.data
        for field in data.hkeys(key) if data.type(key) == b"hash" else ():
            if field[:1] not in (b"#", b"@", b"!"):
                etag = decode(data.hget(key, field) or b"", key).fields.first(b"etag") or b""
                version = int(etag.strip(b'"').rpartition(b"-")[2])
                if version < least:
                    self.world.fail(f"version {version} of {place} is in the store, after {least}")

    # -- what holds at the end -----------------------------------------------------------------------

    def _come_to_rest(self) -> None:
        latest = self.world.now + REST_SECONDS
        self._until(self.world.now + 1.0)
        while restless := [what for slot in self.slots if (what := self._restless(slot))] or self.faults.stopping:
            if self.world.now >= latest:
                raise Wrong(f"it never comes to rest: {restless}")
            self._until(self.world.now + 1.0)

    def _restless(self, slot: Slot) -> str:
        """What keeps a proxy from being at rest and up to date."""
        hanging = [str(request) for request in slot.requests if not request.over]
        left = {name: count for name, count in under_way(slot.process).items() if count}
        if hanging or left:
            return f"{slot.process.origin!r} has {hanging} {left}"
        if slot.process.store.phase is not Phase.CLOSED:
            return f"{slot.process.origin!r} has its breaker open"
        if slot.link.unnoticed or not slot.process.store.store.pool.size or not slot.process.bus.subscribed:
            return f"{slot.process.origin!r} is not connected"
        newest = max(self.world.model.marks.values(), default=-1)
        if self.world.model.marks.get(slot.process.bus.seen or b"", -1) != newest:
            return f"{slot.process.origin!r} has not caught up"
        return ""

    def _all_is_well(self) -> None:
        """Everybody gets what is true, and gets it from the cache at last."""
        for place in PLACES:
            self.check_stored(place)
        for _ in range(ROUNDS):
            asked = [self.ask(slot, b"GET", place, refresh=False) for slot in self.slots for place in PLACES]
            self._until(self.world.now + (5.0 if self.world.odds.fleet else 0.1))
            if hanging := [str(request) for request in asked if not request.over]:
                raise Wrong(f"{hanging} are not answered, though all is well")
            asked = [each for each in asked if each.place[0] != b"/varied"]  # in another language than before, perhaps
            missed = [str(request) for request in asked if request.status not in (b"HOT_HIT", b"HIT")]
            if not missed:
                return
        raise Wrong(f"{missed} are not answered from the cache, though all is well")

    def _stop(self) -> None:
        for slot in self.slots:
            outcome: list[object] = []
            Deferred.fromCoroutine(slot.process.stop()).addBoth(outcome.append)
            self._until(self.world.now + 3 * COMMAND_SECONDS)
            if outcome != [{}]:
                raise Wrong(f"{slot.process.origin!r} leaves {outcome or 'itself running'}")


def play(seed: int, profile: str = "mixed") -> None:
    """A whole game; :class:`Wrong` where something happened that must not."""
    Game(seed, profile).play()


def told(seed: int, profile: str = "mixed") -> tuple[str | None, list[str]]:
    """What was wrong in a game, and its story."""
    game = Game(seed, profile, tracing=True)
    try:
        game.play()
    except Wrong as wrong:
        return str(wrong), game.world.trace
    return None, game.world.trace


def lost(seeds: Iterable[int], profile: str = "mixed") -> list[tuple[int, str]]:
    """Those of some games that go wrong, and why."""
    found = []
    for seed in seeds:
        try:
            play(seed, profile)
        except Wrong as wrong:
            found.append((seed, str(wrong)))
    return found
