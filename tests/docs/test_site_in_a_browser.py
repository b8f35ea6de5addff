"""The site in a browser: opened as files, it asks for nothing from elsewhere, can be searched, and is accessible."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser import CHROMIUM, launch_options

PAGES = ("reference/model-yaml", "reference/cli", "reference/http", "reference/python", "explain/mixture")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)"),
    pytest.mark.timeout(600),
]


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a browser of that colour scheme; at the end, nothing but files must have been asked for."""
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options())
        page = browser.new_page(color_scheme=request.param)
        page.on("request", lambda asking: asked.append(asking.url))
        yield page
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_no_page_has_a_serious_fault_of_accessibility(page: Page, site: Path):
    serious = {}
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        for fault in Axe().run(page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                serious[name, fault["id"]] = fault["nodes"][0]["html"][:200]
    assert serious == {}


def test_a_site_of_files_can_be_searched(page: Page, site: Path):
    page.goto((site / "reference" / "settings.html").as_uri())
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type("sensitive_columns")
    expect(page.locator(".md-search-result__item").first).to_be_visible(timeout=30_000)
