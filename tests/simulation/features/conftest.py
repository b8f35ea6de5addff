"""Problems with a known answer, small enough for a unit test."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.training.problem import Data, Fold, Problem

MakeData = Callable[..., Data]


@pytest.fixture(scope="session")
def make_data() -> MakeData:
    def make(x: np.ndarray, y: np.ndarray, task: Task = Task.REGRESSION, **fields) -> Data:  # type: ignore[no-untyped-def]
        names = fields.pop("names", tuple(f"x{index}" for index in range(x.shape[1])))
        classes = {Task.BINARY: 2, Task.REGRESSION: 0}.get(task, int(y.max()) + 1)
        encoded, target = np.ascontiguousarray(x, dtype=np.float32), np.asarray(y, dtype=np.float64)
        return Data(encoded, target, names, task, n_classes=classes, **fields)

    return make


def random_folds(rows: int, folds: int = 3) -> tuple[Fold, ...]:
    part = np.random.default_rng(0).permutation(rows) % folds
    return tuple(Fold(np.flatnonzero(part != each), np.flatnonzero(part == each)) for each in range(folds))


def walk_forward(rows: int, folds: int = 3) -> tuple[Fold, ...]:
    cuts = [rows * number // (folds + 1) for number in range(1, folds + 2)]
    return tuple(Fold(np.arange(start), np.arange(start, end)) for start, end in itertools.pairwise(cuts))


@pytest.fixture(scope="session")
def planted(make_data: MakeData) -> Callable[..., Problem]:
    """The target is x0·x1 + x2/x3 and some noise; the other columns tell nothing."""

    def make(task: Task = Task.REGRESSION, rows: int = 900, ordered: bool = False) -> Problem:
        rng = np.random.default_rng(1)
        x = rng.normal(size=(rows, 8))
        x[:, 2:4] = rng.uniform(0.3, 3, size=(rows, 2))
        terms = x[:, 0] * x[:, 1], x[:, 2] / x[:, 3]
        y = sum((term - term.mean()) / term.std() for term in terms) + 0.2 * rng.normal(size=rows)
        if task.classifies:
            y = np.digitize(y, np.quantile(y, [0.5] if task is Task.BINARY else [0.33, 0.66]))
        return Problem(make_data(x, y, task), walk_forward(rows) if ordered else random_folds(rows))

    return make


@pytest.fixture(scope="session")
def noise(make_data: MakeData) -> Callable[..., Problem]:
    def make(seed: int = 0, rows: int = 240, columns: int = 5, ordered: bool = False) -> Problem:
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(rows, columns)), rng.random(rows) < 0.4
        return Problem(make_data(x, y, Task.BINARY), walk_forward(rows) if ordered else random_folds(rows))

    return make
