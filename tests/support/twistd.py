"""Running ``twistd`` to its end, for starts that fail and daemons."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.proxy_process import ROOT, RUN_TWISTD


def twistd(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``twistd`` in ``directory`` to its end, with no more in its environment than it needs."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", RUN_TWISTD, *arguments],
        cwd=directory,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
