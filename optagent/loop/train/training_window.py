"""Training window: the stretch of past rows to learn from, chosen out of fold on the newest rows before the holdout.

Rows are left out only on evidence: of some thousand rows that nothing happened to, the best of six windows on a few
hundred rows is often a short one by luck, and its model is several percent worse. So the shorter window's one-sided
paired interval against all rows must be wholly better. There is no correction for the number of windows: their models
are nearly alike, and where nothing happened a shorter one is worse by itself, so that all together keep about the risk
of one, while a correction would cost half of the power.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optagent.analysis.bootstrap import Resampling, paired_interval
from optagent.arrays import Prediction, Rows, Vector
from optagent.domain.duration import seconds
from optagent.errors import Infeasible, InvalidData, InvalidRequest
from optagent.loop.train.prepare import PreparedRows, digest_of
from optagent.training.families.registry import family_named
from optagent.training.folds import make_folds, newest_folds
from optagent.training.label_encoding import start_fit
from optagent.training.metrics import Metric
from optagent.training.problem import Data, Fold, Problem
from optagent.training.recipe import Recipe

_ALL = "expanding"
_SLIDING = (0.5, 0.25, 0.125)  # shares of the rows before a fold
_HALF_LIFE = 0.25
_LEAST_ROWS = 500
_LEAST_JUDGED = 200
_JUDGED = 0.12  # share of the rows, the newest: the window that was best long ago may not be the best one now
_JUDGED_FOLDS = 2  # parts of these rows, so that no model predicts far beyond the rows that it has learned from
_WORTH = 0.01  # share of the score: a smaller gain is no reason to leave out rows
_RISK = 0.1  # one-sided, of a window that is no better
_SLOW_RESAMPLES = 200  # for metrics that score each resample by itself


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """Name of a window, its rows among the development rows, their weights where they are not equal, and the scores.

    A window of time has a `start`, and holds all rows from it on, also those of the holdout.
    """

    name: str
    rows: Rows
    weight: Vector | None
    scores: dict[str, float]
    start: float | None = None


Rule = Callable[[Rows, Vector], tuple[Rows, Vector | None]]
"""Function from rows, the oldest first, and their times to the rows to learn from and their weights."""


def window_rules(changed_at: float | None = None) -> dict[str, Rule]:
    """The rules by name; `changed_at` (in the unit of the times) is the time at which a change was detected."""
    by_name: dict[str, Rule] = {_ALL: lambda rows, time: (rows, None)}
    for share in _SLIDING:
        by_name[f"newest {share:.0%}"] = (
            lambda rows, time, share=share: (  # type: ignore[misc]
                rows[-max(1, round(len(rows) * share)) :],
                None,
            )
        )
    by_name["weighted"] = lambda rows, time: (rows, _decaying_weights(len(rows)))
    if changed_at is not None:
        by_name["since the change"] = _since_rule(changed_at)
    return by_name


def choose_window(
    prepared: PreparedRows,
    recipe: Recipe,
    metric: Metric,
    asked: str = "auto",
    changed_at: float | None = None,
    seed: int = 0,
) -> TrainingWindow:
    """The window whose model scores best on the newest rows, of those that are shown to be better than all rows, and by
    1 % of the score; all rows where there is none.

    Every window is judged on the same validation rows, which come after all rows that it learns from. Rows without an
    order have no window. Raises InvalidData where a window that was asked for leaves too few rows.
    """
    rows = np.arange(len(prepared.problem.data), dtype=np.int64)
    if prepared.dev_time is None:
        return TrainingWindow(_ALL, rows, None, {})
    if asked != "auto":
        return _requested_window(asked, prepared, changed_at)
    problem = Problem(recipe.problem(prepared.problem).data, _judged_folds(prepared, rows))
    trials: dict[str, _Trial] = {}
    for name, rule in window_rules(changed_at).items():
        trial = _try_rule(problem, prepared.dev_time, rule, recipe, metric, seed)
        if trial is not None:
            trials[name] = trial
    best = _best_window(trials, problem, prepared.dev_time, metric, seed)
    scores = {name: trial.score for name, trial in trials.items()}
    return replace(window_named(best, prepared, changed_at), scores=scores)


def restrict_rows(prepared: PreparedRows, window: TrainingWindow, seed: int = 0) -> PreparedRows:
    """The same holdout, with the rows of the window as development rows and with folds of them.

    Raises InvalidData where the window is too small for the model's folds.
    """
    data, rows = prepared.problem.data, np.sort(window.rows)
    if window.weight is None and len(rows) == len(data):
        return prepared
    weight = None if data.weight is None else data.weight[rows]
    if window.weight is not None:
        window_weight = np.empty(len(data))
        window_weight[window.rows] = window.weight
        weight = window_weight[rows] if weight is None else weight * window_weight[rows]
    parts = None if data.parts is None else data.parts.select_rows(rows)
    window_data = replace(data, x=np.ascontiguousarray(data.x[rows]), y=data.y[rows], weight=weight, parts=parts)
    time = None if prepared.dev_time is None else prepared.dev_time[rows]
    entity = None if prepared.dev_entity is None else prepared.dev_entity[rows]
    folds = make_folds(time, window_data.y, prepared.spec, np.arange(len(rows)), seed=seed, entity=entity)
    return replace(
        prepared, problem=Problem(window_data, folds), dev_time=time, dev_entity=entity, digest=digest_of(window_data)
    )


def window_named(name: str, prepared: PreparedRows, changed_at: float | None = None) -> TrainingWindow:
    """The window of that name; a duration is the stretch of time that ends with the newest row.

    Raises InvalidData where these rows have no such window.
    """
    if prepared.dev_time is None or prepared.holdout_time is None:
        raise InvalidData(f"window {name!r}: the rows have no order")
    rule_name = {"sliding": f"newest {_SLIDING[0]:.0%}", "since_change": "since the change"}.get(name, name)
    start = changed_at if rule_name == "since the change" else None
    rule = window_rules(changed_at).get(rule_name)
    if rule is None:
        try:
            start = max(prepared.dev_time.max(), prepared.holdout_time.max()) - seconds(name)
        except InvalidRequest:
            raise InvalidData(f"window {name!r}: nothing was seen to change since the champion was trained") from None
        rule = _since_rule(start)
    order = np.argsort(prepared.dev_time, kind="stable").astype(np.int64)
    rows, weight = rule(order, prepared.dev_time[order])
    return TrainingWindow(name, rows, weight, {}, start)


def _requested_window(name: str, prepared: PreparedRows, changed_at: float | None) -> TrainingWindow:
    """The window of that name; raises InvalidData where too few rows are left for development."""
    window, count = window_named(name, prepared, changed_at), 0
    if window.start is None:
        count = len(window.rows)
    elif prepared.holdout_time is not None:
        newest = len(window.rows) + int((prepared.holdout_time >= window.start).sum())
        count = round(newest * (1 - prepared.spec.holdout_fraction))
    if count < _LEAST_ROWS:
        raise InvalidData(f"window {name!r}: {count:,} rows are left to learn from, {_LEAST_ROWS} are needed")
    return window


def _since_rule(start: float) -> Rule:
    return lambda rows, time: (rows[time >= start], None)


def _judged_folds(prepared: PreparedRows, rows: Rows) -> tuple[Fold, ...]:
    """Walk-forward folds that validate on the newest rows."""
    assert prepared.dev_time is not None
    size = min(max(round(len(rows) * _JUDGED), _LEAST_JUDGED), len(rows) // 2)
    return newest_folds(prepared.dev_time, prepared.spec, rows, _JUDGED_FOLDS, size, prepared.dev_entity)


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """The mean score of a rule over the folds, and its predictions of all their validation rows."""

    score: float
    prediction: Prediction


def _try_rule(problem: Problem, time: Vector, rule: Rule, recipe: Recipe, metric: Metric, seed: int) -> _Trial | None:
    """None where the rule leaves too few rows for a fold, or the metric is undefined on one."""
    scores, predictions = [], []
    for fold in problem.folds:
        order = fold.train[np.argsort(time[fold.train], kind="stable")]
        rows, weight = rule(order, time[order])
        if len(rows) < _LEAST_ROWS:
            return None
        try:
            family = family_named(recipe.family)
            data = _weigh_data(problem.data, rows, weight)
            fit = start_fit(family, recipe.params, data, rows, fold.valid, seed=seed)
            fit.advance(recipe.rounds)
            predictions.append(fit.predict_valid())
            scores.append(metric.score(problem.data.y[fold.valid], predictions[-1]))
        except (Infeasible, InvalidData):
            return None
    mean = float(np.mean(scores))
    return _Trial(mean, np.concatenate(predictions)) if np.isfinite(mean) else None  # a fold of one class has no AUC


def _weigh_data(data: Data, rows: Rows, weight: Vector | None) -> Data:
    if weight is None:
        return data
    weights = np.ones(len(data)) if data.weight is None else data.weight.copy()
    weights[rows] *= weight
    return replace(data, weight=weights)


def _decaying_weights(count: int) -> Vector:
    """(count,) weights with mean 1, the newest row last: they halve with every quarter of all rows."""
    weight = np.exp2(-(np.arange(count)[::-1] / count) / _HALF_LIFE)
    return np.asarray(weight / weight.mean(), dtype=np.float64)


def _best_window(trials: dict[str, _Trial], problem: Problem, time: Vector, metric: Metric, seed: int) -> str:
    whole = trials.get(_ALL)
    if whole is None:
        return _ALL
    sign = 1 if metric.maximize else -1
    judged = np.concatenate([fold.valid for fold in problem.folds])
    resamples = _SLOW_RESAMPLES if metric.resampled is None else 1000
    how = Resampling(resamples, seed, time_ordered=True, groups=time[judged])
    y = problem.data.y[judged]

    def is_better(trial: _Trial) -> bool:
        if sign * (trial.score - whole.score) <= _WORTH * abs(whole.score):
            return False
        predictions = trial.prediction, whole.prediction
        try:
            interval = paired_interval(metric.score, metric.maximize, y, *predictions, 2 * _RISK, how, metric.resampled)
        except InvalidData:  # undefined on too many resamples
            return False
        return interval.low > 0

    better = [name for name, trial in trials.items() if name != _ALL and is_better(trial)]
    return max(better, key=lambda name: sign * trials[name].score, default=_ALL)
