"""Feature search: the answer of the public verb, with accepted steps, their gain and the gate's verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.domain.answer import Answer
from optagent.domain.study import Interval


@dataclass(frozen=True)
class FeatureResult(Answer):
    """Result of a search for features.

    It is `accepted` where the `steps` make a model better out of fold, on rows that the search did not see. `gain` is
    the interval of that difference in `metric`, positive where the model is better. The model with the features is a
    `version` then, and `improvement`, `verdict` and `aliases` come from the comparison with `baseline_name` on the
    holdout. `features` and `columns` report on all candidates.
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
    corrected_improvement: float | None = None
    verdict: str | None = None
    version: str | None = None
    aliases: tuple[str, ...] = ()
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None
