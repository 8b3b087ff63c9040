"""Where the proxy is and what opens it: options, then the environment, then ``.env`` of the working directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from caching_proxy.settings.dotenv import read

DEFAULT_PORT = "3000"


def find_url(given: str | None, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> str:
    """The base of the admin endpoints: ``given``, ``$CACHINGPROXY_URL``, or the port that the settings name."""

    def setting(*names: str) -> str | None:
        return next((source[name] for name in names for source in (environ, dotenv) if source.get(name)), None)

    whole = given or setting("CACHINGPROXY_URL")
    if whole:
        return whole
    return f"http://127.0.0.1:{setting('ADMIN_PORT') or setting('PORT') or DEFAULT_PORT}"


def find_token(file: Path | None, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> str | None:
    """The admin token: the first line of ``file``, ``$ADMIN_TOKEN`` or that of ``.env``. Raises :class:`OSError`."""
    if file is not None:
        return file.read_text().strip() or None
    return environ.get("ADMIN_TOKEN") or dotenv.get("ADMIN_TOKEN") or None


def dotenv_here(directory: Path | None = None) -> Mapping[str, str]:
    """What ``.env`` in ``directory`` (default: the working directory) says; nothing where there is none."""
    return read((directory or Path.cwd()) / ".env")[0]
