"""Nested test of a feature search: out-of-fold predictions with the features of each fold's own search, beside
predictions without any."""

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
from optagent.training.label_encoding import encode_for_fold
from optagent.training.problem import Fold, average_repeats
from optagent.training.transform import transform_data

_IMPORTANCE_ROWS = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class NestedResult:
    """Both predictions on the rows of the folds that could be searched, and the mean importance of each feature over
    the folds. A row that several folds validate comes once, with the mean of their predictions."""

    rows: Rows
    plain: Prediction
    engineered: Prediction
    importances: Mapping[str, float]


def run_nested_test(
    context: FeatureSearchContext, fits: PlainFits, searches: Sequence[FeatureSearch], selections: Sequence[KeptSteps]
) -> NestedResult | str:
    """The result over all folds, each with the features of its own search; where there is none, a text says why."""
    rows, plain, engineered = [], [], []
    worth: dict[str, list[float]] = {}
    for search, selection in zip(searches, selections, strict=True):
        if search.fold is None:
            continue
        if context.late():
            return "the time was up before every fold was judged"
        fold = context.problem.folds[search.fold]
        try:
            before = fits.train_on(fold.train)[0][fold.valid]
            after = (
                _predict_with_features(context, fold, selection, worth) if selection.kept or selection.idle else before
            )
        except Infeasible as error:
            return f"fold {search.fold + 1} cannot be trained: {error}"
        rows.append(fold.valid)
        plain.append(before)
        engineered.append(after)
    if not rows:
        return "no fold has enough rows before it to search in, and none can judge"
    mean = {name: float(np.mean(values)) for name, values in worth.items()}
    judged, plain_mean = average_repeats(np.concatenate(rows), np.concatenate(plain))
    _, engineered_mean = average_repeats(np.concatenate(rows), np.concatenate(engineered))
    return NestedResult(judged, plain_mean, engineered_mean, mean)


def improvement(context: FeatureSearchContext, result: NestedResult) -> Interval:
    """The paired interval of the improvement; raises InvalidData where the metric has none on these rows."""
    metric, y = context.metric, context.problem.data.y[result.rows]
    return paired_interval(
        metric.score,
        metric.maximize,
        y,
        result.engineered,
        result.plain,
        context.rules.alpha,
        _resampling_of_rows(context.how, result.rows),
        metric.resampled,
    )


def _resampling_of_rows(how: Resampling, rows: Rows) -> Resampling:
    return how if how.groups is None else replace(how, groups=how.groups[rows])


def _predict_with_features(
    context: FeatureSearchContext, fold: Fold, selection: KeptSteps, worth: dict[str, list[float]]
) -> Prediction:
    data = context.problem.data
    plan = fit_plan(data, tuple(selection.kept), fold.train, selection.idle)
    transformed_data = encode_for_fold(transform_data(plan, data), fold.train)
    prediction, model = context.learner.train(transformed_data, fold)
    sample = fold.valid[:: -(-len(fold.valid) // _IMPORTANCE_ROWS)]
    columns = [index for index, name in enumerate(transformed_data.names) if name not in data.names]
    try:
        gains = permutation_importance(
            model, transformed_data.x_of(sample), data.y[sample], context.metric, columns, seed=context.seed
        )
    except InvalidData:  # such as an AUC on rows of one class
        return prediction
    for column, gain in zip(columns, gains.tolist(), strict=True):
        worth.setdefault(transformed_data.names[column], []).append(gain)
    return prediction
