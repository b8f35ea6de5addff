"""Fits and models of users' families: everything that the user's code returns is checked."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.errors import CorruptBundle, Infeasible
from optagent.training.families.feasible import (
    check_columns,
    check_rounds,
    class_count,
    finite,
    normalise_importances,
    normalised_weight,
)
from optagent.training.problem import Data

FULL_ROUNDS = 81
COLUMNS = "columns.json"
_FEWEST_ROWS = 30


class UserCode(Protocol):
    """The methods of a `SimpleFamily` that users write; they may fail in any way, and answer anything."""

    name: str
    steps: int

    def fit(self, params: Mapping[str, Any], data: Data, seed: int, threads: int) -> Any: ...

    def predict(self, model: Any, x: Matrix) -> Any: ...

    def importances(self, model: Any) -> Any: ...

    def write(self, model: Any, folder: Path) -> None: ...


class SimpleFamilyFit:
    """A fit of a user's family: 81 rounds are all of its steps, or all of the training rows."""

    def __init__(
        self,
        family: UserCode,
        settings: Mapping[str, Any],
        data: Data,
        train: Rows,
        valid: Rows | None,
        seed: int,
        threads: int,
    ) -> None:
        self.rounds = 0
        self._family = family
        self._settings = dict(settings)
        self._data = data
        self._train = train if family.steps else train[_shuffle_positions(data, train, seed)]
        self._valid = valid
        self._seed = seed
        self._threads = threads
        self._steps_done = 0
        self._models: Iterator[Any] | None = None
        self._model: Any = None

    def advance(self, rounds: int) -> None:
        if rounds <= self.rounds:
            return
        if self._family.steps:
            self._step_to(math.ceil(rounds * self._family.steps / FULL_ROUNDS))
        else:
            self._model = self._fit_share(rounds)
        self.rounds = rounds

    def predict_valid(self) -> Prediction:
        assert self._valid is not None, "this fit has no validation rows"
        return self.model().predict(self._data.x_of(self._valid))

    def model(self, rounds: int | None = None) -> "SimpleFamilyModel":
        """The model; it is trained anew for fewer rounds, since a user's model cannot be cut back."""
        data = self._data
        if check_rounds(rounds, self.rounds) != self.rounds:
            shorter = SimpleFamilyFit(self._family, self._settings, data, self._train, None, self._seed, self._threads)
            shorter._train = self._train
            shorter.advance(check_rounds(rounds, self.rounds))
            return shorter.model()
        columns = data.x.shape[1]
        return SimpleFamilyModel(self._family, self._model, data.task, class_count(data.task, data.n_classes), columns)

    def _step_to(self, step: int) -> None:
        """Advances the user's generator; one that ends before its last step has converged, and its last model stays."""
        with refuse_exit(self._family), _limit_threads(self._threads):
            if self._models is None:
                data = _select_rows(self._data, self._train)
                self._models = iter(self._family.fit(self._settings, data, self._seed, self._threads))
            while self._steps_done < step:
                model = next(self._models, None)
                if model is None:
                    break
                self._model = model
                self._steps_done += 1
        if self._model is None:
            raise Infeasible(f"family {self._family.name}: fit yields no model, {self._family.steps} were promised")

    def _fit_share(self, rounds: int) -> Any:
        count = max(_FEWEST_ROWS, math.ceil(len(self._train) * rounds / FULL_ROUNDS))
        with refuse_exit(self._family), _limit_threads(self._threads):
            data = _select_rows(self._data, self._train[:count])
            model = self._family.fit(self._settings, data, self._seed, self._threads)
        if model is None:
            raise Infeasible(f"family {self._family.name}: fit returns no model")
        return model


class SimpleFamilyModel:
    """A model of a user's family; every prediction is checked."""

    def __init__(self, family: UserCode, model: Any, task: Task, n_classes: int, columns: int) -> None:
        self._family = family
        self._model = model
        self._shape = (n_classes,) if task is Task.MULTICLASS else ()
        self._classifies = task.classifies
        self._columns = columns

    def predict(self, x: Matrix) -> Prediction:
        check_columns(x, self._columns)
        with refuse_exit(self._family):
            prediction = np.asarray(self._family.predict(self._model, x), dtype=np.float64)
        shape = (len(x), *self._shape)
        if prediction.shape != shape:
            raise Infeasible(f"family {self._family.name}: predicts shape {prediction.shape}, {shape} is needed")
        if self._classifies and ((finite(prediction) < 0) | (prediction > 1)).any():
            raise Infeasible(f"family {self._family.name}: predicts probabilities outside 0 to 1")
        return finite(prediction)

    def save(self, folder: Path) -> None:
        with refuse_exit(self._family):
            self._family.write(self._model, folder)
        if (folder / COLUMNS).exists():
            raise CorruptBundle(f"family {self._family.name}: {COLUMNS} is a name that optagent keeps for itself")
        (folder / COLUMNS).write_text(json.dumps({"columns": self._columns}), encoding="utf-8")

    def importances(self) -> Vector:
        with refuse_exit(self._family):
            importances = self._family.importances(self._model)
        if importances is None:
            return np.zeros(self._columns)
        return normalise_importances(np.abs(np.asarray(importances, dtype=np.float64)))


@contextmanager
def refuse_exit(family: UserCode) -> Iterator[None]:
    """Turns an exit of the process, which the family's code asks for, into a RuntimeError like any other failure."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"family {family.name} asked the process to exit with {error.code!r}") from error


@contextmanager
def _limit_threads(count: int) -> Iterator[None]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(count):
        yield


def _shuffle_positions(data: Data, train: Rows, seed: int) -> Rows:
    """Positions in `train`, shuffled, with one row of each class first."""
    shuffled = np.random.default_rng(seed).permutation(len(train))
    if not data.task.classifies:
        return shuffled
    _, first = np.unique(data.y[train[shuffled]], return_index=True)
    rest = np.ones(len(shuffled), dtype=bool)
    rest[first] = False
    return np.concatenate([shuffled[first], shuffled[rest]])


def _select_rows(data: Data, rows: Rows) -> Data:
    return replace(data, x=data.x_of(rows), y=data.y[rows], weight=normalised_weight(data, rows))
