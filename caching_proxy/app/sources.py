"""Where a worker's settings come from: what the supervisor found at its start or a reload, files of rules included.

A worker that is started later, perhaps in place of a dead one, sees the same: what stands in the files by then may be
half written, wrong, or meant for the next reload.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.table import TABLE

FIXED = (
    "PORT",
    "HOST",
    "LISTEN",
    "ADMIN_PORT",
    "ADMIN_HOST",
    "WORKERS",
    "SPARE_WORKERS",
    "SHUTDOWN_GRACE_SECONDS",
    "DRAIN_DELAY_SECONDS",
    "LOG_FILE",
    "LOG_ROTATE_BYTES",
    "LOG_KEEP",
)
"""What is settled for as long as the supervisor lives."""

_FIXED_NAMES = frozenset(name for row in TABLE if row.name in FIXED for name in (row.name, *row.aliases))


@attrs.frozen(slots=True)
class Sources:
    """Flags and ``.env`` by variable, beside the environment, which never changes; files by path, None if missing."""

    flags: Mapping[str, str]
    dotenv: Mapping[str, str]
    files: Mapping[str, bytes | None] = attrs.field(factory=dict, repr=False)

    def settings(self) -> tuple[Settings, tuple[str, ...]]:
        """The settings and warnings; raises SettingsError."""
        return load(os.environ, self.dotenv, self.flags)

    def changed(self, dotenv: Mapping[str, str]) -> Sources:
        """The same with another ``.env``, except for what is fixed."""
        kept = {name: value for name, value in self.dotenv.items() if name in _FIXED_NAMES}
        new = {name: value for name, value in dotenv.items() if name not in _FIXED_NAMES}
        return attrs.evolve(self, dotenv={**new, **kept}, files={})

    def ignored(self, dotenv: Mapping[str, str]) -> list[str]:
        """Fixed variables that ``dotenv`` would change."""
        return sorted(name for name in _FIXED_NAMES if self.dotenv.get(name) != dotenv.get(name))

    def read(self, path: Path) -> bytes:
        """The contents that were found; an empty list for a missing file (that it is missing has been said)."""
        content = self.files[str(path)]
        return b"[]" if content is None else content

    def to_json(self) -> dict[str, Any]:
        files = {path: None if text is None else base64.b64encode(text).decode() for path, text in self.files.items()}
        return {"flags": dict(self.flags), "dotenv": dict(self.dotenv), "files": files}

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Sources:
        files = {path: None if text is None else base64.b64decode(text) for path, text in words["files"].items()}
        return cls(words["flags"], words["dotenv"], files)


class Recording:
    """Reads files and remembers what they held."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | None] = {}

    def __call__(self, path: Path) -> bytes:
        self.files[str(path)] = None
        content = path.read_bytes()
        self.files[str(path)] = content
        return content
