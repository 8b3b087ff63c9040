"""Git over smart HTTP: clone, push (one large enough to go in chunks), fetch, shallow and partial clones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apps.running import HERE, Pair, pair, program, python, run

ME = {
    "GIT_AUTHOR_NAME": "me",
    "GIT_AUTHOR_EMAIL": "me@example.org",
    "GIT_COMMITTER_NAME": "me",
    "GIT_COMMITTER_EMAIL": "me@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


def serve(port: int, home: Path) -> list[str]:
    run("git", "init", "--bare", "-q", "-b", "main", "project.git", directory=home, **ME)
    run("git", "-C", "project.git", "config", "http.receivepack", "true", directory=home, **ME)
    run("git", "-C", "project.git", "config", "uploadpack.allowFilter", "true", directory=home, **ME)
    servers = str(HERE / "servers")
    return [python(), "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--pythonpath", servers, "git_cgi:application"]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Pair]:
    program("git", "git")
    with pair(serve, tmp_path) as both:
        yield both


def git(place: Path, *arguments: str) -> str:
    return run("git", *arguments, directory=place, **ME).stdout


def test_a_day_with_a_repository(hosts: Pair, tmp_path: Path) -> None:
    told = []
    for name, base in (("one", hosts.direct), ("two", hosts.proxied)):
        place = tmp_path / name
        place.mkdir()
        told.append(_a_day(place, f"{base}/project.git"))
    assert told[0] == told[1]
    assert len(told[0]) == 7


def _a_day(place: Path, url: str) -> list[str]:
    """What git says at the interesting points; commits have fixed dates, so that names are equal."""
    git(place, "clone", "-q", url, "mine")
    mine = place / "mine"
    told = [git(mine, "ls-remote", url)]
    _commit(mine, "small", b"some text\n")
    git(mine, "push", "-q", "origin", "HEAD:main")
    _commit(mine, "large", bytes(range(256)) * 8000 + b"".join(n.to_bytes(4, "big") for n in range(500_000)))
    git(mine, "push", "-q", "origin", "HEAD:main")  # past http.postBuffer: chunked
    told.append(git(mine, "ls-remote", url))
    git(place, "clone", "-q", url, "yours")
    told.append(git(place / "yours", "log", "--format=%H %s"))
    _commit(mine, "news", b"news\n")
    git(mine, "push", "-q", "origin", "HEAD:main", "HEAD:refs/heads/side")
    git(place / "yours", "pull", "-q")
    told.append(git(place / "yours", "log", "--format=%H %s"))
    git(place, "clone", "-q", "--depth=1", url, "shallow")
    told.append(git(place / "shallow", "rev-list", "--count", "HEAD"))
    git(place, "clone", "-q", "--filter=blob:none", url, "partial")
    told.append(git(place / "partial", "fsck"))
    git(mine, "push", "-q", "origin", ":side")
    told.append(git(place / "yours", "ls-remote"))
    git(place / "yours", "fsck", "--strict")
    return told


def _commit(place: Path, name: str, content: bytes) -> None:
    (place / name).write_bytes(content)
    git(place, "add", name)
    run(
        "git",
        *("-c", "gc.auto=0", "commit", "-q", "-m", name, "--date=2001-01-01T00:00:00Z"),
        directory=place,
        **ME,
        GIT_COMMITTER_DATE="2001-01-01T00:00:00Z",
    )
