"""Answers that are typed objects and read-only mappings of what they know, too."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any


class Answer(Mapping[str, Any]):
    """Of a frozen dataclass: its fields by name, without those that are None (so `error` only when refused)."""

    def _known(self) -> dict[str, Any]:
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}  # type: ignore[arg-type]

    def __getitem__(self, key: str) -> Any:
        return self._known()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())
