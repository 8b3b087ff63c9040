"""docker-compose.yml: what it mounts is there, and what the monitoring services name of each other fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
GRAFANA = ROOT / "deploy" / "grafana"


def mounts(name: str) -> dict[str, str]:
    """Path inside → path here or volume."""
    pairs = (volume.split(":")[:2] for volume in SERVICES[name]["volumes"])
    return {inside: outside for outside, inside in pairs}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for outside in mounts(name).values():
        assert not outside.startswith("./") or (ROOT / outside).exists(), outside


def test_monitoring_starts_only_where_it_is_asked_for() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    monitoring = ["monitoring"]
    assert profiles == {"proxy": [], "keydb": [], "prometheus": monitoring, "grafana": monitoring}


@pytest.mark.parametrize("name", SERVICES)
def test_only_the_proxy_is_reached_from_elsewhere(name: str) -> None:
    for port in SERVICES[name]["ports"]:
        assert name == "proxy" or port.startswith("127.0.0.1:")


def test_prometheus_scrapes_the_proxy_by_its_name_and_port() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"proxy:{SERVICES['proxy']['environment']['PORT']}"]}]
    assert mounts("prometheus")["/etc/prometheus"] == "./deploy/prometheus"


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/caching_proxy.yml").read_text())["providers"]
    file = f"{provider['options']['path']}/caching_proxy.json"
    assert mounts("grafana")[file] == "./deploy/grafana/caching_proxy.json"
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == file
    variable = json.loads((GRAFANA / "caching_proxy.json").read_text())["templating"]["list"][0]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
