"""A hook of mkdocs: diagrams are drawn in the reader's browser by mermaid, which `make docs-site` fetches from npm.

The file goes into the site, so that nothing is loaded from elsewhere. Where it is missing, diagrams stay text.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url
from pymdownx.superfences import fence_code_format

SOURCE = Path(__file__).parents[1] / ".venv-tools" / "package" / "dist" / "mermaid.min.js"
NAME = "assets/mermaid.min.js"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    if SOURCE.exists():
        fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
        config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    if SOURCE.exists():
        files.append(File.generated(config, NAME, abs_src_path=str(SOURCE)))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Only pages with a diagram load it: it is large."""
    if not SOURCE.exists() or 'class="mermaid"' not in output:
        return output
    return output.replace("</head>", f'<script src="{get_relative_url(NAME, page.url)}"></script></head>', 1)
