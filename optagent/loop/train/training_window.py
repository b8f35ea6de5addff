"""Windows: how far back the next version learns from, chosen out of fold on the newest rows before the holdout."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optagent.arrays import Rows, Vector
from optagent.domain.duration import seconds
from optagent.errors import Infeasible, InvalidData, InvalidRequest
from optagent.loop.train.prepare import PreparedRows, digest_of
from optagent.training.families.registry import family_named
from optagent.training.folds import make_folds, newest_folds
from optagent.training.metrics import Metric
from optagent.training.problem import Data, Fold, Problem
from optagent.training.recipe import Recipe

_SLIDING = (0.5, 0.25, 0.125)  # of the rows that there are before a fold
_HALF_LIFE = 0.25
_LEAST_ROWS = 500
_LEAST_JUDGED = 200
_JUDGED = 0.12  # of the rows, the newest: what was best long ago says little about now
_JUDGED_FOLDS = 2  # of these: nor is a model asked far beyond what it has learned from
_WORTH = 0.01  # of the score: less is no reason to forget rows


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """The window by name, its rows among the development rows, their weights where they are not equal, and scores.

    A window of time has a `start`, from which it holds all rows, those of the holdout too.
    """

    name: str
    rows: Rows
    weight: Vector | None
    scores: dict[str, float]
    start: float | None = None


Rule = Callable[[Rows, Vector], tuple[Rows, Vector | None]]
"""From candidates, the oldest first, and their times: which to learn from, and by what weights."""


def rules(changed_at: float | None = None) -> dict[str, Rule]:
    """The ways to look back, by name; `changed_at` (in the unit of the times) is when something was seen to change."""
    found: dict[str, Rule] = {"expanding": lambda rows, time: (rows, None)}
    for share in _SLIDING:
        found[f"newest {share:.0%}"] = lambda rows, time, share=share: (rows[-max(1, round(len(rows) * share)) :], None)  # type: ignore[misc]
    found["weighted"] = lambda rows, time: (rows, _decaying(len(rows)))
    if changed_at is not None:
        found["since the change"] = _since(changed_at)
    return found


def choose_window(
    prepared: PreparedRows,
    recipe: Recipe,
    metric: Metric,
    asked: str = "auto",
    changed_at: float | None = None,
    seed: int = 0,
) -> TrainingWindow:
    """The window whose model scores best on the newest rows; all rows unless another is better by 1 % of the score.

    Every window is judged on the same validation rows, which come after all that it learns from. Rows without an order
    have no window. Raises InvalidData where the window asked for leaves too few rows.
    """
    known = rules(changed_at)
    rows = np.arange(len(prepared.problem.data), dtype=np.int64)
    if prepared.dev_time is None:
        return TrainingWindow("expanding", rows, None, {})
    if asked != "auto":
        return _asked(asked, prepared, changed_at)
    problem = Problem(recipe.problem(prepared.problem).data, _judged_folds(prepared, rows))
    scores: dict[str, float] = {}
    for name, rule in known.items():
        score = _score(problem, prepared.dev_time, rule, recipe, metric, seed)
        if score is not None:
            scores[name] = score
    best = _best(scores, metric.maximize)
    return replace(window_named(best, prepared, changed_at), scores=scores)


def restricted(prepared: PreparedRows, chosen: TrainingWindow, seed: int = 0) -> PreparedRows:
    """The same holdout, with the rows of the window to learn from and folds of these.

    Raises InvalidData where the window is too small for the model's folds.
    """
    data, rows = prepared.problem.data, np.sort(chosen.rows)
    if chosen.weight is None and len(rows) == len(data):
        return prepared
    weight = None if data.weight is None else data.weight[rows]
    if chosen.weight is not None:
        own = np.empty(len(data))
        own[chosen.rows] = chosen.weight
        weight = own[rows] if weight is None else weight * own[rows]
    kept = replace(data, x=np.ascontiguousarray(data.x[rows]), y=data.y[rows], weight=weight)
    time = None if prepared.dev_time is None else prepared.dev_time[rows]
    folds = make_folds(time, kept.y, prepared.spec, np.arange(len(rows)), seed=seed)
    return replace(prepared, problem=Problem(kept, folds), dev_time=time, digest=digest_of(kept))


def window_named(name: str, prepared: PreparedRows, changed_at: float | None = None) -> TrainingWindow:
    """The window by the name that it was chosen or asked for by; a duration means the rows of so long before the
    newest one. Raises InvalidData where these rows have no such window."""
    if prepared.dev_time is None or prepared.holdout_time is None:
        raise InvalidData(f"window {name!r}: the rows have no order")
    long = {"sliding": f"newest {_SLIDING[0]:.0%}", "since_change": "since the change"}.get(name, name)
    start = changed_at if long == "since the change" else None
    rule = rules(changed_at).get(long)
    if rule is None:
        try:
            start = max(prepared.dev_time.max(), prepared.holdout_time.max()) - seconds(name)
        except InvalidRequest:
            raise InvalidData(f"window {name!r}: nothing was seen to change since the champion was trained") from None
        rule = _since(start)
    order = np.argsort(prepared.dev_time, kind="stable").astype(np.int64)
    rows, weight = rule(order, prepared.dev_time[order])
    return TrainingWindow(name, rows, weight, {}, start)


def _asked(asked: str, prepared: PreparedRows, changed_at: float | None) -> TrainingWindow:
    chosen, left = window_named(asked, prepared, changed_at), 0
    if chosen.start is None:
        left = len(chosen.rows)
    elif prepared.holdout_time is not None:
        newest = len(chosen.rows) + int((prepared.holdout_time >= chosen.start).sum())
        left = round(newest * (1 - prepared.spec.holdout_fraction))
    if left < _LEAST_ROWS:
        raise InvalidData(f"window {asked!r}: {left:,} rows are left to learn from, {_LEAST_ROWS} are needed")
    return chosen


def _since(start: float) -> Rule:
    return lambda rows, time: (rows[time >= start], None)


def _judged_folds(prepared: PreparedRows, rows: Rows) -> tuple[Fold, ...]:
    """The newest rows, walk-forward."""
    assert prepared.dev_time is not None
    size = min(max(round(len(rows) * _JUDGED), _LEAST_JUDGED), len(rows) // 2)
    return newest_folds(prepared.dev_time, prepared.spec, rows, _JUDGED_FOLDS, size)


def _score(problem: Problem, time: Vector, rule: Rule, recipe: Recipe, metric: Metric, seed: int) -> float | None:
    """The mean over the folds; None where the rule leaves too little for one of them."""
    found = []
    for fold in problem.folds:
        order = fold.train[np.argsort(time[fold.train], kind="stable")]
        rows, weight = rule(order, time[order])
        if len(rows) < _LEAST_ROWS:
            return None
        try:
            family = family_named(recipe.family)
            fit = family.start(recipe.params, _weighted(problem.data, rows, weight), rows, fold.valid, seed=seed)
            fit.advance(recipe.rounds)
            found.append(metric.score(problem.data.y[fold.valid], fit.predict_valid()))
        except (Infeasible, InvalidData):
            return None
    mean = float(np.mean(found))
    return mean if np.isfinite(mean) else None  # a fold of one class has no AUC


def _weighted(data: Data, rows: Rows, weight: Vector | None) -> Data:
    if weight is None:
        return data
    whole = np.ones(len(data)) if data.weight is None else data.weight.copy()
    whole[rows] *= weight
    return replace(data, weight=whole)


def _decaying(count: int) -> Vector:
    """The newest row counts twice as much as one a quarter of all rows older; 1 in the mean."""
    weight = np.exp2(-(np.arange(count)[::-1] / count) / _HALF_LIFE)
    return np.asarray(weight / weight.mean(), dtype=np.float64)


def _best(scores: dict[str, float], maximize: bool) -> str:
    if "expanding" not in scores:
        return "expanding"
    sign = 1 if maximize else -1
    best = max(scores, key=lambda name: sign * scores[name])
    gain = sign * (scores[best] - scores["expanding"])
    return best if gain > _WORTH * abs(scores["expanding"]) else "expanding"
