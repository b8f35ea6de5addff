"""Fold scheme: folds that are declared by more than their number, in a model's `folds`."""

import math
from dataclasses import dataclass

from optagent.domain.duration import seconds
from optagent.errors import InvalidRequest

COMBINATORIAL_PURGED = "combinatorial_purged"
FOLD_SCHEMES = (COMBINATORIAL_PURGED,)
MOST_SPLITS = 120
"""Each trial is trained once for each split."""


@dataclass(frozen=True, slots=True)
class FoldScheme:
    """Combinatorial purged cross-validation of rows in time order.

    López de Prado 2018, Advances in Financial Machine Learning, ch. 7 and 12.

    >>> scheme = FoldScheme("combinatorial_purged", groups=8, test=2)
    >>> scheme.splits, scheme.paths
    (28, 7)
    """

    scheme: str
    """`combinatorial_purged`: every choice of `test` among `groups` stretches of time validates once, the others
    train."""
    groups: int = 8
    """The number of stretches of time, of as many rows each."""
    test: int = 2
    """The number of groups that validate together. There are groups! / (test! · (groups - test)!) splits, and a trial
    is trained once for each."""
    embargo: str | float = 0.0
    """The time after validation rows, beyond the label horizon, that is not trained on either. As `label_horizon`: a
    duration such as 5d with a time column of dates, otherwise a number."""

    def __post_init__(self) -> None:
        if self.scheme not in FOLD_SCHEMES:
            raise InvalidRequest(f"folds: unknown scheme {self.scheme!r}; one of {list(FOLD_SCHEMES)}, or a number")
        if not 3 <= self.groups <= 20:
            raise InvalidRequest(f"folds: groups must be between 3 and 20, got {self.groups}")
        if not 1 <= self.test < self.groups:
            raise InvalidRequest(f"folds: test must be at least 1 and below groups, got {self.test} of {self.groups}")
        if self.splits > MOST_SPLITS:
            raise InvalidRequest(
                f"folds: at most {MOST_SPLITS} splits, for each of which a trial is trained, got {self.splits}:"
                f" {self.test} of {self.groups} groups"
            )
        if not 0 <= self.embargo_span < math.inf:
            raise InvalidRequest(f"folds: embargo must be finite and not negative, got {self.embargo}")

    @property
    def splits(self) -> int:
        """The number of choices of validation groups."""
        return math.comb(self.groups, self.test)

    @property
    def paths(self) -> int:
        """The number of times that each row is validated: so many predictions of the whole history can be put
        together."""
        return math.comb(self.groups - 1, self.test - 1)

    @property
    def embargo_span(self) -> float:
        """The embargo in seconds (durations), or in the unit of the time column or in rows (numbers)."""
        return seconds(self.embargo) if isinstance(self.embargo, str) else float(self.embargo)
