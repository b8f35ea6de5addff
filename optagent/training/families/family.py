"""Model family protocol: a search space, a fit that advances by steps, a prediction, and files without pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction, Rows
from optagent.domain.model import Task
from optagent.domain.space import SearchSpace
from optagent.training.problem import Data

Cache = dict[Any, Any]
"""Data that one worker keeps between trials on the same rows, such as binned datasets. Each family bounds its share."""


class FittedModel(Protocol):
    """A trained model, without its data."""

    def predict(self, x: Matrix) -> Prediction: ...

    def save(self, folder: Path) -> None:
        """Writes the native files of the model into an existing folder."""
        ...

    def importances(self) -> npt.NDArray[np.float64]:
        """(columns,) non-negative, summing to 1 unless all are 0."""
        ...


class Fit(Protocol):
    """A model under training on some rows."""

    rounds: int
    """Training steps done so far."""

    def advance(self, rounds: int) -> None:
        """Trains on to `rounds` steps in all; raises Infeasible where the parameters cannot be trained."""
        ...

    def predict_valid(self) -> Prediction:
        """The prediction on the validation rows at the present step."""
        ...

    def model(self, rounds: int | None = None) -> FittedModel:
        """The model as it is, or as it was after `rounds` steps where the family can cut back."""
        ...


class Family(Protocol):
    """A kind of model. Stateless; parameters are plain values by name."""

    name: str
    rounds_per_unit: int
    """Training steps in one unit of a study's budget (boosting rounds, trees, shares of the data)."""

    score_growth: float
    """After u units of a trial the next score is taken at u + max(1, u·growth): 0 is every unit, inf the rungs only."""

    default_rounds: int
    """Training steps that go with the family's defaults, as the library ships them."""

    limits: Mapping[str, tuple[float, float]]
    """Legal range of a parameter, for overrides."""

    def supports(self, task: Task) -> bool: ...

    def space(self, task: Task) -> SearchSpace:
        """The parameters, and their ranges, that a practitioner would search."""
        ...

    def defaults(self, task: Task) -> Mapping[str, Any]:
        """The library's own defaults for every parameter of the space."""
        ...

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
    ) -> Fit:
        """A fit at step 0. A `cache` keeps binned data for the next trial on the same `data` and rows."""
        ...

    def load(self, folder: Path, task: Task, n_classes: int) -> FittedModel:
        """The model that `save` wrote; raises CorruptBundle for any file or type that `save` would not write."""
        ...
