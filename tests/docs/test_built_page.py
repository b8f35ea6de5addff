"""Links of a built page as a reader sees them: tabs, the open section, the article; and all that it loads."""

from pathlib import Path

from tests.docs.built_page import BuiltPage, pages_within_two_clicks

TAB = '<a class="md-tabs__link" href="{0}">{0}</a>'
OPEN = '<ul><li class="md-nav__item md-nav__item--active"><a class="md-nav__link" href="{0}">{0}</a></li></ul>'
SHUT = '<ul><li class="md-nav__item"><a class="md-nav__link" href="{0}">{0}</a></li></ul>'


def write_page(folder: Path, name: str, *around: str, article: str = "") -> Path:
    path = folder / name
    path.write_text(f"<html><body>{''.join(around)}<article><p>{article}</p></article></body></html>")
    return path


def test_two_clicks_lead_by_tabs_open_sections_and_articles_and_no_further(tmp_path: Path):
    front = write_page(tmp_path, "index.html", TAB.format("tab.html"), SHUT.format("shut.html"))
    write_page(tmp_path, "tab.html", OPEN.format("beside.html"), SHUT.format("shut.html"), article="<br>text")
    write_page(tmp_path, "beside.html", article='<a href="third.html">third</a>')
    for name in ("shut.html", "third.html"):
        write_page(tmp_path, name)
    assert {path.name for path in pages_within_two_clicks(front)} == {"index.html", "tab.html", "beside.html"}


def test_links_in_the_article_count_and_anchors_and_other_sites_do_not(tmp_path: Path):
    links = '<a href="a.html#part">a</a> <a href="#here">here</a> <a href="https://example.com/b.html">b</a>'
    front = write_page(tmp_path, "index.html", article=links)
    write_page(tmp_path, "a.html")
    assert {path.name for path in pages_within_two_clicks(front)} == {"index.html", "a.html"}


def test_the_text_is_that_of_the_article(tmp_path: Path):
    page = BuiltPage(write_page(tmp_path, "index.html", "<nav>menu</nav>", article="one<br>\n<b>two</b>"))
    assert page.text == "one two"


def test_scripts_styles_and_images_are_loaded_and_links_to_pages_are_not(tmp_path: Path):
    head = '<link rel="canonical" href="https://a/"><link rel="stylesheet" href="https://b/c.css">'
    page = BuiltPage(write_page(tmp_path, "index.html", head, '<script src="d.js"></script><img src="//e/f.png">'))
    assert page.loads == ["https://b/c.css", "d.js", "//e/f.png"]
