"""Column preprocessing of scikit-learn families: numbers as they are or scaled, levels one-hot or by mean target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.training.problem import Data

if TYPE_CHECKING:
    from sklearn.compose import ColumnTransformer

ONE_HOT_LEVELS = 10
_TARGETS = {Task.BINARY: "binary", Task.MULTICLASS: "multiclass", Task.REGRESSION: "continuous"}

Step = tuple[str, Any, list[int]]


def tree_columns(data: Data, y: Vector, seed: int) -> ColumnTransformer:
    """The preprocessing for trees, which take missing numbers as they are."""
    return _column_transformer(
        [("number", "passthrough", numeric_columns(data)), _one_hot(data), ("target", *_target_encoding(data, y, seed))]
    )


def linear_columns(data: Data, y: Vector, seed: int, scaling: str) -> ColumnTransformer:
    """The preprocessing for linear models: numbers imputed by their median, with an indicator column, and scaled."""
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    if scaling == "quantile":
        quantiles = min(1000, len(y))
        scaler: Any = QuantileTransformer(n_quantiles=quantiles, output_distribution="normal", random_state=seed)
    else:
        scaler = StandardScaler()
    imputed = Pipeline([("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", scaler)])
    encoder, many_levels = _target_encoding(data, y, seed)
    return _column_transformer(
        [
            ("number", imputed, numeric_columns(data)),
            ("missing", MissingIndicator(features="all"), numeric_columns(data)),
            _one_hot(data),
            ("target", Pipeline([("encode", encoder), ("scale", StandardScaler())]), many_levels),
        ]
    )


def forget_folds(columns: ColumnTransformer) -> None:
    """Drops the folds on which the target encoder was fitted, which are no part of a model."""
    for name, step, _ in (*columns.transformers, *columns.transformers_):
        if name == "target":
            getattr(step, "named_steps", {}).get("encode", step).set_params(cv=2)


def numeric_columns(data: Data) -> list[int]:
    return [column for column in range(data.x.shape[1]) if column not in data.categorical]


def sum_by_column(columns: ColumnTransformer, values: Vector) -> Vector:
    """(columns,) sums of `values` over the outputs of each column, such as its one-hot levels."""
    sums = np.zeros(columns.n_features_in_)
    np.add.at(sums, source_columns(columns), values)
    return sums


def source_columns(columns: ColumnTransformer) -> npt.NDArray[np.int64]:
    """(outputs,) the column from which each output is computed."""
    origins: list[int] = []
    for name, step, sources in columns.transformers_:
        where = columns.output_indices_[name]
        width = where.stop - where.start
        if name == "onehot" and len(sources):
            counts = [len(levels) for levels in step.categories_]
        else:
            counts = [width // len(sources)] * len(sources) if len(sources) else []
        origins += [source for source, count in zip(sources, counts, strict=True) for _ in range(count)]
    return np.asarray(origins, dtype=np.int64)


def _column_transformer(steps: Sequence[Step]) -> ColumnTransformer:
    from sklearn.compose import ColumnTransformer

    return ColumnTransformer([step for step in steps if step[2]], sparse_threshold=0.0)


def _levels(data: Data) -> dict[int, int]:
    return dict(zip(data.categorical, data.levels, strict=True))


def _one_hot(data: Data) -> Step:
    """One-hot encoding of columns with few levels; a missing or unseen level is all zeros."""
    from sklearn.preprocessing import OneHotEncoder

    few_levels = {column: levels for column, levels in _levels(data).items() if levels <= ONE_HOT_LEVELS}
    encoder = OneHotEncoder(
        categories=[np.arange(max(1, levels), dtype=np.float32) for levels in few_levels.values()],
        handle_unknown="ignore",
        sparse_output=False,
        dtype=np.float32,
    )
    return "onehot", encoder, list(few_levels)


def _target_encoding(data: Data, y: Vector, seed: int) -> tuple[Any, list[int]]:
    """The target encoder and its columns; it is cross-fitted on the training rows, so that no row is encoded by its own
    target."""
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.preprocessing import TargetEncoder

    many_levels = [column for column, levels in _levels(data).items() if levels > ONE_HOT_LEVELS]
    smallest_class = int(np.unique(y, return_counts=True)[1].min()) if data.task.classifies else 0
    # Strata need a row in every fold.
    splitter, count = (StratifiedKFold, smallest_class) if smallest_class > 1 else (KFold, len(y))
    folds = splitter(min(5, count), shuffle=True, random_state=seed)
    return TargetEncoder(target_type=_TARGETS[data.task], cv=folds), many_levels
