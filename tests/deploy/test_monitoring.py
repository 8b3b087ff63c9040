"""What deploy/ gives to Prometheus and Grafana: rules by their own tests, every query on a real Prometheus that scrapes
a proxy which has seen some of everything."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
import yaml
from support.live_backend import LiveBackend
from support.proxy_process import ProxyProcess, free_port, wait_for
from support.redis_server import RedisServer

from caching_proxy.telemetry.metrics.series import SERIES

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "caching_proxy.json").read_text())
SECRET = "a secret of the tests that is long enough"
TOKEN = "an-admin-token-of-tests"

THRESHOLD = re.compile(r"\s(?:[<>]=?|==)\s[\d.]+(?=$|\s+and\s)")


def documented() -> Iterator[str]:
    """The queries of docs/metrics.md; one that goes on in the next line is indented there."""
    for block in re.findall(r"```promql\n(.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL):
        yield from (line for line in re.sub(r"\n +", " ", block).splitlines() if line)


def shown() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")


def alerting() -> Iterator[str]:
    for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


QUERIES = [*documented(), *shown(), *alerting()]


def promtool(*arguments: str | Path) -> str:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_rules_are_sound() -> None:
    assert f"{len(list(alerting()))} rules found" in promtool("check", "rules", RULES / "alerts.yml")
    promtool("check", "config", RULES / "prometheus.yml")


@pytest.mark.slow
def test_the_rules_fire_when_they_should() -> None:
    promtool("test", "rules", RULES / "alerts_test.yml")


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = yaml.safe_load((RULES / "alerts_test.yml").read_text())["tests"]
    firing = {one["alertname"] for case in cases for one in case.get("alert_rule_test", ()) if one.get("exp_alerts")}
    [group] = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    assert firing == {rule["alert"] for rule in group["rules"]}


def test_only_series_that_exist_are_asked_for() -> None:
    known = {row.name for row in SERIES}
    known |= {f"{row.name}_{part}" for row in SERIES if row.kind == "histogram" for part in ("bucket", "sum", "count")}
    for query in [*shown(), *alerting()]:
        plain = re.sub(r'\{[^}]*\}|by \([^)]*\)|"[^"]*"', "", query)
        names = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b(?!\()", plain))
        assert {name for name in names if not name.startswith("process_")} <= known, query


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


class Prometheus:
    """A server of its own with the shipped rules, and the shipped configuration but for target and times."""

    def __init__(self, directory: Path, target: str) -> None:
        self._port = free_port()
        config = yaml.safe_load((RULES / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(RULES / "alerts.yml", directory)
        with (directory / "out.log").open("wb") as out:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=out,
                stderr=out,
            )

    def ask(self, query: str) -> list[object]:
        """The samples; raises where the query is not understood."""
        url = f"http://127.0.0.1:{self._port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[object] = json.load(answer)["data"]["result"]
            return found

    def ready(self) -> bool:
        try:
            return bool(self.ask("up"))
        except OSError:
            return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def use(proxy: ProxyProcess, backend: LiveBackend) -> None:
    """Some of everything: hits, misses, errors, a refused token, a role, invalidations."""
    backend.on("/broken", lambda exchange: exchange.hang_up())
    role = jwt.encode({"realm_access": {"roles": ["editor"]}, "exp": 4_000_000_000}, SECRET, "HS256")
    wait_for(lambda: "HIT" in {proxy.get(target).cache for target in ("/page", "/other")}, "an answer from Redis")
    for _ in range(3):
        proxy.get("/page")
        proxy.get("/broken")
        proxy.get("/page", Authorization=f"Bearer {role}")
        proxy.get("/page", Authorization="Bearer aaaa.bbbb.cccc")
    fields = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert proxy.request("POST", "/invalidate", fields, b'{"pattern": "cache:GET:*"}').status == 200


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    backend = LiveBackend().start()
    with RedisServer() as redis:
        settings = {"BACKEND_URL": backend.url, "CACHE_URL": redis.url, "JWT_SECRET": SECRET, "ADMIN_TOKEN": TOKEN}
        place = {"HOST": "127.0.0.1", "PORT": str(free_port()), "HOT_CACHE_MAX_ENTRIES": "1"}
        proxy = ProxyProcess(tmp_path_factory.mktemp("proxy"), {**settings, **place})
        server = Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{proxy.port}")
        try:
            proxy.wait_until_serving()
            use(proxy, backend)
            wait_for(server.ready, "the first scrape", 30)
            yield server
        finally:
            server.stop()
            proxy.stop()
            backend.stop()


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_understood_and_finds_something(prometheus: Prometheus, query: str) -> None:
    """An alert finds nothing while all is well: then what it compares has to be there."""
    try:
        prometheus.ask(query)
    except urllib.error.HTTPError as refusal:
        with refusal:
            pytest.fail(f"{query}: {refusal.read()!r}")
    compared = THRESHOLD.sub("", query)
    wait_for(lambda: bool(prometheus.ask(compared)), f"data for {compared}")
