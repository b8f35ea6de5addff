"""Bootstrap intervals, training windows and entities: coverage, rows left out for nothing, and scores too good to hold.

Intervals are at alpha .05, two-sided, of 300 resamples: .025 is asked of each side. The share of misses is the mean of
both sides, or that of the worse side where a series is skewed.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from optagent.analysis.bootstrap import Resampling, bootstrap_interval, paired_interval
from optagent.arrays import Codes
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.study import Interval
from optagent.loop.train.prepare import prepare_table
from optagent.loop.train.training_rows import TrainingRows, prepare_window
from optagent.loop.train.training_window import TrainingWindow, choose_window, window_named
from optagent.training.encoding import load_data
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS, Metric
from optagent.training.recipe import Recipe, train_recipe
from tests.performance.decisions.case import Case
from tests.simulation.streams import (
    Series,
    autoregressive,
    bursts,
    daily_cycle,
    day_effects,
    request_times,
    weekly_cycle,
)

Draw = Callable[[np.random.Generator, int], Series]

ALPHA = 0.05
_RESAMPLES = 300
BRIER, AUC, LOG_LOSS = METRICS["brier"], METRICS["auc"], METRICS["log_loss"]


def iid(rng: np.random.Generator, rows: int) -> Series:
    return rng.standard_normal(rows)


def days(rng: np.random.Generator, rows: int, a_day: float, share: float, phi: float = 0.0) -> Series:
    """Noise and an effect of the day, `share` of the variance."""
    times = request_times(rows, a_day)
    return np.sqrt(1 - share) * iid(rng, rows) + np.sqrt(share) * day_effects(rng, times, phi)


def cycles(rng: np.random.Generator, rows: int, a_day: float, cycle: Callable[[Series], Series]) -> Series:
    """Noise and a cycle of the same variance, whose mean on these rows is taken from it."""
    wave = cycle(request_times(rows, a_day))
    return iid(rng, rows) + wave - wave.mean()


def paused(rng: np.random.Generator, rows: int) -> Series:
    """Rows of which .05 lie in bursts of 10, in which the loss is higher."""
    return iid(rng, rows) + 3 * (bursts(rng, rows, 0.05, 10.0) - 0.05)


def shares_by_day(rng: np.random.Generator, rows: int) -> Series:
    """Five shares a day with a common factor, half of the variance, whose days hang together."""
    return np.sqrt(0.5) * (iid(rng, rows) + np.repeat(autoregressive(rng, rows // 5, 0.6), 5))


def customers(rng: np.random.Generator, rows: int) -> Series:
    """Ten rows of each customer, with half of the variance in common."""
    return np.sqrt(0.5) * (iid(rng, rows) + np.repeat(iid(rng, rows // 10), 10))


def count_misses(runs: int, draw: Draw, rows: int, group: int = 1, ordered: bool = True) -> tuple[float, float]:
    """The shares of intervals of a mean above and below the true one, 0; each `group` rows are drawn together."""
    above = below = 0
    groups = np.arange(rows) // group if group > 1 else None
    for seed in range(runs):
        interval = _interval_of_mean(draw(np.random.default_rng([seed, rows]), rows), seed, groups, ordered)
        above, below = above + (interval.low > 0), below + (interval.high < 0)
    return above / runs, below / runs


def relative_width(runs: int, rows: int = 1_300) -> float:
    """The mean width of intervals on rows without dependence, as a multiple of the exact one."""
    intervals = [_interval_of_mean(iid(np.random.default_rng([seed, rows]), rows), seed) for seed in range(runs)]
    return float(np.mean([each.high - each.low for each in intervals])) / (2 * 1.96 / np.sqrt(rows))


def _interval_of_mean(values: Series, seed: int, groups: Codes | None = None, ordered: bool = True) -> Interval:
    how = Resampling(_RESAMPLES, seed, time_ordered=ordered, groups=groups)
    return bootstrap_interval(_mean, values, values, ALPHA, how, _resampled_mean)


def paired_intervals(runs: int, metric: Metric, gain: float, phi: float = 0.0, rows: int = 1_300) -> list[Interval]:
    """Intervals of the improvement of a model whose logit errs by so much less; errors have a memory of `phi`."""
    intervals = []
    for seed in range(runs):
        rng = np.random.default_rng([seed, 4])
        truth = rng.standard_normal(rows)
        y = (rng.random(rows) < _logistic(4 * truth)).astype(np.float64)
        errors = [2 * autoregressive(rng, rows, phi) for _ in range(2)]
        candidate, baseline = (_logistic(2 * truth + errors[0] * (1 - gain)), _logistic(2 * truth + errors[1]))
        how = Resampling(_RESAMPLES, seed, time_ordered=True)
        intervals.append(
            paired_interval(metric.score, metric.maximize, y, candidate, baseline, ALPHA, how, metric.resampled)
        )
    return intervals


def paired_misses(runs: int, metric: Metric, phi: float) -> float:
    """The share a side of two equally good models of which one is shown to be better."""
    return float(np.mean([each.low > 0 or each.high < 0 for each in paired_intervals(runs, metric, 0.0, phi)])) / 2


def paired_power(runs: int, gain: float) -> float:
    return float(np.mean([each.low > 0 for each in paired_intervals(runs, BRIER, gain)]))


def _logistic(logit: Series) -> Series:
    return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float64)


def _mean(_: Series, values: Series) -> float:
    return float(values.mean())


def _resampled_mean(_: Series, values: Series) -> Callable[[Series], Series]:
    return lambda counts: counts @ values / counts.sum(axis=1)


_ORDERED = ModelSpec("m", Task.BINARY, FileSource("rows"), "label", rows_in_time_order=True, folds=2)
_TREES = Recipe("trees", "lightgbm", {**family_named("lightgbm").defaults(Task.BINARY), "num_leaves": 15}, 40)


def labelled_rows(rng: np.random.Generator, rows: int, turned_at: int | None = None, strength: float = 1.0) -> pa.Table:
    """Five columns of noise; the label depends on the first, and from row `turned_at` on upon the second instead."""
    x = rng.normal(size=(rows, 5))
    turned = np.arange(rows) >= (rows if turned_at is None else turned_at)
    signal = 0.9 * np.where(turned, x[:, 1], x[:, 0]) + 0.4 * x[:, 2] - 0.3 * x[:, 3] * x[:, 4]
    signal = strength * signal + rng.logistic(size=rows)
    columns = {f"x{place}": x[:, place] for place in range(x.shape[1])}
    return pa.table({**columns, "label": np.where(signal > 0, "yes", "no")})


def chosen_window(seed: int, rows: int, turned_at: int | None = None, strength: float = 1.0) -> TrainingWindow:
    """The window that the loop chooses for trees on these rows, by AUC."""
    table = labelled_rows(np.random.default_rng([seed, 5]), rows, turned_at, strength)
    return choose_window(TrainingRows(_ORDERED, table).prepare(0), _TREES, AUC)


def rows_left_out(runs: int, rows: int, turned_at: int | None = None, strength: float = 1.0) -> float:
    """The share of runs in which another window than all rows is chosen."""
    return float(np.mean([chosen_window(seed, rows, turned_at, strength).name != "expanding" for seed in range(runs)]))


def loss_by_choice(runs: int, rows: int, turned_at: int | None = None, strength: float = 1.0) -> float:
    """The mean log loss on the next 2,000 rows after learning from the chosen window, as a share beyond all rows'."""
    excess = 0.0
    for seed in range(runs):
        table = labelled_rows(np.random.default_rng([seed, 5]), rows + 2_000, turned_at, strength)
        known = TrainingRows(_ORDERED, table.slice(0, rows))
        name = choose_window(known.prepare(0), _TREES, AUC).name
        if name != "expanding":
            chosen, whole = (_loss_after(known, each, table.slice(rows)) for each in (name, "expanding"))
            excess += chosen / whole - 1
    return excess / runs


def _loss_after(known: TrainingRows, name: str, after: pa.Table) -> float:
    prepared = known.prepare(0)
    window = prepare_window(known, prepared, window_named(name, prepared), 0)
    data = load_data(after, window.schema)
    return LOG_LOSS.score(data.y, train_recipe(window.problem, _TREES).predict(data.x))


def customer_rows(rng: np.random.Generator, customers: int, each: int) -> pa.Table:
    """Rows of customers who are told apart by two columns, and whose labels hang together beyond what these explain."""
    customer = np.repeat(np.arange(customers), each)
    place = rng.normal(size=(customers, 2))
    habit = rng.normal(0, 2, customers)[customer]
    x = place[customer] + rng.normal(0, 0.02, size=(customers * each, 2))
    label = habit + rng.logistic(size=customers * each) > 0
    order = rng.permutation(len(customer))
    columns = {"a": x[order, 0], "b": x[order, 1], "customer": customer[order], "label": label[order].astype(np.int64)}
    return pa.table(columns)


def promised_skill(runs: int, entity: str | None) -> float:
    """The mean holdout AUC of trees, where rows of new customers can only be guessed: .5."""
    named = {} if entity is None else {"entity": entity}
    spec = ModelSpec("m", Task.BINARY, FileSource("rows"), "label", ignore=("customer",), folds=2, **named)
    scores = []
    for seed in range(runs):
        prepared = prepare_table(customer_rows(np.random.default_rng([seed, 6]), 100, 15), spec, seed)
        prediction = train_recipe(prepared.problem, _TREES).predict(prepared.holdout.x)
        scores.append(AUC.score(prepared.holdout.y, prediction))
    return float(np.mean(scores))


def _misses(draw: Draw, rows: int, group: int = 1, ordered: bool = True, worse: bool = False) -> Callable[[int], float]:
    summary = max if worse else np.mean
    return lambda runs: float(summary(count_misses(runs, draw, rows, group, ordered)))


def _interval(name: str, stream: str, before: str, measure: Callable[[int], float]) -> Case:
    return Case(f"interval-{name}", "bootstrap interval", stream, "misses a side", "<= .025", 150, measure, before)


AR6, AR9 = (partial(autoregressive, phi=phi) for phi in (0.6, 0.9))
DAYS, DAYS_AR5 = (partial(days, a_day=50, share=0.1, phi=phi) for phi in (0.0, 0.5))
DAILY, WEEKLY = partial(cycles, a_day=200, cycle=daily_cycle), partial(cycles, a_day=50, cycle=weekly_cycle)

_LEFT_OUT, _LOSS = "share that leaves out rows", "log loss beyond all rows'"
_WEAK = {"rows": 2_500, "strength": 0.25}
_TURNED = {"rows": 6_000, "turned_at": 4_200}


def _width_or_power(name: str, stream: str, unit: str, measure: Callable[[int], float], before: str) -> Case:
    return Case(f"interval-{name}", "bootstrap interval", stream, unit, "", 150, measure, before)


def _window(name: str, stream: str, unit: str, asked: str, measure: Callable[[int], float], before: str) -> Case:
    return Case(f"window-{name}", "training window", stream, unit, asked, 20, measure, before)


def _entity(entity: str | None, asked: str) -> Case:
    name, measure = "entity-none" if entity is None else "entity-named", partial(promised_skill, entity=entity)
    return Case(name, "entity", "100 customers of 15 rows, no skill", "AUC of the holdout", asked, 10, measure, ".774")


CASES = [
    _interval("iid-500", "i.i.d., 500 rows", ".030", _misses(iid, 500)),
    _interval("iid-1300", "i.i.d., 1,300 rows", ".010", _misses(iid, 1_300)),
    _interval("ar6", "AR(.6), 1,300 rows", ".027", _misses(AR6, 1_300)),
    _interval("ar9-500", "AR(.9), 500 rows", ".15", _misses(AR9, 500)),
    _interval("ar9-1300", "AR(.9), 1,300 rows", ".083", _misses(AR9, 1_300)),
    _interval("ar9-2000", "AR(.9), 2,000 rows", ".11", _misses(AR9, 2_000)),
    _interval("days", "40 days, .1 of variance", ".11", _misses(DAYS, 2_000)),
    _interval("days-ar5", "40 days of AR(.5), .1 of variance", ".23", _misses(DAYS_AR5, 2_000)),
    _interval("daily", "daily cycle, 10 days", ".000", _misses(DAILY, 2_000)),
    _interval("weekly", "weekly cycle, 40 days", ".000", _misses(WEEKLY, 2_000)),
    _interval("bursts", "10 bursts of 10 rows, worse side", ".16", _misses(paused, 2_000, worse=True)),
    _interval("shares", "260 days of 5 shares, AR(.6)", ".050", _misses(shares_by_day, 1_300, 5)),
    _interval("customers", "100 customers of 10 rows", ".017", _misses(customers, 1_000, 10, False)),
    _interval("paired", "AUC of two equals, AR(.9)", ".047", partial(paired_misses, metric=AUC, phi=0.9)),
    _width_or_power("width", "i.i.d., 1,300 rows", "width by the exact one", relative_width, ".98"),
    _width_or_power("power-10", "errors smaller by .1", "shown to be better", partial(paired_power, gain=0.1), ".30"),
    _width_or_power("power-20", "errors smaller by .2", "shown to be better", partial(paired_power, gain=0.2), ".79"),
    _window("false", "stationary, weak signal, 2,500 rows", _LEFT_OUT, "<= .1", partial(rows_left_out, **_WEAK), ".40"),
    _window("cost", "stationary, weak signal, 2,500 rows", _LOSS, "0", partial(loss_by_choice, **_WEAK), ".012"),
    _window(
        "power-2500",
        "newest half of another law",
        _LEFT_OUT,
        "",
        partial(rows_left_out, rows=2_500, turned_at=1_250),
        ".95",
    ),
    _window("power-6000", "newest .3 of another law", _LEFT_OUT, "", partial(rows_left_out, **_TURNED), "1.0"),
    _window("gain-6000", "newest .3 of another law", _LOSS, "< 0", partial(loss_by_choice, **_TURNED), "-.13"),
    _entity("customer", ".5"),
    _entity(None, "none: a leak"),
]
