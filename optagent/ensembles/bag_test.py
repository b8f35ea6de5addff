"""Test of bags against one model of their recipe, on out-of-fold predictions of both.

The one model stands for all that the recipe gives by other seeds: its score is the mean of theirs. The seed by which a
search has scored the recipe was lucky, as the best of many trials is, and no model of other rows has that luck. Every
model of a bag is trained on the rows that the one model of that fold learns from, or on a part of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from optagent.analysis.bootstrap import Resampling, paired_interval
from optagent.arrays import Prediction, Vector
from optagent.domain.study import Interval
from optagent.ensembles.members import Members
from optagent.training.average import WeightedMean
from optagent.training.combined import combine
from optagent.training.metrics import Metric

LEAST_SHARE = 0.002
"""The least improvement, as a share of the score, that pays for the latency of several models."""


@dataclass(frozen=True, slots=True)
class BagChoice:
    """The verdict: the kind of the bag that was accepted, None where none was, and the reason in words.

    `score` is the bag's out of fold, NaN where none was accepted.
    """

    kind: str | None
    reason: str
    improvement: Interval | None = None
    score: float = math.nan


@dataclass(frozen=True, slots=True)
class BagTest:
    """Settings of the test: the whole interval of the improvement of `metric` has to be above 0 at the risk `alpha`,
    which the bags that are tested share, and the models of a bag have to answer one row within `max_latency_ms`."""

    metric: Metric
    alpha: float
    resampling: Resampling
    max_latency_ms: float = math.inf


def choose_bag(
    members: Members,
    bags: Mapping[str, WeightedMean],
    singles: Sequence[WeightedMean],
    test: BagTest,
    latencies_ms: Mapping[str, float],
) -> BagChoice:
    """The bag that improves most on `singles`, one model or ensemble by several seeds, of those shown to be better.

    `bags` are one or more by kind; all are means of the members. `latencies_ms` are those of the models of each bag one
    after the other, where known. Raises InvalidData where the metric is undefined on the rows.
    """
    by_member, metric = members.by_member(), test.metric
    shared = replace(test, alpha=test.alpha / len(bags))
    answers = tuple(np.asarray(combine(single, by_member), dtype=np.float64) for single in singles)
    score = sum(metric.score(members.y, answer) for answer in answers) / len(answers)
    single_text = f"{'an ensemble' if len(singles[0].names) > 1 else 'one'} of all rows {score:.4g}"
    choices = []
    for kind, bag in bags.items():
        name = f"{len(bag.names)} models of {kind}"
        if latencies_ms.get(kind, 0.0) > test.max_latency_ms:
            reason = f"{latencies_ms[kind]:.3g} ms for a row, the latency gate lets {test.max_latency_ms:g} ms through"
            choices.append(BagChoice(None, f"no bag: {name} take {reason}"))
            continue
        of_bag = np.asarray(combine(bag, by_member), dtype=np.float64)
        interval = _improvement(members.y, of_bag, answers, shared)
        bag_score = metric.score(members.y, of_bag)
        comparison = f"{name} have a {metric.name} of {bag_score:.4g} out of fold, {single_text}"
        choices.append(_decide(kind, comparison, interval, bag_score))
    return max(choices, key=_rank)


def _improvement(y: Vector, bag: Prediction, singles: tuple[Prediction, ...], test: BagTest) -> Interval:
    metric = test.metric
    return paired_interval(
        metric.score, metric.maximize, y, bag, singles, test.alpha, test.resampling, metric.resampled
    )


def _decide(kind: str, comparison: str, interval: Interval, score: float) -> BagChoice:
    bounds = f"improvement {interval.estimate:.2g}, between {interval.low:.2g} and {interval.high:.2g}"
    if interval.low > 0 and interval.estimate >= LEAST_SHARE * abs(score):
        return BagChoice(kind, f"a bag: {comparison}: better ({bounds})", interval, score)
    outcome = "worse" if interval.high < 0 else "not shown to be better"
    outcome = "too little for their latency" if interval.low > 0 else outcome
    return BagChoice(None, f"no bag: {comparison}: {outcome} ({bounds})", interval)


def _rank(choice: BagChoice) -> tuple[bool, bool, float]:
    """Accepted ones first, then those that were judged, each by their improvement; of equals `max` keeps the first."""
    gain = -math.inf if choice.improvement is None else choice.improvement.estimate
    return choice.kind is not None, choice.improvement is not None, gain
