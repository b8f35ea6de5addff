"""Fields, rules and types of nouns, as the reference shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from optagent.errors import InvalidRequest
from reference.nouns import add_fields, add_shape, field_entries, field_texts, kind_text, rules_of
from reference.page import ReferencePage

COLOURS = ("red", "blue")


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True)
class Tile:
    """A tile."""

    name: str
    """The name,
    on two lines."""
    width: float = 1.5
    parts: tuple[str, ...] = ()
    """The parts."""
    limits: Mapping[str, int] = field(default_factory=dict)
    size: Size | None = None

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if self.width < 0:
                raise InvalidRequest(f"{name} must not be negative, got {self.width!r}")
        if self.name not in COLOURS:
            raise InvalidRequest(f"name: unknown {self.name!r}; one of {list(COLOURS)}")


def test_the_text_below_a_field_is_its_description():
    assert field_texts(Tile) == {"name": "The name,\non two lines.", "parts": "The parts."}


def test_a_field_has_its_type_in_words_and_its_default_as_yaml():
    shown = {entry.name: (entry.kind, entry.default) for entry in field_entries(Tile)}
    assert shown == {
        "name": ("text", ""),
        "width": ("number", "1.5"),
        "parts": ("list of text", "[]"),
        "limits": ("whole number by name", "{}"),
        "size": ("one of `small`, `large`", "unset"),
    }


def test_rules_are_in_the_words_of_the_refusals_without_the_refused_value():
    assert rules_of(Tile) == [
        "width, height must not be negative",
        "name: unknown `name`; one of `red`, `blue`",
    ]


def test_a_field_of_a_record_without_a_text_is_undocumented_too():
    page = ReferencePage("Tiles", "All tiles.")
    add_shape(page, Tile)
    assert page.undocumented == ["Tile.width", "Tile.limits", "Tile.size"]


def test_a_field_without_a_text_is_undocumented():
    page = ReferencePage("Tiles", "Introduction.")
    add_fields(page, Tile)
    assert page.undocumented == ["Tile.width", "Tile.limits", "Tile.size"]
    assert "| `name` | text | *needed* | The name, on two lines. |" in page.markdown


@pytest.mark.parametrize(
    ("hint", "words"), [(bool, "true or false"), (str | float, "text or number"), (Tile, "mapping (Tile)")]
)
def test_a_type_is_shown_in_words(hint: object, words: str):
    assert kind_text(hint) == words
