"""Estimates before labels: coverage of their intervals and refusals, with and without a shift of the features.

A window has 500 rows, its reference 2,000; both are new in every run. The score knows the first two of eight features,
the label depends on the fifth too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from optagent.analysis.adaptive_estimation import fit_pape
from optagent.analysis.direct_loss_estimation import fit_loss_model
from optagent.analysis.estimated_performance import Estimator, estimate_history, estimated_performance
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.arrays import Matrix64, Vector
from optagent.domain.model import Task
from optagent.training.metrics import monitored_metrics
from tests.performance.decisions.case import Case
from tests.simulation.streams import autoregressive

_REFERENCE, _WINDOW, _FEATURES, _ALPHA = 2_000, 500, 8, 0.05
_JUDGED = ("accuracy", "auc", "log_loss", "mae", "rmse")


@dataclass(frozen=True, slots=True)
class World:
    """A shift of the features by `size` standard deviations, memory of the rows, and a change of the concept.

    `shift` is none, own (of a feature of the score), unknown (of one that it does not know), both, many (of all), wide
    (the spread of both), correlation (between both).
    """

    shift: str = "none"
    size: float = 1.0
    memory: float = 0.0
    flipped: float = 0.0
    noise: float = 1.0
    is_heavy: bool = False


CALM = World()


def binary_rows(rng: np.random.Generator, rows: int, world: World = CALM) -> ObservedRows:
    """A classifier's rows: overconfident by a tenth, and without the fifth feature."""
    x = _features(rng, rows, world)
    known = 1.2 * x[:, 0] - 0.8 * x[:, 1]
    y = rng.random(rows) < 1 / (1 + np.exp(-known - x[:, 4]))
    y ^= rng.random(rows) < world.flipped
    return _observed(Task.BINARY, x, 1 / (1 + np.exp(-1.1 * known - 0.1)), y.astype(np.float64))


def regression_rows(rng: np.random.Generator, rows: int, world: World = CALM) -> ObservedRows:
    """A regression's rows, whose errors grow with a feature of the score and with one that it does not know."""
    x = _features(rng, rows, world)
    prediction = x[:, 0] - x[:, 1]
    error = rng.standard_t(3, rows) if world.is_heavy else rng.standard_normal(rows)
    return _observed(
        Task.REGRESSION,
        x,
        prediction,
        prediction + world.noise * np.exp(0.3 * x[:, 0] + 0.3 * x[:, 4]) * error,
    )


def coverage_of_classifier(runs: int, world: World = CALM, reference: World = CALM) -> float:
    """The share of true accuracies, areas and log losses inside their intervals, the lowest of the three."""
    return _lowest_coverage([_hits(seed, Task.BINARY, world, reference) for seed in range(runs)])


def coverage_of_regression(runs: int, world: World = CALM, reference: World = CALM) -> float:
    """The share of true absolute and squared errors inside their intervals, the lower of the two."""
    return _lowest_coverage([_hits(seed, Task.REGRESSION, world, reference) for seed in range(runs)])


def refusals(runs: int, task: Task, world: World) -> float:
    """The share of windows for which there is no estimate."""
    return float(np.mean([not _hits(seed, task, world, CALM) for seed in range(runs)]))


def trusted_unchecked(runs: int) -> float:
    """The share of estimates that are called trusted before a label has checked them."""
    return _trusted_share(runs, CALM, 0)


def trusted_concept_change(runs: int) -> float:
    """The share of estimates trusted after eight windows in which one label of seven is the other way round."""
    return _trusted_share(runs, World(flipped=1 / 7), 8)


def trusted_calm(runs: int) -> float:
    """The share of estimates trusted after eight windows of an unchanged world."""
    return _trusted_share(runs, CALM, 8)


def _trusted_share(runs: int, world: World, past: int) -> float:
    measures, trusted = monitored_metrics(Task.BINARY), 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, 3])
        estimator = _fit(seed, Task.BINARY, CALM)
        history = estimate_history(estimator, [binary_rows(rng, _WINDOW, world) for _ in range(past)], measures)
        estimate = estimated_performance(estimator, binary_rows(rng, _WINDOW, world), measures, history=history)
        trusted += estimate.trusted is True
    return trusted / runs


def _lowest_coverage(hits: list[dict[str, bool]]) -> float:
    """The lowest share of a metric, over the windows for which it was not refused."""
    names = {name for metrics in hits for name in metrics}
    shares = [np.mean([metrics[name] for metrics in hits if name in metrics]) for name in names]
    return float(min(shares, default=np.nan))


def _hits(seed: int, task: Task, world: World, reference: World) -> dict[str, bool]:
    """By metric, True where the interval of one new window holds the truth; empty where it is refused."""
    rng = np.random.default_rng([seed, 2])
    window = binary_rows(rng, _WINDOW, world) if task is Task.BINARY else regression_rows(rng, _WINDOW, world)
    measures = [measure for measure in monitored_metrics(task) if measure.name in _JUDGED]
    history = estimate_history(_fit(seed, task, reference), [window], measures, _ALPHA)
    return {name: interval.low <= truth <= interval.high for name, ((interval, truth),) in history.items()}


@lru_cache(maxsize=400)
def _fit(seed: int, task: Task, world: World) -> Estimator:
    rng = np.random.default_rng([seed, 1])
    if task is Task.BINARY:
        return fit_pape(binary_rows(rng, _REFERENCE, world))
    return fit_loss_model(regression_rows(rng, _REFERENCE, world))


def _features(rng: np.random.Generator, rows: int, world: World) -> Matrix64:
    x = np.column_stack([autoregressive(rng, rows, world.memory) for _ in range(_FEATURES)])
    if world.shift == "own":
        x[:, 0] += world.size
    elif world.shift == "unknown":
        x[:, 4] += world.size
    elif world.shift == "both":
        x[:, [0, 4]] += world.size
    elif world.shift == "many":
        x += world.size
    elif world.shift == "wide":
        x[:, [0, 4]] *= world.size
    elif world.shift == "correlation":
        x[:, 4] = world.size * x[:, 0] + np.sqrt(1 - world.size**2) * x[:, 4]
    return x


def _observed(task: Task, x: Matrix64, prediction: Vector, y: Vector) -> ObservedRows:
    rows, classes = len(y), 2 if task is Task.BINARY else 0
    columns = tuple(ObservedColumn(f"f{place}", "numeric") for place in range(x.shape[1]))
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        task, columns, x.astype(np.float32), prediction, y, np.arange(rows, dtype=float), unknown, classes
    )


_COVER, _RUNS = "coverage, lowest metric", 150


def _case(name: str, stream: str, asked: str, measure: Callable[[int], float], before: str, runs: int = _RUNS) -> Case:
    return Case(f"estimates-{name}", "estimates", stream, _COVER, asked, runs, measure, before)


def _classifier(name: str, stream: str, before: str, world: World, reference: World = CALM) -> Case:
    return _case(name, stream, ">= .90", partial(coverage_of_classifier, world=world, reference=reference), before)


def _regression(name: str, stream: str, before: str, world: World, reference: World = CALM) -> Case:
    measure = partial(coverage_of_regression, world=world, reference=reference)
    return _case(f"loss-{name}", stream, ">= .90", measure, before, 40)


_AR = World(memory=0.9)
_HEAVY = World(is_heavy=True)
CASES = [
    _classifier("none", "no shift", ".953", CALM),
    _classifier("own", "feature of the score +1 sd", ".880", World("own")),
    _classifier("unknown", "feature outside of the score +1 sd", ".853", World("unknown")),
    _classifier("both", "both of these +.8 sd", ".613", World("both", 0.8)),
    _classifier("many", "all eight features +.3 sd", ".967", World("many", 0.3)),
    _classifier("wide", "spread of two features x 1.3", ".727", World("wide", 1.3)),
    _classifier("correlation", "correlation 0 -> .7", ".073", World("correlation", 0.7)),
    _classifier("ar9", "rows AR .9", ".953", _AR, _AR),
    Case(
        "estimates-beyond",
        "estimates",
        "feature of the score +4 sd",
        "share refused",
        ">= .99",
        50,
        partial(refusals, task=Task.BINARY, world=World("own", 4.0)),
        "0",
    ),
    Case(
        "estimates-refused-none",
        "estimates",
        "no shift",
        "share refused",
        "<= .01",
        _RUNS,
        partial(refusals, task=Task.BINARY, world=CALM),
        "0",
    ),
    _case(
        "concept",
        "one label of seven flips",
        "none: not visible",
        partial(coverage_of_classifier, world=World(flipped=1 / 7)),
        "0",
        50,
    ),
    Case("estimates-unchecked", "estimates", "no label yet", "share trusted", "0", 20, trusted_unchecked, "1"),
    Case(
        "estimates-checked", "estimates", "8 windows with labels", "share trusted", ">= .90", 40, trusted_calm, ".975"
    ),
    Case(
        "estimates-checked-concept",
        "estimates",
        "8 windows, one label of seven flips",
        "share trusted",
        "<= .05",
        40,
        trusted_concept_change,
        "0",
    ),
    _regression("none", "no shift", ".900", CALM),
    _regression("own", "feature of the score +1 sd", ".650", World("own")),
    _regression("unknown", "feature outside of the score +1 sd", ".667", World("unknown")),
    _regression("heavy", "errors of t, 3 degrees", ".82-.98", _HEAVY, _HEAVY),
    _regression("heavy-own", "errors of t, feature +.7 sd", "", World("own", 0.7, is_heavy=True), _HEAVY),
    Case(
        "estimates-loss-beyond",
        "estimates",
        "feature of the score +4 sd",
        "share refused",
        ">= .99",
        10,
        partial(refusals, task=Task.REGRESSION, world=World("own", 4.0)),
        "0",
    ),
    _case(
        "loss-noise",
        "noise x 1.5",
        "none: not visible",
        partial(coverage_of_regression, world=World(noise=1.5)),
        ".00-.04",
        20,
    ),
]
