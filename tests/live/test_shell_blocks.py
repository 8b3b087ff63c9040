"""What README and docs tell people to type is typed here, against what `make run` starts, and answers as they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from support.proxy_process import ROOT, free_port, wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow]

TOKEN = "an-admin-token-of-tests"
DOCUMENTS = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
LEFT_OUT = {
    "make run": "the fixture is what it runs",
    "BACKEND_URL=": "the same in front of another service",
    "curl …": "a short form of the command before it",
    "curl -sN": "never ends; the dashboard's tests read it",
    "#!/bin/sh": "a hook of certbot's",
}
"""How commands begin that are not run, and why."""


@attrs.frozen
class Command:
    """What is typed, and what stands below it."""

    where: str
    text: str
    said: str

    @property
    def left_out(self) -> bool:
        return self.text.startswith(tuple(LEFT_OUT))


def commands() -> Iterator[Command]:
    for name in DOCUMENTS:
        for kind, block in re.findall(
            r"^```(console|sh)\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL
        ):
            if kind == "sh":
                yield Command(name, block, "")
                continue
            for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                lines = typed.splitlines()
                ends = next(n for n, line in enumerate(lines) if not line.endswith("\\"))
                yield Command(name, "\n".join(lines[: ends + 1]), "\n".join(lines[ends + 1 :]))


COMMANDS = list(commands())


@attrs.frozen
class Demo:
    directory: Path
    port: int

    def type(self, text: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "ADMIN_TOKEN": TOKEN,
            "CACHINGPROXY_URL": f"http://127.0.0.1:{self.port}",
        }
        return subprocess.run(
            ["sh", "-ec", text.replace("localhost:3000", f"127.0.0.1:{self.port}")],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`examples/run.py`, in a directory that holds what the repository's does."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    directory = tmp_path_factory.mktemp("demo")
    shutil.copy(ROOT / "invalidation_config.json", directory)
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": str(port), "ADMIN_TOKEN": TOKEN}
    out = directory / "out.log"
    with out.open("wb") as file:
        command = [sys.executable, ROOT / "examples" / "run.py"]
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=file, stderr=file)
    try:
        wait_for(lambda: "Ctrl-C stops both" in out.read_text(), "the introduction", 30)
        yield Demo(directory, port)
    finally:
        process.terminate()
        process.wait(20)


def test_nothing_is_left_out_that_is_not_there() -> None:
    for beginning in LEFT_OUT:
        assert any(command.text.startswith(beginning) for command in COMMANDS), beginning


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_told_to_be_typed(demo: Demo, document: str) -> None:
    """In the order of the document; digits and moments differ, and an ellipsis stands for anything."""
    demo.type(
        f"curl -s -H 'Authorization: Bearer {TOKEN}' -H 'Content-Type: application/json' "
        '-d \'{"pattern": "cache:GET:*"}\' localhost:3000/invalidate'
    )
    for command in COMMANDS:
        if command.where != document or command.left_out:
            continue
        done = demo.type(command.text)
        assert done.returncode == 0, f"{command.text}\n{done.stdout}{done.stderr}"
        for wanted, got in zip(command.said.splitlines(), done.stdout.splitlines(), strict=bool(command.said)):
            pattern = re.escape(re.sub(r"\d+", "0", wanted)).replace("…", ".*")
            assert re.fullmatch(pattern, re.sub(r"\d+", "0", got)), f"{command.text}\n{got}"
