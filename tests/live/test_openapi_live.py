"""openapi.json against the daemon itself: schemathesis asks what the document allows and what it forbids.

``make test-openapi`` installs schemathesis beside this environment; elsewhere the test is skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.live_backend import LiveBackend
from support.proxy_process import StartProxy, free_port

ROOT = Path(__file__).parents[2]
TOKEN = "an-admin-token-of-tests"

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.mark.parametrize("admin_port", [False, True], ids=["proxy-port", "admin-port"])
def test_the_endpoints_are_as_described(
    start_proxy: StartProxy, backend: LiveBackend, tmp_path: Path, admin_port: bool
) -> None:
    program = shutil.which("schemathesis", path=ROOT / ".venv-tools" / "bin")
    if program is None:
        pytest.skip("schemathesis is not installed: make test-openapi")
    settings = {"ADMIN_PORT": str(free_port())} if admin_port else {}
    proxy = start_proxy(BACKEND_URL=backend.url, ADMIN_TOKEN=TOKEN, **settings)
    for target in ("/x?y=1", "/api/users"):
        proxy.get(target)
    done = subprocess.run(
        [
            program,
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            ROOT / "openapi.json",
            f"--url=http://127.0.0.1:{settings.get('ADMIN_PORT', proxy.port)}",
            f"--header=Authorization: Bearer {TOKEN}",
            "--exclude-path=/_cache/events",  # never ends
            "--max-examples=20",
            "--request-timeout=10",
            "--seed=1",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines())
    assert proxy.get("/x?y=1").status == 200
