"""Answers: typed results of the public verbs that can also be read as mappings."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any


class Answer(Mapping[str, Any]):
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
