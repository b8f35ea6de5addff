"""Target mean: a step that answers with the mean label of a category, or of a pair of categories."""

import math
from dataclasses import dataclass
from typing import Literal

from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class TargetMean:
    """The mean of the target among the rows of the row's category, or of both of its categories.

    `means` go by the code of the first column, then by that of the second, and end with the mean of all rows, which is
    for missing and unknown categories. `levels` are the numbers of codes. Both are empty until they are fitted. A row
    that a model is trained on gets a mean without its own label, see `label_encoding`.
    """

    over: tuple[str, ...]
    means: tuple[float, ...] = ()
    levels: tuple[int, ...] = ()
    kind: Literal["target_mean"] = "target_mean"

    def __post_init__(self) -> None:
        if len(set(self.over)) != len(self.over) or len(self.over) not in (1, 2):
            raise InvalidRequest(f"a mean of the target is of 1 or 2 different columns, got {list(self.over)}")
        if not self.means:
            return
        needed = math.prod(self.levels) + 1
        if len(self.levels) != len(self.over) or len(self.means) != needed:
            raise InvalidRequest(
                f"step {self.name!r}: {list(self.levels)} levels need {needed} means, got {len(self.means)}"
            )
        odd = [mean for mean in self.means if not math.isfinite(mean)]
        if odd:
            raise InvalidRequest(f"step {self.name!r}: a mean must be finite, got {odd[0]}")

    @property
    def name(self) -> str:
        return f"target mean of {' and '.join(self.over)}"

    @property
    def columns(self) -> tuple[str, ...]:
        return self.over
