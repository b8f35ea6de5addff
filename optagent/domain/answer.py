"""Answers: typed results of the public verbs that can also be read as mappings."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any


class Viewable:
    """Base of results that show themselves in a notebook. What draws them is loaded when it is asked for."""

    __slots__ = ()

    def to_frame(self) -> Any:
        """The result's table as a pandas frame, a row an item; raises InvalidRequest for one that was refused."""
        return import_module("optagent.notebook").frame_of(self)

    def _repr_html_(self) -> str:
        return str(import_module("optagent.notebook").html_of(self))


class Answer(Viewable, Mapping[str, Any]):
    """Base of frozen dataclasses that map field names to values, without fields that are None.

    So an answer holds `error` only where the request was refused.
    """

    def _present_fields(self) -> dict[str, Any]:
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}  # type: ignore[arg-type]

    def __getitem__(self, key: str) -> Any:
        return self._present_fields()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present_fields())

    def __len__(self) -> int:
        return len(self._present_fields())
