"""Nouns of the code as tables: the fields of a frozen dataclass with their types, defaults, descriptions and rules."""

import ast
import dataclasses
import inspect
import json
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from optagent.codec import plain
from reference.page import ReferencePage, code, codes

_WORDS = {str: "text", float: "number", int: "whole number", bool: "true or false", Any: "any value", Path: "path"}


_GOT = re.compile(r", got | in (?=`|its values)| \(`")
"""The end of a rule in a message: the refused value follows."""


@dataclasses.dataclass(frozen=True, slots=True)
class FieldEntry:
    """A field of a noun as the reference shows it; `default` is "" where a value is needed."""

    name: str
    kind: str
    default: str
    description: str


def field_entries(noun: type[Any]) -> list[FieldEntry]:
    """The fields of a dataclass in their order; descriptions are the texts that stand below them in the code."""
    hints, descriptions = get_type_hints(noun), field_texts(noun)
    return [
        FieldEntry(each.name, kind_text(hints[each.name]), _default_text(each), descriptions.get(each.name, ""))
        for each in dataclasses.fields(noun)
    ]


def add_fields(page: ReferencePage, noun: type[Any], rename: Mapping[str, str] | None = None) -> None:
    """Adds the table of a noun's fields and the list of its rules; a field without a description is undocumented."""
    names = rename or {}
    rows = [
        [
            code(names.get(entry.name, entry.name)),
            entry.kind,
            shown_default(entry.default),
            page.describe(f"{noun.__name__}.{entry.name}", entry.description),
        ]
        for entry in field_entries(noun)
    ]
    page.add_table(["field", "type", "default", "meaning"], rows)
    rules = rules_of(noun)
    if rules:
        page.add_text("Rules, each of which refuses a value that breaks it:")
        page.add_text("\n".join(f"- {rule}" for rule in rules))


def add_shape(page: ReferencePage, noun: type[Any], level: int = 3) -> None:
    """Adds a noun with its docstring and its fields; a field without a description is undocumented."""
    page.add_heading(noun.__name__, level)
    page.add_text(page.describe(noun.__name__, inspect.getdoc(noun)))
    rows = [
        [code(entry.name), entry.kind, page.describe(f"{noun.__name__}.{entry.name}", entry.description)]
        for entry in field_entries(noun)
    ]
    page.add_table(["field", "type", "meaning"], rows)


def field_texts(noun: type[Any]) -> dict[str, str]:
    """The texts below the fields of a class, by field."""
    body = _definition(noun).body
    return {
        before.target.id: inspect.cleandoc(text.value.value)
        for before, text in pairwise(body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def kind_text(hint: Any) -> str:
    """A type in words, for people who write YAML or JSON.

    >>> kind_text(tuple[str, ...]), kind_text(int | None)
    ('list of text', 'whole number')
    """
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind_text(part) for part in get_args(hint) if part is not type(None)))
    if get_origin(hint) is tuple:
        parts = [part for part in get_args(hint) if part is not Ellipsis]
        return f"list of {' and '.join(dict.fromkeys(kind_text(part) for part in parts))}"
    if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        return f"{kind_text(get_args(hint)[1])} by name"
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return f"one of {codes(member.value for member in hint)}"
    if dataclasses.is_dataclass(hint):
        return f"mapping ({getattr(hint, '__name__', '')})"
    return _WORDS.get(hint) or str(getattr(hint, "__name__", hint))


def rules_of(noun: type[Any]) -> list[str]:
    """The rules that a noun checks when it is made, in the words of its refusals."""
    checks = [each for each in _definition(noun).body if getattr(each, "name", "") == "__post_init__"]
    constants = vars(sys.modules[noun.__module__])
    return list(dict.fromkeys(rule for check in checks for rule in _rules_in(check, constants)))


def _rules_in(node: ast.AST, names: Mapping[str, Any]) -> Iterator[str]:
    """The messages of the refusals below a node, without the refused value; `names` are values that are known."""
    if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Tuple):
        values = [str(each.value) for each in node.iter.elts if isinstance(each, ast.Constant)]
        names = {**names, node.target.id: ", ".join(values)}
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
        yield _GOT.split(_message(node.exc.args[0], names))[0]
    for child in ast.iter_child_nodes(node):
        yield from _rules_in(child, names)


def _message(node: ast.expr, names: Mapping[str, Any]) -> str:
    """The text of a message; a value that is only known when it is raised is shown by its name in the code."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_message(part, names) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _message(node.value, names)
    if isinstance(node, ast.Call) and len(node.args) == 1 and ast.unparse(node.func) in ("list", "sorted"):
        values = names.get(ast.unparse(node.args[0]), ())
        return codes(values) or "its values"
    shown = ast.unparse(node).removeprefix("self.")
    return str(names.get(shown, code(shown)))


def _definition(noun: type[Any]) -> ast.ClassDef:
    tree = ast.parse(textwrap.dedent(inspect.getsource(noun)))
    assert isinstance(tree.body[0], ast.ClassDef)
    return tree.body[0]


def _default_text(each: "dataclasses.Field[Any]") -> str:
    if each.default_factory is not dataclasses.MISSING:
        return value_text(each.default_factory())
    return "" if each.default is dataclasses.MISSING else value_text(each.default)


def shown_default(default: str) -> str:
    """A default as a cell of a table: "" is needed, "unset" stays plain."""
    return {"": "*needed*", "unset": "unset"}.get(default, code(default))


def value_text(value: Any) -> str:
    """A value as YAML on one line; "unset" for None.

    >>> value_text((0.05, 0.25)), value_text(None), value_text("")
    ('[0.05, 0.25]', 'unset', '""')
    """
    if value is None:
        return "unset"
    text = json.dumps(plain(value), ensure_ascii=False)
    return text.strip('"') or text if isinstance(value, str) else text
