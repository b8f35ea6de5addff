"""Unreadable records: stored records that cannot be decoded, which readers of many leave out instead of failing."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

Entity = TypeVar("Entity")
Data = TypeVar("Data")

_MOST_NAMED = 100  # after a downgrade, every record may be one
_log = logging.getLogger(__name__)


class UnreadableRecords:
    """The names of such records. Each is logged once, and forgotten when the record can be read again.

    The reason may hold values of the record, secrets among them: reading the record by its id gives it.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}

    def decode_or_skip(self, kind: type[Entity], name: str, decode: Callable[[], Entity]) -> Entity | None:
        """The decoded record, None for an unreadable one: whatever it does to its decoder is its own trouble."""
        try:
            entity = decode()
        except Exception:
            self._remember((kind.__name__, name))
            return None
        self._names.pop((kind.__name__, name), None)
        return entity

    def decode_all(
        self, kind: type[Entity], records: Mapping[str, Data], decode: Callable[[Data, str], Entity]
    ) -> list[Entity]:
        """The readable ones of the records by name, in their order."""
        entities = (self.decode_or_skip(kind, name, partial(decode, data, name)) for name, data in records.items())
        return [entity for entity in entities if entity is not None]

    def sentences(self) -> list[str]:
        """A sentence for each unreadable record that was met, for the first hundred."""
        return list(self._names.values())

    def _remember(self, record: tuple[str, str]) -> None:
        if record in self._names or len(self._names) >= _MOST_NAMED:
            return
        kind, name = record
        self._names[record] = f"{kind} {name!r} cannot be read: was it written by another version of optagent?"
        _log.error("lists go on without a record: %s", self._names[record])
        if len(self._names) == _MOST_NAMED:
            _log.error("further records that cannot be read are left out without a line here")
