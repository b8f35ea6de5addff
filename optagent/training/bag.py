"""Bag parts: a model of a bag learns by a seed of its own, and in a bag of folds without the rows of one fold (Breiman
1996, with folds for bootstrap samples; Parmanto, Munro and Doyle 1996)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from optagent.arrays import Rows, Vector

FOLDS = 5
"""Folds of one repeat; a bag of more models goes on with folds that are drawn anew."""


@dataclass(frozen=True, slots=True)
class BagPart:
    """The model of that `number`, from 0 on, of the bag of one recipe, whose name is `bag`.

    `folds` is the number of folds of which it leaves out one, 0 where it learns from all rows.
    """

    bag: str
    number: int
    folds: int = FOLDS

    def rows_of(self, rows: Rows, y: Vector, seed: int) -> Rows:
        """The rows that this part learns from, in their order.

        `y` (all rows,) are the targets: each fold has its share of every class, or of every stretch of values. Nothing
        is judged on the fold that is left out, so that rows of one time or entity may lie on both sides.
        """
        if not self.folds:
            return rows
        repeat, fold = divmod(self.number, self.folds)
        drawn = np.random.default_rng([seed, repeat]).random(len(rows))
        fold_of = np.empty(len(rows), dtype=np.int64)
        fold_of[np.lexsort((drawn, y[rows]))] = np.arange(len(rows)) % self.folds
        return rows[fold_of != fold]

    def seed_of(self, seed: int) -> int:
        """The seed that this part's model is trained by."""
        return seed + self.number

    def to_plain(self) -> dict[str, Any]:
        """The part as JSON can hold it."""
        return {"bag": self.bag, "number": self.number, "folds": self.folds}

    @classmethod
    def from_plain(cls, fields: Mapping[str, Any]) -> "BagPart":
        """The part that `to_plain` wrote; raises KeyError, TypeError and ValueError."""
        part = cls(str(fields["bag"]), int(fields["number"]), int(fields["folds"]))
        if part.number < 0 or part.folds < 0 or part.folds == 1:
            raise ValueError(f"a part has a number from 0 on, and no folds or two and more, got {dict(fields)}")
        return part
