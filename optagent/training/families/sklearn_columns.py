"""How scikit-learn families see columns: numbers as they are or scaled, levels one-hot or by mean target."""

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
    """For trees, which take missing numbers as they are."""
    return _columns([("number", "passthrough", numeric(data)), _one_hot(data), ("target", *_target(data, y, seed))])


def linear_columns(data: Data, y: Vector, seed: int, scaling: str) -> ColumnTransformer:
    """For linear models: numbers imputed by their median, with a column that says so, and scaled."""
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import QuantileTransformer, StandardScaler

    if scaling == "quantile":
        quantiles = min(1000, len(y))
        scaler: Any = QuantileTransformer(n_quantiles=quantiles, output_distribution="normal", random_state=seed)
    else:
        scaler = StandardScaler()
    imputed = Pipeline([("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", scaler)])
    encoder, many = _target(data, y, seed)
    return _columns(
        [
            ("number", imputed, numeric(data)),
            ("missing", MissingIndicator(features="all"), numeric(data)),
            _one_hot(data),
            ("target", Pipeline([("encode", encoder), ("scale", StandardScaler())]), many),
        ]
    )


def forget_folds(columns: ColumnTransformer) -> None:
    """Drops the folds that the target encoder was fitted on, which are no part of a model."""
    for name, step, _ in (*columns.transformers, *columns.transformers_):
        if name == "target":
            getattr(step, "named_steps", {}).get("encode", step).set_params(cv=2)


def numeric(data: Data) -> list[int]:
    return [column for column in range(data.x.shape[1]) if column not in data.categorical]


def by_column(columns: ColumnTransformer, values: Vector) -> Vector:
    """Sums over what each column became, such as its one-hot levels."""
    summed = np.zeros(columns.n_features_in_)
    np.add.at(summed, _origins(columns), values)
    return summed


def _origins(columns: ColumnTransformer) -> npt.NDArray[np.int64]:
    """The column that each output stems from."""
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


def _columns(steps: Sequence[Step]) -> ColumnTransformer:
    from sklearn.compose import ColumnTransformer

    return ColumnTransformer([step for step in steps if step[2]], sparse_threshold=0.0)


def _levels(data: Data) -> dict[int, int]:
    return dict(zip(data.categorical, data.levels, strict=True))


def _one_hot(data: Data) -> Step:
    """A missing or unseen level is none of them."""
    from sklearn.preprocessing import OneHotEncoder

    few = {column: levels for column, levels in _levels(data).items() if levels <= ONE_HOT_LEVELS}
    encoder = OneHotEncoder(
        categories=[np.arange(max(1, levels), dtype=np.float32) for levels in few.values()],
        handle_unknown="ignore",
        sparse_output=False,
        dtype=np.float32,
    )
    return "onehot", encoder, list(few)


def _target(data: Data, y: Vector, seed: int) -> tuple[Any, list[int]]:
    """Cross-fitted on the training rows, so that no row is encoded by its own target."""
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.preprocessing import TargetEncoder

    many = [column for column, levels in _levels(data).items() if levels > ONE_HOT_LEVELS]
    fewest = int(np.unique(y, return_counts=True)[1].min()) if data.task.classifies else 0
    # Strata need a row in every fold.
    splitter, count = (StratifiedKFold, fewest) if fewest > 1 else (KFold, len(y))
    folds = splitter(min(5, count), shuffle=True, random_state=seed)
    return TargetEncoder(target_type=_TARGETS[data.task], cv=folds), many
