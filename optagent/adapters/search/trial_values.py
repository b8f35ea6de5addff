"""What a trial is worth, higher is better: complete, stopped early, failed, or judged by several objectives."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

MEASURED = "measured"
"""The user attribute with the objectives at each rung, `{"3": [0.7, 2.1]}`: Optuna itself keeps those of one only."""

Values = NDArray[np.float64]
Curve = dict[int, Values]
_CHEBYSHEV_REST = 0.05


def values_of(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], rng: np.random.Generator) -> Values:
    """One value a trial; NaN where nothing is known of it: pending, failed, or its score is not a number.

    A trial that was stopped early has the value that its last rung makes likely. Several objectives become one by
    weights drawn from `rng` (augmented Chebyshev; ParEGO, Knowles 2006).
    """
    signs = np.array([1.0 if direction == StudyDirection.MAXIMIZE else -1.0 for direction in directions])
    final = np.array([_final(trial, len(signs)) for trial in trials]).reshape(-1, len(signs)) * signs
    final = _with_stopped(trials, final, signs)
    return final[:, 0] if len(signs) == 1 else _scalarised(final, rng)


def _final(trial: FrozenTrial, count: int) -> Values:
    if trial.state == TrialState.COMPLETE and np.all(np.isfinite(trial.values)):
        return np.array(trial.values)
    return np.full(count, np.nan)


def _with_stopped(trials: Sequence[FrozenTrial], final: Values, signs: Values) -> Values:
    """A stopped trial's last measurement, plus the median gain of those that went on from there, rung by rung."""
    if not any(trial.state == TrialState.PRUNED for trial in trials):
        return final
    curves = [_curve(trial, signs) for trial in trials]
    stopped = {
        index: max(curve)
        for index, (trial, curve) in enumerate(zip(trials, curves, strict=True))
        if trial.state == TrialState.PRUNED and curve
    }
    likely = final.copy()
    gain = np.zeros(len(signs))
    later = {index: value for index, value in enumerate(final) if np.isfinite(value[0])}
    for rung in sorted(set(stopped.values()), reverse=True):
        at_rung = {index: curve[rung] for index, curve in enumerate(curves) if rung in curve}
        went_on = [later[index] - at_rung[index] for index in at_rung.keys() & later.keys()]
        gain = gain + (np.median(went_on, axis=0) if went_on else 0.0)
        for index, last in stopped.items():
            if last == rung:
                likely[index] = at_rung[index] + gain
        later = at_rung
    return likely


def _curve(trial: FrozenTrial, signs: Values) -> Curve:
    """What was measured at each rung; measurements that are not numbers are left out."""
    if len(signs) == 1:
        found = {rung: np.array([value]) for rung, value in trial.intermediate_values.items()}
    else:
        found = {
            int(rung): np.array(values) for rung, values in json.loads(trial.user_attrs.get(MEASURED, "{}")).items()
        }
    return {
        rung: values * signs
        for rung, values in found.items()
        if values.shape == signs.shape and np.all(np.isfinite(values))
    }


def _scalarised(objectives: Values, rng: np.random.Generator) -> Values:
    weights = rng.dirichlet(np.ones(objectives.shape[1]))
    known = objectives[np.isfinite(objectives[:, 0])]
    if not len(known):
        return objectives[:, 0]
    high = known.max(axis=0)
    spread = high - np.quantile(known, 0.1, axis=0)
    regret = weights * (high - objectives) / np.where(spread > 0, spread, 1.0)
    worth: Values = -(regret.max(axis=1) + _CHEBYSHEV_REST * regret.sum(axis=1))
    return worth
