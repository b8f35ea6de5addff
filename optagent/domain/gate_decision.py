"""Gate decisions: the audited record of a gate's verdict, with everything needed to repeat the judgement."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.domain.gate import Criterion, GateResult, gates_from
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidRequest

JUDGED = "optimize.judged"
"""The action of the audit entry."""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The detail of an audit entry `optimize.judged`. It holds no feature values: rows and scores are kept as SHA-256.

    There were `rows` rows up to `until` (POSIX seconds), split with `seed`; the candidate learned from those of
    `window` (since `changed_at`, for the window of that rule), through the plan. `holdout` is the digest of the
    holdout's targets and times, `holdout_sha256` that of everything that gates read of its rows. `scores_sha256` is
    that of the candidate's scores on the holdout. `alpha` is the share of the risk that the `look`-th look may spend,
    and the whole risk for the `criterion` of a filter, which spends none. `champion` names the model compared with,
    None where there was nothing to compare; `champion_version` is None where there was no champion. `rival_version` is
    the version that stood for the champion, None in older decisions, in which it was the champion itself;
    `champion_scores_sha256` is that of its scores. `anchor_version` is the version that stood for the best champion so
    far, None where the candidate did not have to keep up with it. `interval_rules` are those by which intervals were
    resampled (`analysis.bootstrap.RULES`).
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
    rival_version: str | None = None
    rival_sha256: str | None = None
    criterion: Criterion = Criterion.TWO_SIDED
    anchor_version: str | None = None
    anchor_sha256: str | None = None
    anchor_scores_sha256: str | None = None
    interval_rules: int = 1

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
