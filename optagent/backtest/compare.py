"""What the replays of several policies say of each other: scores by period, paired on the same blocks, and a choice."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.analysis.bootstrap import Resampling, draws, scorer_of
from optagent.analysis.performance import Measure
from optagent.arrays import Prediction, Vector
from optagent.domain.backtest import NEVER, Standing
from optagent.domain.study import Interval
from optagent.errors import InvalidData

_SLOW_RESAMPLES = 100  # where each resample of a metric has to be scored by itself


@dataclass(frozen=True, slots=True, eq=False)
class PolicyPredictions:
    """Labelled rows in time order, and what each policy answered: `y` and `time` (rows,), predictions by policy."""

    y: Vector
    time: Vector
    predictions: Mapping[str, Prediction]

    def __post_init__(self) -> None:
        if NEVER not in self.predictions:
            raise InvalidData(f"the answers of {NEVER!r} are needed, got those of {sorted(self.predictions)}")
        for name, given in self.predictions.items():
            if len(given) != len(self.y) or len(self.time) != len(self.y):
                raise InvalidData(f"{name}: {len(given)} answers and {len(self.time)} times for {len(self.y)} rows")


@dataclass(frozen=True, slots=True)
class PolicyAdvice:
    """The recommended policy, the share of resamples in which it is the best, and both in words."""

    name: str
    confidence: float
    words: str


def score_or_none(metric: Measure, y: Vector, prediction: Prediction) -> float | None:
    """None where the metric is not defined: no rows, or one class."""
    try:
        found = metric.score(y, prediction)
    except InvalidData:
        return None
    return found if np.isfinite(found) else None


def period_of(time: Vector, start: float, length_s: float) -> npt.NDArray[np.int64]:
    """(rows,) the number of the period in which each row falls, the first one starting at `start`."""
    return np.floor((time - start) / length_s).astype(np.int64)


def standings_of(
    answers: PolicyPredictions,
    metric: Measure,
    groups: npt.NDArray[np.int64],
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 1000,
    oracles: Collection[str] = (),
) -> tuple[Standing, ...]:
    """Each policy but `never` against it, all on the same resamples of blocks of `groups`, periods in time order.

    `oracles` are policies that nobody can take: the others are not measured by them.
    The intervals are those of `paired_interval`. Raises InvalidData where there are fewer than two groups, or where the
    metric is undefined on too many resamples.
    """
    names = list(answers.predictions)
    scores = _resampled(answers, metric, groups, seed, resamples)
    sign = 1.0 if metric.maximize else -1.0
    whole = {name: sign * metric.score(answers.y, answers.predictions[name]) for name in names}
    scores, never = sign * scores, names.index(NEVER)
    real = np.array([name not in oracles for name in names])
    best = scores >= scores[:, real].max(axis=1, keepdims=True)
    shares = np.where(real, best / best[:, real].sum(axis=1, keepdims=True), best).mean(axis=0)

    def against(name: str, other: str) -> Interval:
        found = scores[:, names.index(name)] - scores[:, names.index(other)]
        low, high = np.quantile(found, [alpha / 2, 1 - alpha / 2])
        return Interval(float(whole[name] - whole[other]), float(low), float(high), alpha)

    gained = {name: against(name, NEVER) for name in names}
    takers = [name for name in names if name not in oracles]
    leader = max(takers, key=lambda name: (gained[name].low, name == NEVER))
    return tuple(
        Standing(name, gained[name], float(shares[index]), against(name, leader).high >= 0)
        for index, name in enumerate(names)
        if index != never
    )


def advise(standings: Sequence[Standing], retrains: Mapping[str, int]) -> PolicyAdvice:
    """The policy of the fewest retrainings among those that are better than doing nothing and cannot be told from the
    one with the best lower bound; doing nothing where no lower bound is above 0."""
    better = [one for one in standings if one.against_never.low > 0]
    never_best = max(0.0, 1.0 - sum(one.best_in for one in standings))
    if not better:
        tried = max(standings, key=lambda one: one.against_never.low, default=None)
        said = "" if tried is None else f"; the nearest, {tried.name}, gains {_said(tried.against_never)}"
        return PolicyAdvice(NEVER, never_best, f"no policy is shown to be better than doing nothing{said}")
    leader = max(better, key=lambda one: one.against_never.low)
    equals = [one for one in better if one.within_noise]
    chosen = min(equals, key=lambda one: (retrains[one.name], -one.against_never.low, one.name))
    words = (
        f"better than doing nothing by {_said(chosen.against_never)} with {_counted(retrains[chosen.name])}; "
        f"the best in {chosen.best_in:.0%} of the resamples"
    )
    if chosen.name != leader.name:
        words += (
            f"; {leader.name} gains {_said(leader.against_never)} with {_counted(retrains[leader.name])}, "
            "which cannot be told from it"
        )
    return PolicyAdvice(chosen.name, chosen.best_in, words)


def _resampled(
    answers: PolicyPredictions, metric: Measure, groups: npt.NDArray[np.int64], seed: int, resamples: int
) -> npt.NDArray[np.float64]:
    """(resamples, policies) scores; a resample on which one is undefined is drawn again for all."""
    if metric.resampled is None:
        resamples = min(resamples, _SLOW_RESAMPLES)
    how = Resampling(resamples=resamples, seed=seed, time_ordered=True, groups=groups)
    if len(np.unique(groups)) < 2:
        raise InvalidData("policies are compared over blocks of time: at least 2 periods with labels are needed")
    scorers = [scorer_of(metric.score, metric.resampled, answers.y, given) for given in answers.predictions.values()]
    parts, known = [], 0
    for counts in draws(len(answers.y), how):
        values = np.column_stack([scorer(counts) for scorer in scorers])
        values = values[~np.isnan(values).any(axis=1)]
        parts.append(values)
        known += len(values)
        if known >= resamples:
            return np.concatenate(parts)[:resamples]
    raise InvalidData(f"{metric.name} is undefined on too many resamples of {len(answers.y)} rows")


def _said(interval: Interval) -> str:
    return f"{interval.estimate:+.4g} ({1 - interval.alpha:.0%} interval {interval.low:+.4g} to {interval.high:+.4g})"


def _counted(runs: int) -> str:
    return f"{runs} retraining" if runs == 1 else f"{runs} retrainings"
