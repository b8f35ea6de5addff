"""Holdout ledger: the looks at a model's holdouts, each for one candidate, that share the risk of a wrong decision."""

import json
import math
from dataclasses import dataclass

from optagent.domain.gate import Verdict
from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class HoldoutLook:
    """One look at a holdout, written before the comparison is made.

    `holdout` is the digest of the rows, `candidate` a version or the digest of a bundle, `at` a POSIX time. `alpha` is
    the risk that all looks of the model share, and `share` the part of it that this look may spend: 0 where nothing is
    proved by it. `number` counts the looks of the model from 1; `verdict` is None until the look is settled. `sample`
    tells the holdout's rows from those of other looks (`optagent.sequential.row_sample`). `compares` is false where
    there was no champion to beat. Looks without `model_id` were counted for each holdout alone, and spent by their
    number.
    """

    holdout: str
    candidate: str
    process_id: str
    at: float
    alpha: float
    number: int = 0
    verdict: Verdict | None = None
    model_id: str = ""
    share: float = 0.0
    sample: str = ""
    compares: bool = True

    def __post_init__(self) -> None:
        for name in ("holdout", "candidate", "process_id"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise InvalidRequest(f"a look needs a {name}, got {getattr(self, name)!r}")
        if not math.isfinite(self.at):
            raise InvalidRequest(f"at must be a POSIX time, got {self.at!r}")
        if not 0 < self.alpha < 1:
            raise InvalidRequest(f"alpha must be between 0 and 1, got {self.alpha!r}")
        if isinstance(self.number, bool) or not isinstance(self.number, int) or self.number < 0:
            raise InvalidRequest(f"number must be a whole number that is not negative, got {self.number!r}")
        if not 0 <= self.share <= 1:
            raise InvalidRequest(f"share must be between 0 and 1, got {self.share!r}")

    @property
    def identity(self) -> str:
        """The identity of the look: equal where one look is written twice, such as by a repeated call."""
        return json.dumps([self.process_id, self.candidate])

    @property
    def ledger(self) -> str:
        """The name of the ledger that counts the look: the model's, or the holdout's for a look of before."""
        return self.model_id or self.holdout

    @property
    def alpha_spent(self) -> float:
        """The risk that this look may take."""
        return self.alpha * self.share

    @property
    def has_proved(self) -> bool:
        """True where the look spent risk, and its candidate passed against a champion."""
        return self.compares and self.share > 0 and self.verdict is Verdict.PASS
