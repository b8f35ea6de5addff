"""LightGBM family: trees grown leaf by leaf, advanced in place; folds and trials share data that is binned once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.errors import CorruptBundle
from optagent.training.families.binned import RecentValues, family_cache, rows_key
from optagent.training.families.family import Cache
from optagent.training.families.feasible import (
    check_columns,
    check_rounds,
    check_rows,
    class_count,
    finite,
    library_refusals,
    normalise_importances,
    normalised_weight,
)
from optagent.training.families.lightgbm_text import check_text
from optagent.training.families.params import OFF, complete_params, library_seed, penalty
from optagent.training.problem import Data, span_of

if TYPE_CHECKING:
    import lightgbm

FILE = "model.txt"
OBJECTIVES = {Task.BINARY: "binary", Task.MULTICLASS: "multiclass", Task.REGRESSION: "regression"}
QUANTILE = "quantile"
_BINNINGS_KEPT = 2
_SUBSETS_KEPT = 41
_LARGE_CELLS = 20_000_000  # of a matrix: from this size on one binning is kept; it takes the memory of half a matrix


class LightGBM:
    """The family of LightGBM boosters. Its binned data depends on `max_bin` alone: other parameters that would force a
    rebuild are fixed, not searched."""

    name = "lightgbm"
    rounds_per_unit = 10
    score_growth = 0.0
    default_rounds = 100
    limits: Mapping[str, tuple[float, float]] = {
        "learning_rate": (1e-4, 1.0),
        "num_leaves": (2, 4096),
        "min_data_in_leaf": (1, 1_000_000),
        "feature_fraction": (0.01, 1.0),
        "bagging_fraction": (0.01, 1.0),
        "lambda_l1": (0.0, 1e4),
        "lambda_l2": (0.0, 1e4),
        "path_smooth": (0.0, 1e4),
        "max_bin": (2, 1023),
    }

    def supports(self, task: Task) -> bool:
        return task in OBJECTIVES

    def space(self, task: Task) -> SearchSpace:
        return SearchSpace(
            (
                Float("learning_rate", 0.01, 0.3, log=True),
                Int("num_leaves", 4, 256, log=True),
                Int("min_data_in_leaf", 2, 200, log=True),
                Float("feature_fraction", 0.4, 1.0),
                Float("bagging_fraction", 0.4, 1.0),
                Float("lambda_l1", OFF, 10.0, log=True),
                Float("lambda_l2", OFF, 100.0, log=True),
                Float("path_smooth", OFF, 100.0, log=True),
                Categorical("max_bin", (63, 127, 255)),
            )
        )

    def defaults(self, task: Task) -> Mapping[str, Any]:
        return {
            "learning_rate": 0.1,
            "num_leaves": 31,
            "min_data_in_leaf": 20,
            "feature_fraction": 1.0,
            "bagging_fraction": 1.0,
            "lambda_l1": OFF,
            "lambda_l2": OFF,
            "path_smooth": OFF,
            "max_bin": 255,
        }

    def start(
        self,
        params: Mapping[str, Any],
        data: Data,
        train: Rows,
        valid: Rows | None = None,
        *,
        seed: int = 0,
        threads: int = 1,
        cache: Cache | None = None,
    ) -> LightGBMFit:
        import lightgbm

        settings = complete_params(self, data.task, params)
        check_rows(data, train)
        binning = {
            "max_bin": settings.pop("max_bin"),
            "feature_pre_filter": False,
            "num_threads": threads,
            "verbose": -1,
        }
        with library_refusals(lightgbm.basic.LightGBMError):
            train_set, valid_set = _datasets(data, train, valid, binning, cache)
            booster_params = {**_booster_params(settings, data), **binning, "seed": library_seed(seed)}
            booster = lightgbm.Booster(booster_params, train_set)
            if valid_set is not None:
                booster.add_valid(valid_set, "valid")
        return LightGBMFit(booster, data, valid)

    def load(self, folder: Path, task: Task, n_classes: int) -> LightGBMModel:
        import lightgbm

        try:
            text = (folder / FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CorruptBundle(f"{FILE}: {error}") from error
        objectives = {
            Task.BINARY: ("binary sigmoid:1",),
            Task.MULTICLASS: (f"multiclass num_class:{n_classes}",),
            Task.REGRESSION: (OBJECTIVES[Task.REGRESSION], QUANTILE),
        }
        check_text(text, objectives[task], n_classes if task is Task.MULTICLASS else 1)
        try:
            return LightGBMModel(lightgbm.Booster(model_str=text))
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise CorruptBundle(f"{FILE}: {error}") from error


class LightGBMFit:
    """A booster that grows in place; the validation scores are the booster's own, updated with every tree."""

    def __init__(self, booster: lightgbm.Booster, data: Data, valid: Rows | None) -> None:
        self.rounds = 0
        self._booster = booster
        self._iterations: list[int] = []
        self._shape = () if data.task is not Task.MULTICLASS else (data.n_classes,)
        # A subset of a LightGBM dataset has its rows in ascending order, whatever the order of the indices.
        self._order = None if valid is None else np.argsort(valid, kind="stable")

    def advance(self, rounds: int) -> None:
        import lightgbm

        with library_refusals(lightgbm.basic.LightGBMError):
            while self.rounds < rounds:
                self._booster.update()
                # A round that finds no split adds no tree.
                self._iterations.append(self._booster.current_iteration())
                self.rounds += 1

    def predict_valid(self) -> Prediction:
        assert self._order is not None, "this fit has no validation rows"
        prediction = np.empty((len(self._order), *self._shape))

        def capture(scores: Prediction, _: lightgbm.Dataset) -> tuple[str, float, bool]:
            prediction[self._order] = scores
            return "captured", 0.0, True

        self._booster.eval_valid(feval=capture)
        return finite(prediction)

    def model(self, rounds: int | None = None) -> LightGBMModel:
        import lightgbm

        iteration = self._iterations[check_rounds(rounds, self.rounds) - 1]
        return LightGBMModel(lightgbm.Booster(model_str=self._booster.model_to_string(num_iteration=iteration)))


class LightGBMModel:
    """A booster read back from its own text, so that the saved model is the one that predicts."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self._booster.num_feature())
        return np.asarray(self._booster.predict(x), dtype=np.float64)

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(self._booster.model_to_string(), encoding="utf-8", newline="\n")

    def importances(self) -> Vector:
        return normalise_importances(self._booster.feature_importance("gain").astype(np.float64))

    def contributions(self, x: Matrix) -> Prediction:
        """(rows, columns) SHAP values of the margin (Lundberg et al. 2020); of several classes, their sizes summed."""
        check_columns(x, self._booster.num_feature())
        contributions = np.asarray(self._booster.predict(x, pred_contrib=True), dtype=np.float64)
        # The last value of each class is its expected value.
        by_class = contributions.reshape(len(x), -1, x.shape[1] + 1)[:, :, :-1]
        return by_class[:, 0] if by_class.shape[1] == 1 else np.abs(by_class).sum(axis=1)


def _booster_params(settings: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The booster's parameters; row-wise histograms are named so that LightGBM does not time both and pick one."""
    params: dict[str, Any] = {
        **settings,
        "objective": OBJECTIVES[data.task],
        "metric": "none",
        "bagging_freq": 1 if settings["bagging_fraction"] < 1 else 0,
        "deterministic": True,
        "force_row_wise": True,
    }
    for name in ("lambda_l1", "lambda_l2", "path_smooth"):
        params[name] = penalty(settings[name])
    if data.task is Task.MULTICLASS:
        params["num_class"] = class_count(data.task, data.n_classes)
    if data.quantile is not None:
        params |= {"objective": QUANTILE, "alpha": data.quantile}
    return params


def _datasets(
    data: Data, train: Rows, valid: Rows | None, binning: Mapping[str, Any], cache: Cache | None
) -> tuple[lightgbm.Dataset, lightgbm.Dataset | None]:
    """The binned training rows, and the binned validation rows if there are any.

    Neighbouring rows, as in folds in time order, are binned in place; the rows of other folds are subsets of one binned
    dataset, since to take them from the matrix would copy it. Without validation rows, only the `train` rows are read.
    Training reads a dataset and never writes to it, so trials share the cached ones.
    """
    if valid is None:
        return _dataset(data, train, binning), None
    binnings = family_cache(cache, LightGBM.name, data, _BINNINGS_KEPT if data.x.size < _LARGE_CELLS else 1)
    datasets = binnings.get(binning["max_bin"], lambda: RecentValues(_SUBSETS_KEPT))
    if span_of(train) is None or span_of(valid) is None:
        full = datasets.get("full", lambda: _dataset(data, None, binning))
        return datasets.get(rows_key(train), lambda: _subset(full, train)), datasets.get(
            rows_key(valid), lambda: _subset(full, valid)
        )
    train_set = datasets.get(rows_key(train), lambda: _dataset(data, train, binning))
    valid_set = datasets.get((rows_key(train), rows_key(valid)), lambda: _dataset(data, valid, binning, train_set))
    return train_set, valid_set


def _subset(full: lightgbm.Dataset, rows: Rows) -> lightgbm.Dataset:
    dataset = full.subset([])
    # `subset` stores a list of Python integers, 36 bytes a row, and converts it at once; the array is accepted as well.
    dataset.used_indices = np.sort(rows).astype(np.int32)  # type: ignore[assignment]
    return dataset.construct()


def _dataset(
    data: Data, rows: Rows | None, binning: Mapping[str, Any], like: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    """The rows (by default all) binned, with the bins of `like` if there is one."""
    import lightgbm

    return lightgbm.Dataset(
        data.x if rows is None else data.x_of(rows),
        label=data.y if rows is None else data.y[rows],
        weight=normalised_weight(data, rows),
        categorical_feature=list(data.categorical),
        params=dict(binning),
        reference=like,
    ).construct()
