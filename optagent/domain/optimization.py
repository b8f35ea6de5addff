"""Optimization: the answer of one whole loop for a model, from the diagnosis to the candidate's rollout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optagent.domain.answer import Answer
from optagent.domain.study import Interval

SUCCESS, REJECTED, UNCHANGED, FAILED = "success", "rejected", "unchanged", "failed"


class Metrics(dict[str, float]):
    """Scores by name, which can be read as attributes too: `new_metrics.accuracy`."""

    def __getattr__(self, name: str) -> float:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no metric {name!r}; known are {sorted(self)}") from None


@dataclass(frozen=True)
class OptimizationResult(Answer):
    """Result of an optimization.

    `status` is success (a candidate passed every gate), rejected (a candidate failed one), unchanged (there was nothing
    to do, or nothing better was found) or failed; without success `error_message` is the reason. `old_metrics` are the
    champion's, on the same holdout as `new_metrics`. `improvement` is the paired interval of the model's metric,
    positive where the candidate is better; `improvement_percentage` is the difference of the two scores as a share of
    the champion's, 0 for a first model. `corrected_improvement` is the improvement without the luck of having passed,
    None where it did not pass. `version` is the one that was deployed; where it was trained again on all rows after the
    gates, `measured_as` is the version that they judged. Where a mixture answers, `slots` are those that were renewed,
    with their new versions. `stages` has the duration of each stage in seconds.
    """

    process_id: str | None = None
    model_id: str | None = None
    status: str | None = None
    error_message: str | None = None
    trigger: str | None = None
    optimization_type: str | None = None
    diagnosis: Mapping[str, Any] | None = None
    metric: str | None = None
    old_metrics: Mapping[str, float] | None = None
    new_metrics: Mapping[str, float] | None = None
    improvement: Interval | None = None
    improvement_percentage: float | None = None
    corrected_improvement: float | None = None
    baseline_name: str | None = None
    verdict: str | None = None
    gates: tuple[Mapping[str, Any], ...] = ()
    looks: int = 0
    rows: int = 0
    live_rows: int = 0
    window: str | None = None
    family: str | None = None
    params: Mapping[str, Any] | None = None
    features: tuple[str, ...] = ()
    version: str | None = None
    aliases: tuple[str, ...] = ()
    rollout_id: str | None = None
    stages: tuple[Mapping[str, Any], ...] = ()
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None
    measured_as: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("old_metrics", "new_metrics"):
            scores = getattr(self, name)
            if scores is not None:
                object.__setattr__(self, name, Metrics(scores))
