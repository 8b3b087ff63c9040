"""The examples, which are in no package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

from directory_store import DirectoryValues

__all__ = ["DirectoryValues"]
