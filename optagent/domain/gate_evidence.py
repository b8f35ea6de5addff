"""Gate evidence: the loss differences of a candidate on its holdout, summed up, for shadow to go on from."""

import math
from dataclasses import dataclass, fields

from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class GateEvidence:
    """The sums of `ConfidenceSequence` after the holdout rows: champion's loss less candidate's, in the order of time.

    Only for a candidate that is the very model of the gate, not trained again since. `alpha` is the risk of a wrong
    promotion by these rows and those of shadow together. There are `count` blocks of `block` rows.
    """

    alpha: float
    block: int
    count: int
    origin: float
    total: float
    squares: float
    products: float
    last: float
    power: float
    fourth: float

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise InvalidRequest(f"alpha must be between 0 and 0.5, got {self.alpha!r}")
        if self.block < 1 or self.count < 0:
            raise InvalidRequest(
                f"a block has a row at least, and count is not negative, got {self.block}, {self.count}"
            )
        for field in fields(self):
            if not math.isfinite(getattr(self, field.name)):
                raise InvalidRequest(f"{field.name} must be a finite number, got {getattr(self, field.name)!r}")
