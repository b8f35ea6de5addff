"""Reference page: Markdown that is put together piece by piece, and the names on it that lack a description."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_SPACE = re.compile(r"\s+")


class ReferencePage:
    """A page of the reference: its Markdown, and the `undocumented` names that were found on the way."""

    def __init__(self, title: str, introduction: str) -> None:
        self.undocumented: list[str] = []
        self._blocks = [f"# {title}", introduction]

    @property
    def markdown(self) -> str:
        return "\n\n".join(self._blocks) + "\n"

    def add_heading(self, text: str, level: int = 2, anchor: str = "") -> None:
        """A heading; its anchor follows from the text unless one is given."""
        self._blocks.append(f"{'#' * level} {text}" + (f" {{ #{anchor} }}" if anchor else ""))

    def add_text(self, text: str) -> None:
        """A paragraph, a list or any other block of Markdown; nothing for an empty text."""
        if text.strip():
            self._blocks.append(text.strip())

    def add_table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; cells are Markdown, and lines and columns of a cell are made safe."""
        lines = [header, ["---"] * len(header), *rows]
        self._blocks.append("\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines))

    def add_meanings(self, kind: str, heading: str, names: Iterable[object], texts: Mapping[Any, str]) -> None:
        """A table of names and their texts; one without a text is noted as undocumented, as a name of that kind."""
        rows = [[code(name), self.describe(f"{kind} {name}", texts.get(name))] for name in names]
        self.add_table([kind, heading], rows)

    def describe(self, name: str, description: str | None) -> str:
        """The description of `name` as one line; a missing one is noted as undocumented."""
        text = _SPACE.sub(" ", description or "").strip()
        if not text:
            self.undocumented.append(name)
        return text


def code(text: object) -> str:
    """The text as code in Markdown, or nothing for an empty text.

    >>> code("auc"), code("")
    ('`auc`', '')
    """
    return f"`{text}`" if str(text) else ""


def codes(names: Iterable[object]) -> str:
    """The names as code, separated by commas.

    >>> codes(["tpe", "gp"])
    '`tpe`, `gp`'
    """
    return ", ".join(code(name) for name in names)


def sentence(text: str) -> str:
    """The text as a sentence, with a capital letter and a full stop.

    >>> sentence("folder of all local state")
    'Folder of all local state.'
    """
    text = _SPACE.sub(" ", text).strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "!", "?")) else ".")


def _cell(text: str) -> str:
    return _SPACE.sub(" ", text).replace("|", "\\|").strip()
