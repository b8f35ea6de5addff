"""The verdict on an ensemble beside one single model, on rows that neither of them was learned or chosen on."""

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


def judged(ground: LearningData, ensemble: Combined, single: int, how: Resampling, alpha: float) -> EnsembleChoice:
    """Accepted where the whole interval of the first metric is better, and that of no other metric wholly worse."""
    members = ground.members
    name, alone = members.names[single], np.asarray(members.predictions[single], dtype=np.float64)
    together = combine(ensemble, members.by_member(), None if ground.features is None else ground.features.x)
    choice = EnsembleChoice(
        accepted=False,
        single=name,
        reason=f"the search itself gave all weight to {name}: it is kept",
        ensemble=ensemble,
        judged_rows=members.rows,
        metrics=_scores(ground, together),
        single_metrics=_scores(ground, alone),
        diversity=diversity(members, weights_of(members, ensemble)),
        latency_ms=latency_of(members, ensemble),
    )
    if np.array_equal(together, alone):
        return choice
    try:
        improvements = {
            metric.name: paired_interval(
                metric.score, metric.maximize, members.y, together, alone, alpha, how, metric.resampled
            )
            for metric in ground.target.metrics
        }
    except InvalidData as error:
        return replace(choice, reason=f"the ensemble cannot be judged, {error}: {name} is kept")
    accepted, reason = verdict_of(choice, improvements)
    return replace(choice, accepted=accepted, reason=reason, improvements=improvements)


def verdict_of(choice: EnsembleChoice, improvements: Mapping[str, Interval]) -> tuple[bool, str]:
    """Whether to take the ensemble, and why in words; the first metric decides."""
    (first, interval), *others = improvements.items()
    models = len(choice.ensemble.names) if choice.ensemble is not None else 0
    said = (
        f"{models} models together have a {first} of {choice.metrics[first]:.4g}, {choice.single} alone"
        f" {choice.single_metrics[first]:.4g}, on {choice.judged_rows:,} rows that no search saw"
    )
    if interval.low <= 0:
        how = "worse" if interval.high < 0 else "not shown to be better"
        return False, f"{said}: {how} ({_said(interval)}), so that {choice.single} is kept"
    for name, other in others:
        if other.high < 0:
            return False, f"{said}, but {name} becomes worse ({_said(other)}), so that {choice.single} is kept"
    return True, f"{said}: better ({_said(interval)})"


def _said(interval: Interval) -> str:
    return (
        f"improvement {interval.estimate:.2g}, between {interval.low:.2g} and {interval.high:.2g}"
        f" at {1 - interval.alpha:.0%} confidence"
    )


def _scores(ground: LearningData, prediction: Prediction) -> dict[str, float]:
    """Of the metrics asked for, and of those that a monitor would report, where they are defined."""
    found: dict[str, float] = {}
    for metric in (*ground.target.metrics, *monitored_metrics(ground.members.task)):
        try:
            found.setdefault(metric.name, metric.score(ground.members.y, prediction))
        except InvalidData:
            continue
    return found
