"""LightGBM: trees grown leaf by leaf, advanced in place; its data is binned once and shared by folds and trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.errors import CorruptBundle
from optagent.training.families.binned import RecentValues, kept_for, rows_key
from optagent.training.families.family import Cache
from optagent.training.families.feasible import (
    check_columns,
    check_rounds,
    check_rows,
    class_count,
    finite,
    library_refusals,
    normalised_weight,
    shares,
)
from optagent.training.families.lightgbm_text import check_text
from optagent.training.families.params import OFF, completed, library_seed, penalty
from optagent.training.problem import Data, span_of

if TYPE_CHECKING:
    import lightgbm

FILE = "model.txt"
OBJECTIVES = {Task.BINARY: "binary", Task.MULTICLASS: "multiclass", Task.REGRESSION: "regression"}
_BINNINGS_KEPT = 2
_SUBSETS_KEPT = 41
_LARGE_CELLS = 20_000_000  # of a matrix: from here on one binning is kept, it takes as much memory as half a matrix


class LightGBM:
    """Binned data depends on `max_bin` alone: whatever else forces a rebuild is fixed, not searched."""

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

        chosen = completed(self, data.task, params)
        check_rows(data, train)
        binning = {
            "max_bin": chosen.pop("max_bin"),
            "feature_pre_filter": False,
            "num_threads": threads,
            "verbose": -1,
        }
        with library_refusals(lightgbm.basic.LightGBMError):
            learned, watched = _datasets(data, train, valid, binning, cache)
            booster = lightgbm.Booster({**_native(chosen, data), **binning, "seed": library_seed(seed)}, learned)
            if watched is not None:
                booster.add_valid(watched, "valid")
        return LightGBMFit(booster, data, valid)

    def load(self, folder: Path, task: Task, n_classes: int) -> LightGBMModel:
        import lightgbm

        try:
            text = (folder / FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CorruptBundle(f"{FILE}: {error}") from error
        told = {Task.BINARY: "binary sigmoid:1", Task.MULTICLASS: f"multiclass num_class:{n_classes}"}
        check_text(text, told.get(task, OBJECTIVES[task]), n_classes if task is Task.MULTICLASS else 1)
        try:
            return LightGBMModel(lightgbm.Booster(model_str=text))
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise CorruptBundle(f"{FILE}: {error}") from error


class LightGBMFit:
    """A booster that grows in place; the validation scores are the booster's own, kept up with every tree."""

    def __init__(self, booster: lightgbm.Booster, data: Data, valid: Rows | None) -> None:
        self.rounds = 0
        self._booster = booster
        self._grown: list[int] = []
        self._shape = () if data.task is not Task.MULTICLASS else (data.n_classes,)
        # A subset of a LightGBM dataset has its rows in ascending order, whatever the order asked for.
        self._order = None if valid is None else np.argsort(valid, kind="stable")

    def advance(self, rounds: int) -> None:
        import lightgbm

        with library_refusals(lightgbm.basic.LightGBMError):
            while self.rounds < rounds:
                self._booster.update()
                # A round that finds no split adds no tree.
                self._grown.append(self._booster.current_iteration())
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

        grown = self._grown[check_rounds(rounds, self.rounds) - 1]
        return LightGBMModel(lightgbm.Booster(model_str=self._booster.model_to_string(num_iteration=grown)))


class LightGBMModel:
    """A booster read back from its own text, so that what is saved is what predicts."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self._booster.num_feature())
        return np.asarray(self._booster.predict(x), dtype=np.float64)

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(self._booster.model_to_string(), encoding="utf-8", newline="\n")

    def importances(self) -> Vector:
        return shares(self._booster.feature_importance("gain").astype(np.float64))

    def contributions(self, x: Matrix) -> Prediction:
        """(rows, columns) SHAP values of the margin (Lundberg et al. 2020); of several classes, their sizes summed."""
        check_columns(x, self._booster.num_feature())
        found = np.asarray(self._booster.predict(x, pred_contrib=True), dtype=np.float64)
        classes = found.reshape(len(x), -1, x.shape[1] + 1)[:, :, :-1]  # the last of each class is its expected value
        return classes[:, 0] if classes.shape[1] == 1 else np.abs(classes).sum(axis=1)


def _native(chosen: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The booster's parameters; row-wise histograms are named so that LightGBM does not time both and pick one."""
    native: dict[str, Any] = {
        **chosen,
        "objective": OBJECTIVES[data.task],
        "metric": "none",
        "bagging_freq": 1 if chosen["bagging_fraction"] < 1 else 0,
        "deterministic": True,
        "force_row_wise": True,
    }
    for name in ("lambda_l1", "lambda_l2", "path_smooth"):
        native[name] = penalty(chosen[name])
    if data.task is Task.MULTICLASS:
        native["num_class"] = class_count(data.task, data.n_classes)
    return native


def _datasets(
    data: Data, train: Rows, valid: Rows | None, binning: Mapping[str, Any], cache: Cache | None
) -> tuple[lightgbm.Dataset, lightgbm.Dataset | None]:
    """Neighbouring rows, as folds in time order have, are binned from where they are; those of other folds are subsets
    of one binned dataset, since picking them out of the matrix would copy it. Without validation rows no row but
    `train` is looked at. Training reads a dataset and writes nothing to it, so trials share what is kept."""
    if valid is None:
        return _dataset(data, train, binning), None
    recent = kept_for(cache, LightGBM.name, data, _BINNINGS_KEPT if data.x.size < _LARGE_CELLS else 1)
    kept = recent.get(binning["max_bin"], lambda: RecentValues(_SUBSETS_KEPT))
    if span_of(train) is None or span_of(valid) is None:
        full = kept.get("full", lambda: _dataset(data, None, binning))
        return kept.get(rows_key(train), lambda: _subset(full, train)), kept.get(
            rows_key(valid), lambda: _subset(full, valid)
        )
    learned = kept.get(rows_key(train), lambda: _dataset(data, train, binning))
    watched = kept.get((rows_key(train), rows_key(valid)), lambda: _dataset(data, valid, binning, learned))
    return learned, watched


def _subset(full: lightgbm.Dataset, rows: Rows) -> lightgbm.Dataset:
    chosen = full.subset([])
    # `subset` keeps a list of Python integers, 36 bytes a row; what it is turned into at once is taken as well.
    chosen.used_indices = np.sort(rows).astype(np.int32)  # type: ignore[assignment]
    return chosen.construct()


def _dataset(
    data: Data, rows: Rows | None, binning: Mapping[str, Any], like: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    """Binned rows, with the bins of `like` where it is given."""
    import lightgbm

    return lightgbm.Dataset(
        data.x if rows is None else data.x_of(rows),
        label=data.y if rows is None else data.y[rows],
        weight=normalised_weight(data, rows),
        categorical_feature=list(data.categorical),
        params=dict(binning),
        reference=like,
    ).construct()
