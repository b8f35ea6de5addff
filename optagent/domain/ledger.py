"""Holdout ledger: the looks at a holdout, each for one candidate, that share the risk of a wrong decision."""

import json
import math
from dataclasses import dataclass

from optagent.domain.gate import Verdict
from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class HoldoutLook:
    """One look at a holdout, written before the comparison is made.

    `holdout` is the digest of the rows, `candidate` a version or the digest of a bundle, `at` a POSIX time. `alpha` is
    the risk that all looks at the holdout share; the `number`-th look may spend its part of it. The store assigns the
    number, which is 0 until then; `verdict` is None until the look is settled.
    """

    holdout: str
    candidate: str
    process_id: str
    at: float
    alpha: float
    number: int = 0
    verdict: Verdict | None = None

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

    @property
    def identity(self) -> str:
        """The identity of the look: equal where one look is written twice, such as by a repeated call."""
        return json.dumps([self.process_id, self.candidate])
