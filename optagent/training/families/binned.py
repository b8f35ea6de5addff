"""Cache of binned data between trials on the same rows: the most recently used, a few per family."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from optagent.arrays import Rows
from optagent.training.families.family import Cache
from optagent.training.problem import Data

T = TypeVar("T")


class RecentValues:
    """A cache of the `size` most recently used values."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """The value of `key`; a missing one is built, after the least recently used one was dropped to make room."""
        if key not in self._values:
            while len(self._values) >= self._size:
                self._values.popitem(last=False)
            self._values[key] = build()
        self._values.move_to_end(key)
        return self._values[key]


def family_cache(cache: Cache | None, family: str, data: Data, size: int) -> RecentValues:
    """The values that `cache` holds for `family` on this very `data`; other data empties them.

    Without a `cache` the values are held by the caller alone.
    """
    if cache is None:
        return RecentValues(size)
    owner, recent = cache.get(family, (None, None))
    if owner is not data:
        recent = RecentValues(size)
        cache[family] = (data, recent)
    return recent


def rows_key(rows: Rows) -> Hashable:
    """Equal for equal rows in equal order."""
    return len(rows), hashlib.blake2b(rows.tobytes(), digest_size=16).digest()
