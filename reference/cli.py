"""Reference page of the command line: every command with its arguments and options, from the Typer application."""

from collections.abc import Iterator
from typing import Any

import typer.main

from optagent.cli import app
from reference.nouns import kind_text
from reference.page import ReferencePage, code, codes, sentence

_INTRODUCTION = """
`optagent COMMAND --help` shows the same in a terminal. Most commands have `--json`, which prints one line where
it is not read in a terminal. The exit code is 0, 2 for a refused request, 1 for a failure, 130 after an interrupt; see
[errors](errors.md).
"""


def cli_page() -> ReferencePage:
    page = ReferencePage("Command line", _INTRODUCTION.strip())
    for name, command in commands():
        page.add_heading(name, 2 if name.count(" ") < 2 else 3)
        page.add_text(sentence(page.describe(name, command.help)))
        if not getattr(command, "commands", None):
            page.add_text(code(" ".join([name, *_usage(command)])))
        parameters = [each for each in command.params if each.name != "help"]
        if parameters:
            rows = [_parameter_row(page, name, each) for each in parameters]
            page.add_table(["argument or option", "value", "default", "meaning"], rows)
    return page


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of the program as (words, click command), the program itself first."""
    yield from _commands_below("optagent", typer.main.get_command(app))


def _commands_below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, below in sorted(getattr(command, "commands", {}).items()):
        yield from _commands_below(f"{name} {word}", below)


def _parameter_row(page: ReferencePage, command: str, parameter: Any) -> list[str]:
    is_argument = parameter.param_type_name == "argument"
    shown = code(_placeholder(parameter)) if is_argument else codes([*parameter.opts, *parameter.secondary_opts])
    is_flag = getattr(parameter, "is_flag", False)
    kind = "" if is_flag else kind_text(parameter.type_descriptor.annotation).replace("list", "texts")
    if parameter.multiple:
        kind = "text, repeatable"
    default = "*needed*" if parameter.required else "" if is_flag else _default_text(parameter.default)
    return [shown, kind, default, page.describe(f"{command} {parameter.name}", parameter.help)]


def _usage(command: Any) -> Iterator[str]:
    """The words behind a command: its arguments, in brackets where they may be left out, and its options."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield _placeholder(parameter) if parameter.required else f"[{_placeholder(parameter)}]"
    yield "[OPTIONS]"


def _placeholder(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _default_text(default: object) -> str:
    return "" if default in (None, [], ()) or callable(default) else code(default)
