"""Ensemble search: the answer of the public verb, with weights, diversity and the best single model's scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.domain.answer import Answer
from optagent.domain.study import Interval


@dataclass(frozen=True)
class EnsembleResult(Answer):
    """Result of a search for an ensemble.

    It is `accepted` where the ensemble beat the best `single` model on rows that no search saw; it is a `version` then.
    Otherwise the single model is kept for the `reason`, and `metrics` are those of the rejected ensemble on
    `judged_rows`. `weights` are shares, by base model. `diversity_score` is 0 where all models err alike and 1 where
    their errors do not coincide. `improvements` are over the single model, positive where the ensemble is better;
    `improvement`, `verdict` and `aliases` come from the comparison with `baseline_name` on the holdout. `redundant`
    lists groups of base models with the same answers.
    """

    process_id: str | None = None
    model_id: str | None = None
    accepted: bool | None = None
    reason: str | None = None
    search: str | None = None
    weights: Mapping[str, float] | None = None
    metrics: Mapping[str, float] | None = None
    diversity_score: float | None = None
    diversity: Mapping[str, Any] | None = None
    single: str | None = None
    single_metrics: Mapping[str, float] | None = None
    improvements: Mapping[str, Interval] | None = None
    judged_rows: int = 0
    latency_ms: float | None = None
    options: tuple[Mapping[str, Any], ...] = ()
    redundant: tuple[tuple[str, ...], ...] = ()
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
