"""Holdout test of an ensemble against one single model, on rows on which neither of them was learned or chosen."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from optagent.analysis.bootstrap import Resampling, paired_interval
from optagent.arrays import Prediction
from optagent.domain.study import Interval
from optagent.ensembles.choice import EnsembleChoice
from optagent.ensembles.diversity import diversity
from optagent.ensembles.methods import LearningData
from optagent.ensembles.shares import latency_of, weights_of
from optagent.errors import InvalidData
from optagent.training.combined import Combined, combine
from optagent.training.metrics import monitored_metrics


def run_holdout_test(
    learning: LearningData, ensemble: Combined, single: int, how: Resampling, alpha: float
) -> EnsembleChoice:
    """The choice, accepted where the whole interval of the first metric is better, and that of no other metric wholly
    worse."""
    members = learning.members
    name, single_prediction = members.names[single], np.asarray(members.predictions[single], dtype=np.float64)
    ensemble_prediction = combine(
        ensemble, members.by_member(), None if learning.features is None else learning.features.x
    )
    choice = EnsembleChoice(
        accepted=False,
        single=name,
        reason=f"the search itself gave all weight to {name}: it is kept",
        ensemble=ensemble,
        judged_rows=members.rows,
        metrics=_scores(learning, ensemble_prediction),
        single_metrics=_scores(learning, single_prediction),
        diversity=diversity(members, weights_of(members, ensemble)),
        latency_ms=latency_of(members, ensemble),
    )
    if np.array_equal(ensemble_prediction, single_prediction):
        return choice
    predictions = ensemble_prediction, single_prediction
    try:
        improvements = {
            metric.name: paired_interval(
                metric.score, metric.maximize, members.y, *predictions, alpha, how, metric.resampled
            )
            for metric in learning.target.metrics
        }
    except InvalidData as error:
        return replace(choice, reason=f"the ensemble cannot be judged, {error}: {name} is kept")
    accepted, reason = decide_on_improvements(choice, improvements)
    return replace(choice, accepted=accepted, reason=reason, improvements=improvements)


def decide_on_improvements(choice: EnsembleChoice, improvements: Mapping[str, Interval]) -> tuple[bool, str]:
    """The verdict on the ensemble and its reason in words; the first metric decides."""
    (first, interval), *others = improvements.items()
    models = len(choice.ensemble.names) if choice.ensemble is not None else 0
    comparison = (
        f"{models} models together have a {first} of {choice.metrics[first]:.4g}, {choice.single} alone"
        f" {choice.single_metrics[first]:.4g}, on {choice.judged_rows:,} rows that no search saw"
    )
    if interval.low <= 0:
        outcome = "worse" if interval.high < 0 else "not shown to be better"
        return False, f"{comparison}: {outcome} ({_interval_text(interval)}), so that {choice.single} is kept"
    for name, other in others:
        if other.high < 0:
            return (
                False,
                f"{comparison}, but {name} becomes worse ({_interval_text(other)}), so that {choice.single} is kept",
            )
    return True, f"{comparison}: better ({_interval_text(interval)})"


def _interval_text(interval: Interval) -> str:
    return (
        f"improvement {interval.estimate:.2g}, between {interval.low:.2g} and {interval.high:.2g}"
        f" at {1 - interval.alpha:.0%} confidence"
    )


def _scores(learning: LearningData, prediction: Prediction) -> dict[str, float]:
    """Scores in the metrics of the target and in those that a monitor would report, where they are defined."""
    scores: dict[str, float] = {}
    for metric in (*learning.target.metrics, *monitored_metrics(learning.members.task)):
        try:
            scores.setdefault(metric.name, metric.score(learning.members.y, prediction))
        except InvalidData:
            continue
    return scores
