"""Small tables with all that real ones bring: missing numbers, few and many levels, imbalance, weights."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from optagent.domain.model import Task
from optagent.training.problem import Data

MakeData = Callable[..., Data]


def _data(task: Task, rows: int = 320, seed: int = 0, weighted: bool = False, categorical: bool = True) -> Data:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    signal = 2.0 * x[:, 0] - x[:, 1].astype(np.float64) ** 2
    if categorical:
        x[:, 3] = rng.integers(0, 4, rows)
        x[:, 4] = rng.integers(0, 200, rows)
        signal = signal + 2.0 * (x[:, 3] == 2) + (x[:, 4] % 2)
    signal = signal + 0.3 * rng.normal(size=rows)
    x[rng.random(x.shape) < 0.08] = np.nan
    cuts = {Task.BINARY: (0.75,), Task.MULTICLASS: (0.3, 0.85)}.get(task)
    y = signal if cuts is None else np.searchsorted(np.quantile(signal, cuts), signal).astype(np.float64)
    return Data(
        x=x,
        y=y,
        names=("a", "b,c", "{d}", "e[0]", "<f>"),
        task=task,
        categorical=(3, 4) if categorical else (),
        levels=(4, 200) if categorical else (),
        n_classes=0 if cuts is None else len(cuts) + 1,
        weight=rng.uniform(0.5, 2.0, rows) if weighted else None,
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make a small model slow."""
    import catboost  # noqa: F401
    import lightgbm  # noqa: F401
    import xgboost  # noqa: F401
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: F401

    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def make_data() -> MakeData:
    return _data
