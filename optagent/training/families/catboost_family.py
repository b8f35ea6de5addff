"""CatBoost family: symmetric trees with ordered statistics of categories, advanced from where the last step ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optagent.arrays import Prediction, Rows
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.errors import CorruptBundle, Infeasible
from optagent.training.families.binned import RecentValues, family_cache, rows_key
from optagent.training.families.catboost_json import parse_model, plain_document
from optagent.training.families.catboost_model import (
    FILE,
    LOSSES,
    CatBoostModel,
    booster_text,
    catboost_refusals,
    output_count,
    predict_scores,
    to_rows,
)
from optagent.training.families.family import Cache
from optagent.training.families.feasible import check_rounds, check_rows, finite, normalised_weight
from optagent.training.families.params import complete_params, library_seed
from optagent.training.problem import Data

if TYPE_CHECKING:
    import catboost

_BINNINGS_KEPT = 2
_FOLDS_KEPT = 40


class CatBoost:
    """The family of CatBoost boosters. Categories are coded by targets of rows before them in a random order, and pairs
    of columns by `max_ctr_complexity`; a missing one is a category of its own."""

    name = "catboost"
    rounds_per_unit = 10
    score_growth = 1 / 3  # a step of few rounds costs some milliseconds to begin
    default_rounds = 1000
    limits: Mapping[str, tuple[float, float]] = {
        "learning_rate": (1e-4, 1.0),
        "depth": (1, 16),
        "l2_leaf_reg": (0.0, 1e4),
        "random_strength": (0.0, 1e4),
        "subsample": (0.01, 1.0),
        "rsm": (0.01, 1.0),
        "border_count": (1, 1023),
        "one_hot_max_size": (2, 255),
        "max_ctr_complexity": (1, 8),
        "leaf_estimation_iterations": (1, 100),
    }

    def supports(self, task: Task) -> bool:
        return task in LOSSES

    def space(self, task: Task) -> SearchSpace:
        newton = (Categorical("leaf_estimation_iterations", (1, 10)),) if task is Task.BINARY else ()
        return SearchSpace(
            (
                Float("learning_rate", 0.01, 0.3, log=True),
                Int("depth", 3, 10),
                Float("l2_leaf_reg", 0.1, 100.0, log=True),
                Float("random_strength", 0.01, 10.0, log=True),
                Float("subsample", 0.4, 1.0),
                Float("rsm", 0.4, 1.0),
                Categorical("border_count", (64, 128, 254)),
                Categorical("one_hot_max_size", (2, 10, 255)),
                Categorical("max_ctr_complexity", (1, 2, 4)),
                Categorical("boosting_type", ("Plain", "Ordered")),
                *newton,
            )
        )

    def defaults(self, task: Task) -> Mapping[str, Any]:
        """The library's; its learning rate depends on rows and rounds (.04 to .09 for 20,000 rows and 1,000 rounds)."""
        return {
            "learning_rate": 0.06,
            "depth": 6,
            "l2_leaf_reg": 3.0,
            "random_strength": 1.0,
            "subsample": 0.8,
            "rsm": 1.0,
            "border_count": 254,
            "one_hot_max_size": 2,
            "max_ctr_complexity": 4,
            "boosting_type": "Plain",
            **({"leaf_estimation_iterations": 10} if task is Task.BINARY else {}),
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
    ) -> CatBoostFit:
        settings = complete_params(self, data.task, params)
        check_rows(data, train)
        if settings["learning_rate"] <= 0:  # which the library trains with
            raise Infeasible(f"learning_rate must be above 0, got {settings['learning_rate']}")
        borders = settings["border_count"]
        binnings = family_cache(cache, self.name, data, _BINNINGS_KEPT)
        valid_pools = family_cache(cache, f"{self.name} validation", data, _FOLDS_KEPT)
        with catboost_refusals():
            folds = binnings.get(borders, lambda: RecentValues(_FOLDS_KEPT))
            train_pool = folds.get(rows_key(train), lambda: _binned_pool(data, train, borders, threads))
            valid_pool = None
            if valid is not None:
                valid_pool = valid_pools.get(rows_key(valid), lambda: _pool(data, valid, threads))
        is_constant = bool((data.y[train] == data.y[train][0]).all())
        booster_params = {
            **_booster_params(settings, is_constant),
            "loss_function": LOSSES[data.task] if data.quantile is None else f"Quantile:alpha={data.quantile}",
            "thread_count": threads,
        }
        return CatBoostFit({**booster_params, "random_seed": library_seed(seed)}, data, train_pool, valid_pool)

    def load(self, folder: Path, task: Task, n_classes: int) -> CatBoostModel:
        try:
            text = (folder / FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CorruptBundle(f"{FILE}: {error}") from error
        document = parse_model(text, LOSSES[task], output_count(task, n_classes))
        try:
            with catboost_refusals():
                return CatBoostModel(document, task)
        except Infeasible as error:
            raise CorruptBundle(f"{FILE}: {error}") from error


class CatBoostFit:
    """A booster that goes on from its predecessor, whose state of training it takes over: steps give, bit by bit, the
    trees of one fit."""

    def __init__(
        self, params: Mapping[str, Any], data: Data, train_pool: catboost.Pool, valid_pool: catboost.Pool | None
    ) -> None:
        self.rounds = 0
        self._params = params
        self._task = data.task
        self._columns = data.x.shape[1]
        self._outputs = output_count(data.task, data.n_classes)
        self._train_pool = train_pool
        self._valid_pool = valid_pool
        self._booster: catboost.CatBoost | None = None

    def advance(self, rounds: int) -> None:
        import catboost

        if rounds <= self.rounds:
            return
        with catboost_refusals():
            booster = catboost.CatBoost({**self._params, "iterations": rounds - self.rounds})
            booster.fit(self._train_pool, init_model=self._booster)
        self._booster, self.rounds = booster, rounds

    def predict_valid(self) -> Prediction:
        assert self._booster is not None, "nothing was trained yet"
        assert self._valid_pool is not None, "this fit has no validation rows"
        return finite(predict_scores(self._booster, self._valid_pool, self._task, self._params["thread_count"]))

    def model(self, rounds: int | None = None) -> CatBoostModel:
        rounds = check_rounds(rounds, self.rounds)
        booster = self._booster
        assert booster is not None, "nothing was trained yet"
        with catboost_refusals():
            if rounds < self.rounds:
                booster = booster.copy()
                booster.shrink(rounds)
            document = plain_document(booster_text(booster), LOSSES[self._task])
            return CatBoostModel(document, self._task)


def _booster_params(settings: Mapping[str, Any], is_constant: bool) -> dict[str, Any]:
    """The booster's parameters. It writes no files beside its work. Rows are sampled by their gradients, of which a
    constant target has none."""
    params = {
        **settings,
        "bootstrap_type": "MVS",
        "allow_const_label": True,
        "allow_writing_files": False,
        "logging_level": "Silent",
    }
    if settings["subsample"] == 1 or is_constant:
        params["bootstrap_type"] = "No"
        del params["subsample"]
    return params


def _binned_pool(data: Data, rows: Rows, borders: int, threads: int) -> catboost.Pool:
    pool = _pool(data, rows, threads)
    pool.quantize(border_count=borders)
    return pool


def _pool(data: Data, rows: Rows, threads: int) -> catboost.Pool:
    import catboost

    return catboost.Pool(
        to_rows(np.ascontiguousarray(data.x_of(rows)), data.categorical),
        label=data.y[rows],
        weight=normalised_weight(data, rows),
        cat_features=list(data.categorical),
        thread_count=threads,
    )
