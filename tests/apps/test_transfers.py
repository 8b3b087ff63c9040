"""Downloads that go on where they stopped, mirrors, and uploads that wait to be asked for: curl and wget."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps.running import Pair, pair, program, run
from apps.test_walks import fastapi, static

DATA = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(static, tmp_path_factory.mktemp("static")) as both:
        yield both


@pytest.mark.parametrize("warm", [False, True], ids=["from-the-backend", "from-the-cache"])
def test_a_download_goes_on_where_it_stopped(files: Pair, warm: bool, tmp_path: Path) -> None:
    url = f"{files.proxied}/data.bin?{warm}"
    if warm:
        files.proxy.get(f"/data.bin?{warm}")
    for command in (
        (program("curl", "curl"), "-q", "-sSf", "-C", "-", "-o", "got", url),
        (program("wget", "wget"), "--no-config", "-q", "-c", "-O", "got", url),
    ):
        (tmp_path / "got").write_bytes(DATA[:100_000])
        run(*command, directory=tmp_path)
        assert (tmp_path / "got").read_bytes() == DATA


def test_a_mirror_is_the_same(files: Pair, tmp_path: Path) -> None:
    got = []
    for name, base in (("one", files.direct), ("two", files.proxied), ("again", files.proxied)):
        place = tmp_path / name
        place.mkdir()
        wget = (program("wget", "wget"), "--no-config", "-q", "-m", "-nH", "--compression=auto", "-e", "robots=off")
        run(*wget, "--reject-regex=[?]C=", base + "/", directory=place)
        got.append({str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()})
    assert got[0]["data.bin"] == DATA
    for name in ("page.html", "a b.txt", "data.bin"):
        assert got[0][name] == got[1][name] == got[2][name]
    assert got[0].keys() == got[1].keys() == got[2].keys()


def test_an_upload_that_waits_to_be_asked_for(tmp_path: Path) -> None:
    """More than ``REQUEST_BUFFER_BYTES``: it is passed on as it comes."""
    sent = tmp_path / "sent"
    sent.write_bytes(DATA * 20)
    with pair(fastapi, tmp_path) as both:
        for framing in ([], ["-H", "Transfer-Encoding: chunked"]):
            asking = ["-H", "Expect: 100-continue", "--expect100-timeout", "60"]
            command = [program("curl", "curl"), "-q", "-sSfv", *asking, *framing, "--data-binary", f"@{sent}"]
            done = run(*command, both.proxied + "/hash", directory=tmp_path)
            assert hashlib.sha256(DATA * 20).hexdigest() in done.stdout
            assert "100 Continue" in done.stderr
