"""Binned data kept between trials on the same rows: the most recently used, a few a family."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from optagent.arrays import Rows
from optagent.training.families.family import Cache
from optagent.training.problem import Data

T = TypeVar("T")


class RecentValues:
    """The values of the last `size` keys asked for."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """The value kept for `key`, built where there is none, once the oldest has made room for it."""
        if key not in self._kept:
            while len(self._kept) >= self._size:
                self._kept.popitem(last=False)
            self._kept[key] = build()
        self._kept.move_to_end(key)
        return self._kept[key]


def kept_for(cache: Cache | None, family: str, data: Data, size: int) -> RecentValues:
    """What `cache` keeps for `family` on this very `data`; other data empties it, no cache keeps nothing."""
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
