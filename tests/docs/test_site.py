"""The site is whole, stands alone, and documents all that the product has."""

import re
from pathlib import Path

import pytest

from optagent.settings import PREFIX, Settings
from reference.cli import commands
from reference.errors_page import error_classes
from reference.http import api_document
from reference.pages import PAGES, make_pages
from serve_app.data_plane.metrics import METRICS
from tests.docs.built_page import BuiltPage, built_page

pytestmark = pytest.mark.timeout(600)


def reference(site: Path, name: str) -> BuiltPage:
    return built_page(site / "reference" / f"{name}.html")


def test_nothing_of_the_product_is_undocumented():
    assert {name: page.undocumented for name, page in make_pages().items() if page.undocumented} == {}


def test_each_page_of_the_reference_is_on_the_site(site: Path):
    assert {name for name in PAGES if not (site / "reference" / f"{name}.html").exists()} == set()


def test_no_page_loads_anything_from_elsewhere(site: Path):
    pages = sorted(site.rglob("*.html"))
    loads = {(page.name, url) for page in pages for url in built_page(page).loads if re.match(r"\w+:|//", url)}
    assert len(pages) > 20
    assert loads == set()


def test_no_page_has_a_diagram_whose_script_comes_from_a_cdn(site: Path):
    assert [page.name for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text("utf-8")] == []


def test_no_style_sheet_loads_anything_from_elsewhere(site: Path):
    pattern = re.compile(r"url\(\s*[\"']?(?:https?:)?//|@import\s+[\"'](?:https?:)?//")
    assert [sheet.name for sheet in site.rglob("*.css") if pattern.search(sheet.read_text("utf-8"))] == []


def test_the_reference_has_every_setting(site: Path):
    text = reference(site, "settings").text
    assert [name for name in Settings.model_fields if f"{PREFIX}{name.upper()}" not in text] == []


def test_the_reference_has_every_command(site: Path):
    text = reference(site, "cli").text
    assert [name for name, _ in commands() if name not in text] == []


def test_the_reference_has_every_route(site: Path):
    text = reference(site, "http").text
    routes = [f"{method.upper()} {path}" for path, calls in api_document()["paths"].items() for method in calls]
    assert len(routes) > 40
    assert [route for route in routes if route not in text] == []


def test_the_reference_has_every_metric_and_error(site: Path):
    text = reference(site, "metrics").text + reference(site, "errors").text
    names = [metric.name for metric in METRICS] + [kind.__name__ for kind in error_classes()]
    assert [name for name in names if name not in text] == []


def test_the_reference_shows_the_verbs_of_the_agent_with_their_signatures(site: Path):
    text = reference(site, "python").text
    assert all(verb in text for verb in ("tune_hyperparameters", "optimize_model", "register_model", "set_alias"))
    assert "::: optagent" not in text
