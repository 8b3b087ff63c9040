"""A package index: pip finds, downloads and installs through the daemon; what was just uploaded is there at once."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps.running import Pair, pair, python, run

METADATA = "Metadata-Version: 2.1\nName: thing\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(place: Path, version: str) -> Path:
    """A wheel of a module that says its version, padded to a megabyte."""
    path = place / f"thing-{version}-py3-none-any.whl"
    info = f"thing-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing.py", f"VERSION = {version!r}\nPADDING = '{'x' * 1_000_000}'\n")
        archive.writestr(f"{info}/METADATA", METADATA.format(version=version))
        archive.writestr(f"{info}/WHEEL", WHEEL)
        archive.writestr(f"{info}/RECORD", "")
    return path


def serve(port: int, home: Path) -> list[str]:
    (home / "wheels").mkdir()
    wheel(home / "wheels", "1.0")
    command = [str(Path(python()).parent / "pypi-server"), "run", "-p", str(port), "-i", "127.0.0.1"]
    return [*command, "-a", ".", "-P", ".", "--disable-fallback", "-v", "wheels"]


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[Pair]:
    with pair(serve, tmp_path) as both:
        yield both


def test_pip_finds_and_downloads(indexes: Pair, tmp_path: Path) -> None:
    got = []
    for name, base in (("one", indexes.direct), ("two", indexes.proxied), ("again", indexes.proxied)):
        place = tmp_path / name
        place.mkdir()
        pip = (python(), "-m", "pip", "--isolated", "--disable-pip-version-check")
        index = ("--index-url", f"{base}/simple/", "--no-cache-dir")
        run(*pip, "download", *index, "--no-deps", "-d", "here", "thing==1.0", directory=place)
        run(*pip, "install", *index, "--no-deps", "--target", "there", "thing", directory=place)
        got.append(
            ((place / "here" / "thing-1.0-py3-none-any.whl").read_bytes(), (place / "there" / "thing.py").read_text())
        )
    assert got[0] == got[1] == got[2]


def test_an_upload_is_there_at_once(indexes: Pair, tmp_path: Path) -> None:
    fields = {"Accept": "text/html"}
    before = indexes.proxy.request("GET", "/simple/thing/", fields)
    assert b"thing-1.0" in before.body
    path = wheel(tmp_path, "2.0")
    answer = _upload(indexes, path)
    assert answer == 200
    target = "/packages/" + path.name
    assert indexes.proxy.request("GET", target, fields).body == path.read_bytes()


def _upload(indexes: Pair, path: Path) -> int:
    """As twine does: a form with the file in it."""
    parts = [
        b'--cut\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n',
        b'--cut\r\nContent-Disposition: form-data; name="content"; filename="%b"\r\n' % path.name.encode(),
        b"Content-Type: application/octet-stream\r\n\r\n" + path.read_bytes() + b"\r\n--cut--\r\n",
    ]
    login = base64.b64encode(b"me:secret").decode()
    fields = {"Content-Type": "multipart/form-data; boundary=cut", "Authorization": f"Basic {login}"}
    return indexes.proxy.request("POST", "/", fields, b"".join(parts)).status
