"""Reference page of Python: the verbs of the agent by their groups, and what they answer, from docstrings."""

import dataclasses
import inspect
from typing import Any, get_args

from optagent.agent import OptimizationAgent
from optagent.bootstrap import create_optimization_agent
from reference.page import ReferencePage

_INTRODUCTION = """
An agent is made by `create_optimization_agent`, used from one event loop, and closed at the end, or by `async with`.
Every verb of it is below. A refused or failed request is answered with an `error`, or raised where the agent is
`strict`.
"""
_OPTIONS = """
    options:
      show_root_heading: true
      show_root_toc_entry: true
      heading_level: {level}
"""


def python_page() -> ReferencePage:
    page = ReferencePage("Python", _INTRODUCTION.strip())
    page.add_heading("Making an agent")
    _add_object(page, create_optimization_agent, 3)
    page.add_heading("Verbs")
    for group in verb_groups():
        _add_object(page, group, 3)
        for name, verb in _verbs(group).items():
            page.describe(f"agent.{name}", inspect.getdoc(verb))
    page.add_heading("Answers")
    for noun in answers():
        _add_object(page, noun, 3)
    return page


def verb_groups() -> list[type[Any]]:
    """The classes whose public methods are the verbs of the agent."""
    return [each for each in OptimizationAgent.__mro__ if each.__name__.endswith("Verbs")]


def answers() -> list[type[Any]]:
    """The nouns that verbs answer, each once, by name; those of annotations that are only text are left out."""
    hints = [verb.__annotations__["return"] for group in verb_groups() for verb in _verbs(group).values()]
    nouns = {noun for hint in hints for noun in (hint, *get_args(hint)) if dataclasses.is_dataclass(noun)}
    return sorted((noun for noun in nouns if isinstance(noun, type)), key=lambda noun: noun.__name__)


def _verbs(group: type[Any]) -> dict[str, Any]:
    return {name: each for name, each in vars(group).items() if inspect.isfunction(each) and not name.startswith("_")}


def _add_object(page: ReferencePage, thing: Any, level: int) -> None:
    """A directive by which mkdocstrings shows the thing with its members."""
    page.add_text(f"::: {thing.__module__}.{thing.__qualname__}{_OPTIONS.format(level=level)}")
