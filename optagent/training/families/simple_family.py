"""Base class of users' own families, in three short methods: the search space, the fit and the prediction."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Matrix, Rows
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Int, Parameter, SearchSpace
from optagent.errors import CorruptBundle
from optagent.training.families.family import Cache
from optagent.training.families.feasible import check_rows
from optagent.training.families.params import complete_params, library_seed
from optagent.training.families.simple_family_model import (
    COLUMNS,
    FULL_ROUNDS,
    SimpleFamilyFit,
    SimpleFamilyModel,
    refuse_exit,
)
from optagent.training.problem import Data

VALUES = "values.json"


class SimpleFamily:
    """Subclass it, write `space`, `fit` and `predict`, and name the class in model.yaml as `package.module:Class`.

    `fit` gets `data.x` (float32, NaN where missing; codes in the columns listed in `data.categorical`), `data.y` (class
    indexes or values) and `data.weight` (mean 1, or None). It returns the model, and a search stops poor trials early
    by fitting them on a share of the rows first. With `steps = N` it is a generator instead, which yields the model
    after each of its N steps; a search asks for the next step only while a trial is worth it.

    A model is a mapping of names to arrays, numbers, texts or lists of them; it is stored as .npy and .json files. For
    any other model write `write` and `read` as well; both may use files ending in .npy, .json, .txt, .csv, .parquet,
    .onnx, .safetensors, .cbm, .ubj and .skops, and never a pickle.

    `predict` returns (rows,) the probability of class 1 or the value, or (rows, classes) for a multiclass model.

    >>> class Shrunken(SimpleFamily):
    ...     tasks = (Task.REGRESSION,)
    ...
    ...     def space(self, task):
    ...         return SearchSpace((Int("prior_rows", 1, 1000, log=True),))
    ...
    ...     def fit(self, params, data, seed, threads):
    ...         return {"value": float(data.y.sum() / (len(data) + params["prior_rows"]))}
    ...
    ...     def predict(self, model, x):
    ...         return np.full(len(x), model["value"])
    >>> rows = Data(np.zeros((90, 1), np.float32), np.full(90, 2.0), ("a",), Task.REGRESSION)
    >>> fit = Shrunken().start({"prior_rows": 10}, rows, np.arange(90))
    >>> fit.advance(FULL_ROUNDS)
    >>> fit.model().predict(rows.x[:1]).round(3)
    array([1.8])
    """

    name = ""
    """The path by which a user names the family; it is set when the family is loaded."""

    tasks: tuple[Task, ...] = tuple(Task)
    """The tasks that the family can learn."""

    steps = 0
    """The number of models that a full `fit` yields; 0 for a `fit` that returns its model."""

    limits: Mapping[str, tuple[float, float]] = {}
    """Legal range of a parameter, for overrides in model.yaml."""

    rounds_per_unit = 1
    default_rounds = FULL_ROUNDS
    score_growth = math.inf

    def __init_subclass__(cls) -> None:
        """Sets `score_growth`: steps are scored as they come, but a share of the rows is a fit of its own, so that only
        the rungs are scored."""
        cls.score_growth = 1 / 3 if cls.steps else math.inf

    def space(self, task: Task) -> SearchSpace:
        """The parameters that a search may vary."""
        raise NotImplementedError

    def fit(self, params: Mapping[str, Any], data: Data, seed: int, threads: int) -> Any:
        """The model fitted on all rows of `data` or, with `steps`, an iterator over the models, one per step."""
        raise NotImplementedError

    def predict(self, model: Any, x: Matrix) -> Any:
        """Probabilities or values for the rows of `x`."""
        raise NotImplementedError

    def defaults(self, task: Task) -> Mapping[str, Any]:
        """The parameters of the first trial: by default the first choice, or the middle of the range."""
        return {parameter.name: _middle(parameter) for parameter in self.space(task)}

    def importances(self, model: Any) -> Any:
        """(columns,) the weight of each column in the model; None where there is no such measure."""
        return None

    def write(self, model: Any, folder: Path) -> None:
        """Writes the model's files into an existing folder."""
        values = {}
        for name, value in model.items():
            if isinstance(value, np.ndarray):
                np.save(folder / f"{name}.npy", value, allow_pickle=False)
            else:
                values[name] = value
        (folder / VALUES).write_text(json.dumps(values), encoding="utf-8")

    def read(self, folder: Path) -> Any:
        """The model that `write` wrote."""
        model = json.loads((folder / VALUES).read_text(encoding="utf-8"))
        arrays = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
        return {**model, **arrays}

    def supports(self, task: Task) -> bool:
        return task in self.tasks

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
    ) -> SimpleFamilyFit:
        settings = complete_params(self, data.task, params)
        check_rows(data, train)
        return SimpleFamilyFit(self, settings, data, train, valid, library_seed(seed), threads)

    def load(self, folder: Path, task: Task, n_classes: int) -> SimpleFamilyModel:
        try:
            columns = json.loads((folder / COLUMNS).read_text(encoding="utf-8"))["columns"]
            with refuse_exit(self):
                model = self.read(folder)
        except Exception as error:  # whatever a reader of one's own may raise
            raise CorruptBundle(f"family {self.name}: {type(error).__name__}: {error}") from error
        return SimpleFamilyModel(self, model, task, n_classes, int(columns))


def _middle(parameter: Parameter) -> Any:
    if isinstance(parameter, Categorical):
        return parameter.choices[0]
    low, high = parameter.low, parameter.high
    middle = math.sqrt(low * high) if parameter.log else (low + high) / 2
    return round(middle) if isinstance(parameter, Int) else middle
