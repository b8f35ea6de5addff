"""Feature plans: the columns that a model gets besides, or instead of, the encoded ones. Plain data, stored as JSON.

Every step needs one row alone. Lags and rolling means of earlier rows are columns of the row already, by its `history`.
Where the caller sends lagged values as columns of the row, `WindowSummary` summarises them.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from optagent.errors import InvalidRequest
from optagent.training.steps import AnyStep, CategoryShare, PairShare, is_unfitted


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """From the encoded matrix of `columns` to one of the columns that are not `dropped`, then one column per step.

    Dropped columns are still read: steps may need them.
    """

    columns: tuple[str, ...]
    steps: tuple[AnyStep, ...] = ()
    dropped: tuple[str, ...] = ()
    format: Literal[1] = 1

    def __post_init__(self) -> None:
        columns = set(self.columns)
        for step in self.steps:
            unknown = [name for name in step.columns if name not in columns]
            if unknown:
                raise InvalidRequest(
                    f"step {step.name!r} needs the column {unknown[0]!r}, which the plan does not take"
                )
            if is_unfitted(step):
                noun = "shares" if isinstance(step, CategoryShare | PairShare) else "means"
                raise InvalidRequest(f"step {step.name!r} has no {noun}: it was not fitted")
        if not set(self.dropped) <= columns:
            raise InvalidRequest(f"dropped: no column {sorted(set(self.dropped) - columns)[0]!r}")
        names = Counter(self.names)
        if len(names) < names.total():
            raise InvalidRequest(f"a plan gives each column once, got {names.most_common(1)[0][0]!r} twice")
        if not names:
            raise InvalidRequest("a plan that drops every column and makes none leaves nothing to learn from")

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """The columns that are passed on as they are."""
        return tuple(name for name in self.columns if name not in self.dropped)

    @property
    def names(self) -> tuple[str, ...]:
        """The output columns, in order."""
        return (*self.kept_columns, *(step.name for step in self.steps))
