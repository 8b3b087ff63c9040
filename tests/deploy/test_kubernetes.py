"""deploy/kubernetes: held against the schemas that Kubernetes publishes, and against what the proxy itself says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from caching_proxy.app.service import LAST_SECONDS
from caching_proxy.settings.load import load

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "deploy" / "kubernetes"
KINDS = [
    "Deployment",
    "Service",
    "ServiceAccount",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "HorizontalPodAutoscaler",
]
VERSIONS = ("1.30", kubernetes_validate.latest_version())

KUSTOMIZATION = yaml.safe_load((PLACE / "kustomization.yaml").read_text())
DOCUMENTS: dict[str, Any] = {
    document["kind"]: document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((PLACE / name).read_text())
}
POD = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
ENVIRONMENT = dict(literal.split("=", 1) for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"])


def built() -> list[dict[str, Any]]:
    """What would be applied."""
    tool = shutil.which("kubectl")
    if tool is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([tool, "kustomize", PLACE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_nothing_is_left_out() -> None:
    named = {*KUSTOMIZATION["resources"], "kustomization.yaml", "invalidation_config.json"}
    assert {path.name for path in PLACE.iterdir()} == named
    assert sorted(DOCUMENTS) == sorted(KINDS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_files_follow_the_schemas(kind: str, version: str) -> None:
    kubernetes_validate.validate(DOCUMENTS[kind], version, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_applied_follows_the_schemas(version: str) -> None:
    documents = built()
    assert {document["kind"] for document in documents} == {*KINDS, "ConfigMap"}
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_every_selector_finds_the_pods() -> None:
    labels = DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        DOCUMENTS["Deployment"]["spec"]["selector"]["matchLabels"],
        DOCUMENTS["Service"]["spec"]["selector"],
        DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        DOCUMENTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert [labels] * len(selectors) == selectors
    scaled = DOCUMENTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert scaled == DOCUMENTS["Deployment"]["metadata"]["name"]


def test_the_settings_are_settings() -> None:
    settings, warnings = load(ENVIRONMENT, {}, {})
    assert warnings == ()
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}


def test_there_is_time_to_drain() -> None:
    settings, _ = load(ENVIRONMENT, {}, {})
    readiness = CONTAINER["readinessProbe"]
    noticed = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert settings.drain_delay_seconds > noticed
    steps = 6  # that may take LAST_SECONDS each when the grace time is over
    longest = settings.drain_delay_seconds + settings.shutdown_grace_seconds + steps * LAST_SECONDS
    assert POD["terminationGracePeriodSeconds"] >= longest


def test_probes_ask_where_the_endpoints_are() -> None:
    for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
        assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "admin"}


def test_the_container_may_do_nothing_special() -> None:
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["securityContext"]["runAsNonRoot"] is True
    user = f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}"
    assert f"USER {user}\n" in (ROOT / "Dockerfile").read_text()
    assert POD["automountServiceAccountToken"] is False
    written = [mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")]
    assert written == [ENVIRONMENT["STATE_DIR"]]


def test_the_rules_are_those_of_the_repository() -> None:
    assert (PLACE / "invalidation_config.json").read_text() == (ROOT / "invalidation_config.json").read_text()
