"""All pages of the reference by the names of their files, and the writing of them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from reference.cli import cli_page
from reference.errors_page import errors_page
from reference.formats import formats_page
from reference.gates import gates_page
from reference.glossary import glossary_page
from reference.http import http_page
from reference.metrics_page import metrics_page
from reference.model_yaml import model_yaml_page
from reference.page import ReferencePage
from reference.policies import policies_page
from reference.python import python_page
from reference.settings_page import settings_page

PAGES: Mapping[str, Callable[[], ReferencePage]] = {
    "model-yaml": model_yaml_page,
    "policies": policies_page,
    "gates": gates_page,
    "settings": settings_page,
    "cli": cli_page,
    "http": http_page,
    "python": python_page,
    "metrics": metrics_page,
    "formats": formats_page,
    "errors": errors_page,
    "glossary": glossary_page,
}


def make_pages() -> dict[str, ReferencePage]:
    """Every page of the reference, by its name."""
    return {name: make() for name, make in PAGES.items()}


def write_pages(folder: Path, pages: Mapping[str, ReferencePage]) -> None:
    """Writes the pages as Markdown files; one that has not changed is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        path = folder / f"{name}.md"
        if path.exists() and path.read_text(encoding="utf-8") == page.markdown:
            continue
        beside = folder / f".{name}.{os.getpid()}"
        beside.write_text(page.markdown, encoding="utf-8")
        beside.replace(path)
