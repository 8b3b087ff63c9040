"""deploy/several: proxies that share a Redis, behind a balancer that nginx itself takes for well-formed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from caching_proxy.settings.table import TABLE

PLACE = Path(__file__).parents[2] / "deploy" / "several"
SERVICES: dict[str, Any] = yaml.safe_load((PLACE / "docker-compose.yml").read_text())["services"]


def test_all_proxies_have_one_redis_and_settings_that_exist() -> None:
    proxy = SERVICES["proxy"]
    assert proxy["deploy"]["replicas"] > 1
    assert "ports" not in proxy, "two could not have the same"
    assert proxy["environment"]["CACHE_URL"] == "redis://redis:6379"
    assert set(proxy["environment"]) <= {row.name for row in TABLE}


def test_only_the_balancer_is_reached_from_elsewhere() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["balancer"]
    assert f"server proxy:{SERVICES['proxy']['environment']['PORT']} " in (PLACE / "nginx.conf").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        assert (PLACE / volume.split(":")[0]).exists()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    site = (
        (PLACE / "nginx.conf")
        .read_text()
        .replace("server proxy:", "server 127.0.0.1:")
        .replace("listen 80", "listen 127.0.0.1:65001")
    )
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "all.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {places} {site} }}"
    )
    done = subprocess.run(
        ["nginx", "-t", "-c", str(tmp_path / "all.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
