"""What came of looking for features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.domain.answer import Answer
from optagent.domain.study import Interval


@dataclass(frozen=True)
class FeatureResult(Answer):
    """`accepted`: with the `steps` a model is better out of fold, on rows that no search for them saw.

    `gain` is that interval of `metric`, positive where it is better. The model with them is a `version` then, and
    `improvement`, `verdict` and `aliases` say how it does beside `baseline_name` on the holdout. `features` and
    `columns` report on everything that was looked at.
    """

    process_id: str | None = None
    model_id: str | None = None
    metric: str | None = None
    accepted: bool | None = None
    reason: str | None = None
    steps: tuple[str, ...] = ()
    gain: Interval | None = None
    judged_rows: int = 0
    candidates: int = 0
    plain_score: float | None = None
    score: float | None = None
    features: tuple[Mapping[str, Any], ...] = ()
    columns: tuple[Mapping[str, Any], ...] = ()
    holdout: Interval | None = None
    baseline_name: str | None = None
    baseline_holdout: Interval | None = None
    improvement: Interval | None = None
    verdict: str | None = None
    version: str | None = None
    aliases: tuple[str, ...] = ()
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None
