"""Trading rule: the trades that a model's answers stand for."""

import math
from dataclasses import dataclass

from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Trading:
    """The rule that turns answers into positions, in a model's `monitoring: trading`."""

    position: str
    """The position that an answer takes, an expression over `prediction`, `probability` and number columns of the row:
    1 is the asset's capital long, -1 short, 0 none. Such as `where(probability > 0.55, 1, 0)`."""
    returns: str
    """The return of a position of 1 until the asset's next row, an expression over number columns such as
    `next_return`."""
    cost: float = 0.0
    """The cost of a trade, as a share of the amount that changes hands: .0005 are five basis points."""
    asset: str | None = None
    """The column that names the asset of a row. Unset: all rows are of one asset."""
    periods_a_year: float = 252.0
    """The number of distinct times of rows in a year, for annual figures."""

    def __post_init__(self) -> None:
        for name in ("position", "returns"):
            if not getattr(self, name).strip():
                raise InvalidRequest(f"trading: {name}: an expression is needed")
        if not 0 <= self.cost < 1:
            raise InvalidRequest(f"trading: cost must be at least 0 and below 1, got {self.cost}")
        if not 0 < self.periods_a_year < math.inf:
            raise InvalidRequest(f"trading: periods_a_year must be above 0 and finite, got {self.periods_a_year}")
