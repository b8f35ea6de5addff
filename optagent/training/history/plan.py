"""History plan: the columns that a version computes of each row's past. Plain data, stored as JSON in its schema."""

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

SINCE = "time since the row before"
"""The column of the time since the newest earlier row of the key, in seconds, or in the unit of a numeric time."""


@dataclass(frozen=True)
class HistoryPlan:
    """The lags and rolling means of `columns` by the times of `time` among the rows of one `key`, or among all rows.

    With `numeric_time`, times are numbers, which no arrival can stand for.
    """

    time: str
    columns: tuple[str, ...]
    key: str | None = None
    lags: tuple[int, ...] = ()
    rolling: tuple[int, ...] = ()
    numeric_time: bool = False

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns that are computed, in order.

        >>> HistoryPlan("day", ("amount",), lags=(1,), rolling=(7,)).names
        ('amount lag 1', 'amount mean 7', 'time since the row before')
        """
        of_columns = (
            name
            for column in self.columns
            for name in (*(f"{column} lag {lag}" for lag in self.lags), *(f"{column} mean {w}" for w in self.rolling))
        )
        return (*of_columns, SINCE)

    @cached_property
    def digest(self) -> str:
        """A name for the plan, which another one does not have."""
        facts = (self.time, self.key, self.columns, self.lags, self.rolling)
        return sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @property
    def depth(self) -> int:
        """The number of earlier rows that the columns need."""
        return max((*self.lags, *self.rolling))
