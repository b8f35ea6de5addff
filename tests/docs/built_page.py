"""A built page of the site: what it loads, where one gets from it by one click, and its text."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_LOADED_BY = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
_KINDS_OF_LINK_NOT_LOADED = {"canonical", "prev", "next", "alternate"}


class BuiltPage(HTMLParser):
    """The parts of a page: `loads` are URLs that a browser fetches, `text` is that of the article.

    `tabs`, `beside` and `inside` are the targets of links: of the tabs on top, of the open section of the navigation,
    and of the article. A reader sees those and no others without opening a menu.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.loads: list[str] = []
        self.tabs: list[str] = []
        self.beside: list[str] = []
        self.inside: list[str] = []
        self._open: list[tuple[str, set[str]]] = []
        self._words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def targets(self, links: list[str]) -> set[Path]:
        """The pages of the site that some links lead to."""
        files = (link.partition("#")[0] for link in links if "://" not in link and not link.startswith("mailto:"))
        return {(self.path.parent / file).resolve() for file in files if file.endswith(".html")}

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        values = {name: value or "" for name, value in attributes}
        classes = set(values.get("class", "").split())
        if tag in _LOADED_BY and _LOADED_BY[tag] in values and values.get("rel") not in _KINDS_OF_LINK_NOT_LOADED:
            self.loads.append(values[_LOADED_BY[tag]])
        if tag == "a" and "href" in values:
            self._add_link(values["href"], classes)
        if tag not in _VOID:
            self._open.append((tag, classes))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._is_in("article"):
            self._words.append(data)

    def _add_link(self, target: str, classes: set[str]) -> None:
        if "md-tabs__link" in classes:
            self.tabs.append(target)
        elif self._is_in("article"):
            self.inside.append(target)
        elif any("md-nav__item--active" in each for _, each in self._open):
            self.beside.append(target)

    def _is_in(self, tag: str) -> bool:
        return any(opened == tag for opened, _ in self._open)


@cache
def built_page(path: Path) -> BuiltPage:
    return BuiltPage(path)


def pages_within_two_clicks(front: Path) -> set[Path]:
    """The pages that a reader of the front page sees after at most two clicks; the front page is one of them."""
    first = built_page(front)
    seen = {front.resolve()} | first.targets(first.tabs + first.inside)
    for path in sorted(seen):
        if path.exists():
            page = built_page(path)
            seen |= page.targets(page.tabs + page.beside + page.inside)
    return seen
