"""Trial values: one number a trial, the higher the better, also for stopped trials and for several objectives."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

MEASURED = "measured"
"""The user attribute with the objectives at each rung, `{"3": [0.7, 2.1]}`: Optuna itself keeps only one objective."""

Values = NDArray[np.float64]
Curve = dict[int, Values]
_CHEBYSHEV_REST = 0.05


def values_of(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], rng: np.random.Generator) -> Values:
    """One value a trial; NaN for a trial that is pending, failed, or has a score that is not a number.

    A trial that was stopped early gets the value that its last rung makes likely. Several objectives become one by
    weights drawn from `rng` (augmented Chebyshev; ParEGO, Knowles 2006).
    """
    signs = np.array([1.0 if direction == StudyDirection.MAXIMIZE else -1.0 for direction in directions])
    final = np.array([_final_values(trial, len(signs)) for trial in trials]).reshape(-1, len(signs)) * signs
    final = _estimate_stopped(trials, final, signs)
    return final[:, 0] if len(signs) == 1 else _scalarise(final, rng)


def _final_values(trial: FrozenTrial, count: int) -> Values:
    if trial.state == TrialState.COMPLETE and np.all(np.isfinite(trial.values)):
        return np.array(trial.values)
    return np.full(count, np.nan)


def _estimate_stopped(trials: Sequence[FrozenTrial], final: Values, signs: Values) -> Values:
    """Adds to a stopped trial's last measurement the median gains of the trials that went on, rung by rung."""
    if not any(trial.state == TrialState.PRUNED for trial in trials):
        return final
    curves = [_learning_curve(trial, signs) for trial in trials]
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
        gains = [later[index] - at_rung[index] for index in at_rung.keys() & later.keys()]
        gain = gain + (np.median(gains, axis=0) if gains else 0.0)
        for index, last in stopped.items():
            if last == rung:
                likely[index] = at_rung[index] + gain
        later = at_rung
    return likely


def _learning_curve(trial: FrozenTrial, signs: Values) -> Curve:
    """The signed objectives at each rung; measurements that are not finite numbers are left out."""
    if len(signs) == 1:
        measurements = {rung: np.array([value]) for rung, value in trial.intermediate_values.items()}
    else:
        measurements = {
            int(rung): np.array(values) for rung, values in json.loads(trial.user_attrs.get(MEASURED, "{}")).items()
        }
    return {
        rung: values * signs
        for rung, values in measurements.items()
        if values.shape == signs.shape and np.all(np.isfinite(values))
    }


def _scalarise(objectives: Values, rng: np.random.Generator) -> Values:
    weights = rng.dirichlet(np.ones(objectives.shape[1]))
    finite = objectives[np.isfinite(objectives[:, 0])]
    if not len(finite):
        return objectives[:, 0]
    high = finite.max(axis=0)
    spread = high - np.quantile(finite, 0.1, axis=0)
    regret = weights * (high - objectives) / np.where(spread > 0, spread, 1.0)
    value: Values = -(regret.max(axis=1) + _CHEBYSHEV_REST * regret.sum(axis=1))
    return value
