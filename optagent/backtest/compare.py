"""Comparison of simulated policies: paired on the same resampled blocks and seeds, and a recommendation."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.analysis.bootstrap import Resampling, draws, percentiles, scorer_of, with_block
from optagent.analysis.performance import Measure
from optagent.arrays import Multiplicities, Prediction, Vector
from optagent.domain.backtest import NEVER, Standing
from optagent.domain.study import Interval
from optagent.errors import InvalidData

_SLOW_RESAMPLES = 100  # for metrics that score each resample by itself


@dataclass(frozen=True, slots=True, eq=False)
class PolicyPredictions:
    """Labelled rows in time order with the predictions of each policy: `y` and `time` (rows,), predictions by
    policy."""

    y: Vector
    time: Vector
    predictions: Mapping[str, Prediction]

    def __post_init__(self) -> None:
        if NEVER not in self.predictions:
            raise InvalidData(f"the answers of {NEVER!r} are needed, got those of {sorted(self.predictions)}")
        for name, prediction in self.predictions.items():
            if len(prediction) != len(self.y) or len(self.time) != len(self.y):
                raise InvalidData(
                    f"{name}: {len(prediction)} answers and {len(self.time)} times for {len(self.y)} rows"
                )


@dataclass(frozen=True, slots=True)
class PolicyAdvice:
    """The recommended policy, the share of resamples in which it is the best, and both in words."""

    name: str
    confidence: float
    words: str


def score_or_none(metric: Measure, y: Vector, prediction: Prediction) -> float | None:
    """The score, or None where the metric is undefined: no rows, or one class."""
    try:
        score = metric.score(y, prediction)
    except InvalidData:
        return None
    return score if np.isfinite(score) else None


def period_of(time: Vector, start: float, length_s: float) -> npt.NDArray[np.int64]:
    """(rows,) the number of the period of each row, the first one starting at `start`."""
    return np.floor((time - start) / length_s).astype(np.int64)


def standings_of(
    paths: Sequence[PolicyPredictions],
    metric: Measure,
    groups: npt.NDArray[np.int64],
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 1000,
    oracles: Collection[str] = (),
) -> tuple[Standing, ...]:
    """Each policy but `never` against it, all on the same resamples of blocks of `groups`, periods in time order.

    `paths` are the same policies on the same rows, once for each training seed: the mean over seeds is judged, and the
    intervals hold both the spread over blocks and that over seeds. The intervals of all policies against `never` hold
    together (Bonferroni), so that a policy may be chosen by them and its interval still be believed. `oracles` are
    policies that cannot be used in practice: the others are not measured against them. The intervals of one policy with
    one seed are those of `paired_interval`. Raises InvalidData where there are fewer than two groups, or where the
    metric is undefined on too many resamples.
    """
    names = list(paths[0].predictions)
    by_seed, resampling = _resample_scores(paths, metric, groups, seed, resamples)
    whole_by_seed = np.array([[metric.score(path.y, path.predictions[name]) for name in names] for path in paths])
    sign = 1.0 if metric.maximize else -1.0
    scores = sign * (by_seed.mean(axis=0) + _seed_noise(whole_by_seed, len(by_seed[0]), seed))
    whole = dict(zip(names, (sign * whole_by_seed.mean(axis=0)).tolist(), strict=True))
    never = names.index(NEVER)
    real = np.array([name not in oracles for name in names])
    together = alpha / max(1, int(real.sum()) - 1)
    best = scores >= scores[:, real].max(axis=1, keepdims=True)
    shares = np.where(real, best / best[:, real].sum(axis=1, keepdims=True), best).mean(axis=0)

    def against(name: str, other: str, risk: float) -> Interval:
        differences = scores[:, names.index(name)] - scores[:, names.index(other)]
        low, high = percentiles(differences, risk, len(paths[0].y), resampling)
        return Interval(float(whole[name] - whole[other]), low, high, alpha)

    gained = {name: against(name, NEVER, together) for name in names}
    takers = [name for name in names if name not in oracles]
    leader = max(takers, key=lambda name: (gained[name].low, name == NEVER))
    return tuple(
        Standing(name, gained[name], float(shares[index]), against(name, leader, alpha).high >= 0)
        for index, name in enumerate(names)
        if index != never
    )


def _seed_noise(scores: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """(resamples, policies) errors of the mean over seeds, drawn from the t law that (seeds, policies) scores imply.

    Policies keep their correlation: those of one seed began with the same first version. With one seed the spread is
    not known, and left out.
    """
    seeds = len(scores)
    if seeds < 2:
        return np.zeros((resamples, scores.shape[1]))
    rng = np.random.default_rng([seed, seeds])
    deviations = (scores - scores.mean(axis=0)) / np.sqrt(seeds * (seeds - 1))
    scale = np.sqrt((seeds - 1) / rng.chisquare(seeds - 1, size=(resamples, 1)))
    noise: npt.NDArray[np.float64] = scale * (rng.normal(size=(resamples, seeds)) @ deviations)
    return noise


def advise(standings: Sequence[Standing], retrains: Mapping[str, float]) -> PolicyAdvice:
    """The policy with the fewest retrainings among those that are better than doing nothing and indistinguishable from
    the one with the best lower bound; `never` where no lower bound is above 0."""
    better = [standing for standing in standings if standing.against_never.low > 0]
    never_best = max(0.0, 1.0 - sum(standing.best_in for standing in standings))
    if not better:
        nearest = max(standings, key=lambda standing: standing.against_never.low, default=None)
        words = "no policy is shown to be better than doing nothing"
        if nearest is not None:
            words += f"; the nearest, {nearest.name}, gains {_interval_text(nearest.against_never)}"
        return PolicyAdvice(NEVER, never_best, words)
    leader = max(better, key=lambda standing: standing.against_never.low)
    equals = [standing for standing in better if standing.within_noise]
    recommended = min(
        equals, key=lambda standing: (retrains[standing.name], -standing.against_never.low, standing.name)
    )
    words = (
        f"better than doing nothing by {_interval_text(recommended.against_never)} with"
        f" {_retrainings_text(retrains[recommended.name])}; "
        f"the best in {recommended.best_in:.0%} of the resamples"
    )
    if recommended.name != leader.name:
        words += (
            f"; {leader.name} gains {_interval_text(leader.against_never)} with"
            f" {_retrainings_text(retrains[leader.name])}, "
            "which cannot be told from it"
        )
    return PolicyAdvice(recommended.name, recommended.best_in, words)


def _resample_scores(
    paths: Sequence[PolicyPredictions], metric: Measure, groups: npt.NDArray[np.int64], seed: int, resamples: int
) -> tuple[npt.NDArray[np.float64], Resampling]:
    """(seeds, resamples, policies) scores, and how they were drawn: in blocks that suit each difference to `never`.

    A resample on which one of them is undefined is drawn again for all.
    """
    if metric.resampled is None:
        resamples = min(resamples, _SLOW_RESAMPLES)
    y = paths[0].y
    resampling = Resampling(resamples=resamples, seed=seed, time_ordered=True, groups=groups)
    if len(np.unique(groups)) < 2:
        raise InvalidData("policies are compared over blocks of time: at least 2 periods with labels are needed")
    scorers = [
        {
            name: scorer_of(metric.score, metric.resampled, y, prediction)
            for name, prediction in path.predictions.items()
        }
        for path in paths
    ]
    resampling = with_block(resampling, [each for of_path in scorers for each in _differences(of_path)], len(y))
    parts, count = [], 0
    for counts in draws(len(y), resampling):
        values = np.column_stack([scorer(counts) for of_path in scorers for scorer in of_path.values()])
        values = values[~np.isnan(values).any(axis=1)]
        parts.append(values)
        count += len(values)
        if count >= resamples:
            values = np.concatenate(parts)[:resamples]
            return np.moveaxis(values.reshape(resamples, len(paths), -1), 1, 0), resampling
    raise InvalidData(f"{metric.name} is undefined on too many resamples of {len(y)} rows")


def _differences(scorers: Mapping[str, Callable[[Multiplicities], Vector]]) -> list[Callable[[Multiplicities], Vector]]:
    """The scorers of each policy's difference to `never`."""
    never = scorers[NEVER]
    return [lambda counts, scorer=scorer: scorer(counts) - never(counts) for scorer in scorers.values()]  # type: ignore[misc]


def _interval_text(interval: Interval) -> str:
    return f"{interval.estimate:+.4g} ({1 - interval.alpha:.0%} interval {interval.low:+.4g} to {interval.high:+.4g})"


def _retrainings_text(runs: float) -> str:
    return "1 retraining" if runs == 1 else f"{runs:.3g} retrainings"
