"""What a search is worth: out-of-fold predictions with what each fold's own search found, beside those without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from optagent.analysis.bootstrap import Resampling, paired_interval
from optagent.arrays import Prediction, Rows
from optagent.domain.study import Interval
from optagent.errors import Infeasible, InvalidData
from optagent.features.context import FeatureSearchContext
from optagent.features.fit import fit_plan
from optagent.features.keep import KeptSteps
from optagent.features.refits import PlainFits
from optagent.features.searches import FeatureSearch
from optagent.features.shadow_features import permutation_importance
from optagent.training.problem import Fold
from optagent.training.transform import transformed

_IMPORTANCE_ROWS = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class NestedResult:
    """Both predictions on the rows of the folds that could be searched, and what a feature is worth, by fold."""

    rows: Rows
    plain: Prediction
    engineered: Prediction
    importances: Mapping[str, float]


def judged(
    work: FeatureSearchContext, fits: PlainFits, searches: Sequence[FeatureSearch], found: Sequence[KeptSteps]
) -> NestedResult | str:
    """The folds' own finds at work; a text says why it could not be told."""
    rows, plain, engineered = [], [], []
    worth: dict[str, list[float]] = {}
    for search, chosen in zip(searches, found, strict=True):
        if search.fold is None:
            continue
        if work.late():
            return "the time was up before every fold was judged"
        fold = work.problem.folds[search.fold]
        try:
            before = fits.trained_on(fold.train)[0][fold.valid]
            after = _with_features(work, fold, chosen, worth) if chosen.kept or chosen.idle else before
        except Infeasible as error:
            return f"fold {search.fold + 1} cannot be trained: {error}"
        rows.append(fold.valid)
        plain.append(before)
        engineered.append(after)
    if not rows:
        return "no fold has enough rows before it to search in, and none can judge"
    mean = {name: float(np.mean(values)) for name, values in worth.items()}
    return NestedResult(np.concatenate(rows), np.concatenate(plain), np.concatenate(engineered), mean)


def improvement(work: FeatureSearchContext, found: NestedResult) -> Interval:
    """The paired interval; raises InvalidData where the metric has none on these rows."""
    metric, y = work.metric, work.problem.data.y[found.rows]
    return paired_interval(
        metric.score,
        metric.maximize,
        y,
        found.engineered,
        found.plain,
        work.rules.alpha,
        _drawn(work.how, found.rows),
        metric.resampled,
    )


def _drawn(how: Resampling, rows: Rows) -> Resampling:
    return how if how.groups is None else replace(how, groups=how.groups[rows])


def _with_features(
    work: FeatureSearchContext, fold: Fold, chosen: KeptSteps, worth: dict[str, list[float]]
) -> Prediction:
    data = work.problem.data
    made = transformed(fit_plan(data, tuple(chosen.kept), fold.train, chosen.idle), data)
    prediction, model = work.learner.train(made, fold)
    thin = fold.valid[:: -(-len(fold.valid) // _IMPORTANCE_ROWS)]
    columns = [index for index, name in enumerate(made.names) if name not in data.names]
    try:
        gains = permutation_importance(model, made.x_of(thin), data.y[thin], work.metric, columns, seed=work.seed)
    except InvalidData:  # such as an AUC on rows of one class
        return prediction
    for column, gain in zip(columns, gains.tolist(), strict=True):
        worth.setdefault(made.names[column], []).append(gain)
    return prediction
