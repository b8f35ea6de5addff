"""What the audit log keeps of a judgement: all that it takes to judge once more."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.domain.gate import GateResult, gates_from
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidRequest

JUDGED = "optimize.judged"
"""The action of the entry."""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The detail of an entry `optimize.judged`. No feature values: rows and scores are kept as SHA-256.

    There were so many `rows` up to `until` (POSIX seconds), split with `seed`; learned from were those of `window`
    (since `changed_at`, where that is its rule) through the plan. `holdout` is whose holdout it is (targets and times),
    `holdout_sha256` all that gates read of its rows. `scores_sha256` is what the candidate said of the holdout. `alpha`
    is the part of the `look`-th look. `champion` is what was compared with, None where nothing could be;
    `champion_version` None where there was none.
    """

    process_id: str
    version: str
    bundle_sha256: str
    scores_sha256: str
    rows: int
    rows_sha256: str
    holdout: str
    holdout_sha256: str
    until: float
    seed: int
    window: str
    changed_at: float | None
    plan_sha256: str | None
    strategy: str
    gates: Mapping[str, Any]
    metric: str
    look: int | None
    alpha: float
    champion: str | None
    champion_version: str | None
    champion_sha256: str | None
    champion_scores_sha256: str | None
    results: tuple[GateResult, ...]

    def __post_init__(self) -> None:
        strategy_named(self.strategy)
        gates_from(self.gates)
        for name in ("until", "changed_at"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InvalidRequest(f"{name} must be a POSIX time, got {value!r}")
        if self.seed < 0:
            raise InvalidRequest(f"seed must be a whole number of at least 0, got {self.seed!r}")
        if not 0 < self.alpha < 1:
            raise InvalidRequest(f"alpha must be between 0 and 1, got {self.alpha!r}")
        if self.look is not None and self.look < 1:
            raise InvalidRequest(f"look must be a whole number of at least 1, got {self.look!r}")
