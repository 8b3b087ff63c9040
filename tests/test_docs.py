"""The documents: links and anchors lead somewhere, settings are settings, every word of the proxy's is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.module_list import BEGIN, DOCUMENT, END, listed, updated

from caching_proxy.rules.outcome import Bypass, CacheStatus, Detour, Refusal
from caching_proxy.settings.load import load

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
_SOURCE = re.compile(r'(?:src|srcset)="([^"]+)"')


def prose(path: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", path.read_text()))


def anchors(path: Path) -> set[str]:
    """As GitHub and mkdocs both make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    text = prose(path)
    for link in [*_LINK.findall(text), *_SOURCE.findall(text)]:
        if re.match(r"\w+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(file), f"{name}: {link}"


def test_every_document_is_in_the_contents_of_the_site() -> None:
    contents = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    assert sorted(re.findall(r"[\w-]+\.md", contents)) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def settings_blocks() -> list[tuple[str, str]]:
    blocks = []
    for path in DOCUMENTS:
        blocks += [(path.name, text) for kind, text in _FENCE.findall(path.read_text()) if kind == "ini"]
    return blocks


@pytest.mark.parametrize(("name", "text"), settings_blocks())
def test_settings_in_documents_are_settings(name: str, text: str) -> None:
    lines = [line.split("=", 1) for line in text.splitlines() if line]
    environment = {name: value for name, value in lines if not name.endswith("_FILE")}  # there are no such files here
    environment.setdefault("BACKEND_URL", "http://localhost:8080")
    load(environment, {}, {})


@pytest.mark.parametrize("word", [*CacheStatus, *Refusal, *Bypass, Detour.NO_ROLE], ids=str)
def test_the_faq_explains_every_word(word: CacheStatus | Refusal | Bypass | Detour) -> None:
    text = word.text if isinstance(word, CacheStatus) else word.value
    assert f"`{text}`" in (ROOT / "docs" / "faq.md").read_text()


@pytest.mark.slow
def test_the_architecture_lists_every_module() -> None:
    text = DOCUMENT.read_text()
    assert listed(text) == listed(updated(text)), "run make docs"


def test_a_module_is_listed_with_its_first_sentence(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "__init__.py").write_text('"""The room."""')
    (tmp_path / "room" / "thing.py").write_text('"""What ``a.b`` and :class:`~a.B` are\nfor. More.\n\nRules.\n"""')
    document = updated(f"Before.\n{BEGIN}- `gone.py`: x\n{END}After.\n", tmp_path)
    assert (
        document == f"Before.\n{BEGIN}\n### `room/`\n\n- `room/thing.py`: What `a.b` and `B` are for.\n\n{END}After.\n"
    )
    assert updated(document, tmp_path) == document
    assert listed(document) == ["room/thing.py"]


def test_the_metrics_document_lists_every_status() -> None:
    text = " ".join((ROOT / "docs" / "metrics.md").read_text().split())
    assert ", ".join(f"`{status.text}`" for status in CacheStatus) + "." in text
