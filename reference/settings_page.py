"""Reference page of settings: every variable with its type, default, limits and meaning."""

from typing import Any

from pydantic.fields import FieldInfo

from optagent.settings import PREFIX, Settings
from reference.nouns import kind_text, value_text
from reference.page import ReferencePage, code, sentence

_INTRODUCTION = """
Settings are read from the environment and from a file `.env` in the working folder; the environment goes first. In
Python they are arguments: `create_optimization_agent(max_trials=20)`. `optagent config` prints each one with its value
and where it comes from, without secrets. A value that breaks its rule is refused with its name.
"""
_SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "length at least"}


def settings_page() -> ReferencePage:
    page = ReferencePage("Settings", _INTRODUCTION.strip())
    rows = [
        [
            code(f"{PREFIX}{name.upper()}"),
            _kind(field),
            _default(field),
            sentence(page.describe(f"setting {name}", field.description)),
        ]
        for name, field in Settings.model_fields.items()
    ]
    page.add_table(["variable", "type", "default", "meaning"], rows)
    return page


def _kind(field: FieldInfo) -> str:
    kind = kind_text(field.annotation).replace("SecretStr", "secret text").replace("Path", "path")
    limits = [
        f"{words} {getattr(rule, sign):g}"
        for rule in field.metadata
        for sign, words in _SIGNS.items()
        if isinstance(getattr(rule, sign, None), int | float)
    ]
    return ", ".join([kind.replace("list of text", "texts, separated by commas"), *limits])


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the system's folder for data of programs"
    default: Any = field.default
    return "unset" if default in (None, ()) else code(value_text(default))
