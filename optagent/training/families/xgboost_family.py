"""XGBoost family: histogram trees grown level by level, advanced in place; trials share its binned folds."""

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
from optagent.training.families.params import OFF, complete_params, library_seed, penalty
from optagent.training.families.xgboost_ubj import check_ubj
from optagent.training.problem import Data

if TYPE_CHECKING:
    import xgboost

FILE = "model.ubj"
OBJECTIVES = {Task.BINARY: "binary:logistic", Task.MULTICLASS: "multi:softprob", Task.REGRESSION: "reg:squarederror"}
QUANTILE = "reg:quantileerror"
_BINNINGS_KEPT = 2
_FOLDS_KEPT = 40


class XGBoost:
    """The family of XGBoost boosters: the histogram method on all tasks; categorical columns are split natively."""

    name = "xgboost"
    rounds_per_unit = 10
    score_growth = 0.0
    default_rounds = 100
    limits: Mapping[str, tuple[float, float]] = {
        "learning_rate": (1e-4, 1.0),
        "max_depth": (1, 30),
        "min_child_weight": (0.0, 1e6),
        "subsample": (0.01, 1.0),
        "colsample_bytree": (0.01, 1.0),
        "reg_alpha": (0.0, 1e4),
        "reg_lambda": (0.0, 1e4),
        "gamma": (0.0, 1e4),
        "max_bin": (2, 1024),
    }

    def supports(self, task: Task) -> bool:
        return task in OBJECTIVES

    def space(self, task: Task) -> SearchSpace:
        return SearchSpace(
            (
                Float("learning_rate", 0.01, 0.3, log=True),
                Int("max_depth", 2, 12),
                Float("min_child_weight", 0.1, 100.0, log=True),
                Float("subsample", 0.4, 1.0),
                Float("colsample_bytree", 0.4, 1.0),
                Float("reg_alpha", OFF, 10.0, log=True),
                Float("reg_lambda", 1e-3, 100.0, log=True),
                Float("gamma", OFF, 10.0, log=True),
                Categorical("max_bin", (64, 128, 256)),
            )
        )

    def defaults(self, task: Task) -> Mapping[str, Any]:
        return {
            "learning_rate": 0.3,
            "max_depth": 6,
            "min_child_weight": 1.0,
            "subsample": 1.0,
            "colsample_bytree": 1.0,
            "reg_alpha": OFF,
            "reg_lambda": 1.0,
            "gamma": OFF,
            "max_bin": 256,
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
    ) -> XGBoostFit:
        import xgboost

        settings = complete_params(self, data.task, params)
        check_rows(data, train)
        booster_params = {**_booster_params(settings, data), "seed": library_seed(seed), "nthread": threads}
        binnings = family_cache(cache, self.name, data, _BINNINGS_KEPT)
        valid_matrices = family_cache(cache, f"{self.name} validation", data, _FOLDS_KEPT)
        with library_refusals():
            folds = binnings.get(settings["max_bin"], lambda: RecentValues(_FOLDS_KEPT))
            train_matrix = folds.get(rows_key(train), lambda: _binned_matrix(data, train, settings["max_bin"], threads))
            valid_matrix = None
            if valid is not None:
                valid_matrix = valid_matrices.get(rows_key(valid), lambda: _unbinned_matrix(data, valid, threads))
            matrices = [train_matrix] if valid_matrix is None else [train_matrix, valid_matrix]
            booster = xgboost.Booster(booster_params, cache=matrices)
        return XGBoostFit(booster, train_matrix, valid_matrix)

    def load(self, folder: Path, task: Task, n_classes: int) -> XGBoostModel:
        import xgboost

        try:
            content = (folder / FILE).read_bytes()
        except OSError as error:
            raise CorruptBundle(f"{FILE}: {error}") from error
        objectives = (OBJECTIVES[task], QUANTILE) if task is Task.REGRESSION else (OBJECTIVES[task],)
        check_ubj(content, objectives, n_classes if task is Task.MULTICLASS else 0)
        try:
            return XGBoostModel(xgboost.Booster(model_file=bytearray(content)))
        except xgboost.core.XGBoostError as error:
            raise CorruptBundle(f"{FILE}: {str(error).strip().splitlines()[0][:200]}") from error


class XGBoostFit:
    """A booster that grows in place and remembers the margins of its two matrices, so a prediction adds new trees only.

    Measured on 10,000 rows at 200 rounds: 4 ms, where a prediction from scratch takes 67 ms.
    """

    def __init__(
        self, booster: xgboost.Booster, train_matrix: xgboost.DMatrix, valid_matrix: xgboost.DMatrix | None
    ) -> None:
        self.rounds = 0
        self._booster = booster
        self._train_matrix = train_matrix
        self._valid_matrix = valid_matrix

    def advance(self, rounds: int) -> None:
        with library_refusals():
            while self.rounds < rounds:
                self._booster.update(self._train_matrix, self.rounds)
                self.rounds += 1

    def predict_valid(self) -> Prediction:
        assert self._valid_matrix is not None, "this fit has no validation rows"
        return finite(self._booster.predict(self._valid_matrix).astype(np.float64))

    def model(self, rounds: int | None = None) -> XGBoostModel:
        import xgboost

        booster = self._booster[: check_rounds(rounds, self.rounds)]
        return XGBoostModel(xgboost.Booster(model_file=booster.save_raw("ubj")))


class XGBoostModel:
    """A booster read back from its own bytes, so that the saved model is the one that predicts."""

    def __init__(self, booster: xgboost.Booster) -> None:
        self._booster = booster

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self._booster.num_features())
        return self._booster.inplace_predict(x, validate_features=False).astype(np.float64)

    def save(self, folder: Path) -> None:
        (folder / FILE).write_bytes(self._booster.save_raw("ubj"))

    def importances(self) -> Vector:
        gains = np.zeros(self._booster.num_features())
        for name, gain in self._booster.get_score(importance_type="total_gain").items():
            gains[int(name.removeprefix("f"))] = gain
        return normalise_importances(gains)

    def contributions(self, x: Matrix) -> Prediction:
        """(rows, columns) SHAP values of the margin (Lundberg et al. 2020); of several classes, their sizes summed."""
        import xgboost

        check_columns(x, self._booster.num_features())
        rows = xgboost.DMatrix(x, feature_types=self._booster.feature_types, enable_categorical=True, nthread=1)
        contributions = self._booster.predict(rows, pred_contribs=True).astype(np.float64)
        # The last value of each class is its expected value.
        by_class = contributions.reshape(len(x), -1, x.shape[1] + 1)[:, :, :-1]
        return by_class[:, 0] if by_class.shape[1] == 1 else np.abs(by_class).sum(axis=1)


def _booster_params(settings: Mapping[str, Any], data: Data) -> dict[str, Any]:
    params = {
        **settings,
        "objective": OBJECTIVES[data.task],
        "tree_method": "hist",
        "disable_default_eval_metric": True,
        "verbosity": 0,
        "reg_alpha": penalty(settings["reg_alpha"]),
        "gamma": penalty(settings["gamma"]),
    }
    if data.task is Task.MULTICLASS:
        params["num_class"] = class_count(data.task, data.n_classes)
    if data.quantile is not None:
        params |= {"objective": QUANTILE, "quantile_alpha": data.quantile}
    return params


def _feature_types(data: Data) -> list[str]:
    return ["c" if column in data.categorical else "q" for column in range(data.x.shape[1])]


def _binned_matrix(data: Data, rows: Rows, max_bin: int, threads: int) -> xgboost.QuantileDMatrix:
    import xgboost

    return xgboost.QuantileDMatrix(
        data.x_of(rows),
        label=data.y[rows],
        weight=normalised_weight(data, rows),
        feature_types=_feature_types(data),
        enable_categorical=True,
        max_bin=max_bin,
        nthread=threads,
    )


def _unbinned_matrix(data: Data, rows: Rows, threads: int) -> xgboost.DMatrix:
    """The rows without bins: bins of the training rows would turn a category that these lack into their last one."""
    import xgboost

    return xgboost.DMatrix(
        data.x_of(rows),
        label=data.y[rows],
        feature_types=_feature_types(data),
        enable_categorical=True,
        nthread=threads,
    )
