"""What every kind of test may use: rows to learn from, an agent without a cluster, one Ray cluster a session."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Workers that Ray starts would compile their imports anew: 6 s each instead of 1.6.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

MakeRows = Callable[..., pa.Table]


def _rows(count: int = 400, seed: int = 0, missing: float = 0.05) -> pa.Table:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count))
    region = rng.choice(["north", "south", "east"], count)
    signal = 1.5 * a - b * b + (region == "south") + rng.normal(scale=0.7, size=count)
    start = np.datetime64("2020-01-01")
    return pa.table(
        {
            "day": start + np.arange(count).astype("timedelta64[D]"),
            "a": pa.array(a, mask=rng.random(count) < missing),
            "b": b,
            "region": region,
            "sex": rng.choice(["f", "m"], count),
            "value": signal,
            "label": np.where(signal > 0, "yes", "no"),
        }
    )


@pytest.fixture(scope="session")
def make_rows() -> MakeRows:
    return _rows


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(_rows(), path)
    return path


@pytest.fixture
def churn(rows_file: Path) -> dict[str, Any]:
    """A small binary model as a user writes it."""
    return {
        "id": "churn",
        "task": "binary",
        "data": str(rows_file),
        "target": "label",
        "ignore": ["value"],
        "sensitive_columns": ["sex"],
        "time_column": "day",
        "label_horizon": "1d",
        "folds": 3,
    }


@pytest.fixture
async def agent() -> AsyncIterator[Any]:
    """An agent whose every port is in memory but for the files that it reads."""
    from optagent import create_optimization_agent
    from optagent.adapters.in_memory.clock import ManualClock
    from optagent.adapters.in_memory.observations import InMemoryObservations
    from optagent.adapters.in_memory.registry import InMemoryRegistry
    from optagent.adapters.in_memory.store import InMemoryStore
    from optagent.adapters.in_memory.tracker import InMemoryTracker
    from optagent.adapters.in_memory.tuner import SequentialTuner

    clock = ManualClock(1_700_000_000.0)
    made = await create_optimization_agent(
        clock=clock,
        store=InMemoryStore(clock),
        registry=InMemoryRegistry(clock),
        tracker=InMemoryTracker(),
        observations=InMemoryObservations(),
        tuner=SequentialTuner(),
        early_stopping_rounds=10,
    )
    async with made:
        yield made


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One Ray cluster of two workers for the whole session."""
    from optagent.adapters.cluster.ray_cluster import RayCluster

    cluster = RayCluster(num_cpus=2)
    cluster.connect()
    yield cluster
    cluster.close()
