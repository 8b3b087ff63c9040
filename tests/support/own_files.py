"""Runs a program that sees other files in the place of some of the system's: a mount namespace of its own.

That takes the right to mount, which root has, and others where user namespaces are allowed; tests are skipped without.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest


def mounted(*commands: str) -> tuple[str, ...]:
    """What to put before a program for it to run after these commands of ``sh``, in a namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here")
    for flags in ("-m", "-rm"):
        if subprocess.run([unshare, flags, "true"], capture_output=True, check=False).returncode == 0:
            return unshare, flags, "sh", "-ec", "\n".join((*commands, 'exec "$@"')), "sh"
    pytest.skip("nothing may be mounted here")


def instead(file: Path, system: str) -> str:
    """The command that puts ``file`` in the place of the system's; what is written into it later is seen."""
    return f"mount --bind {shlex.quote(str(file))} {system}"
