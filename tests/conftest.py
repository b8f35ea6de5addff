"""What every kind of test may use: rows to learn from, an agent without a cluster, one Ray cluster a session.

A session is that of a worker of pytest-xdist: two of them share nothing but the folder of `mlflow_templates`.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

# Two workers of pytest-xdist and what they start share two cores: OpenMP's threads would spin while they wait for one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Workers that Ray starts would compile their imports anew: 6 s each instead of 1.6.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

MakeRows = Callable[..., pa.Table]
Forked = Callable[..., "subprocess.CompletedProcess[str]"]


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
    from optagent.adapters.in_memory.workers import SequentialWorkers
    from tests.fakes.ports_in_memory import ports_in_memory

    made = await create_optimization_agent(**ports_in_memory(), workers=SequentialWorkers(), early_stopping_rounds=10)
    async with made:
        yield made


@pytest.fixture
async def traffic(begun_traffic: Any) -> Any:
    """A model whose mixture has learned from 400 rows."""
    await begun_traffic.run(4)
    return begun_traffic


@pytest.fixture
async def begun_traffic(tmp_path: Path, churn: dict[str, Any], make_rows: Any) -> AsyncIterator[Any]:
    """A model whose mixture answers and has learned nothing yet."""
    from optagent import create_optimization_agent
    from tests.fakes.mixtures import MixedTraffic
    from tests.fakes.ports_in_memory import ports_in_memory
    from tests.fakes.routes import InMemoryRoutes

    ports = ports_in_memory()
    routes, home = InMemoryRoutes(ports["clock"]), str(tmp_path / "home")
    agent = await create_optimization_agent(strict=True, **ports, routes=routes, home=home)
    async with agent:
        mixed = MixedTraffic(agent, ports["clock"])
        await mixed.begin(churn, make_rows(), tmp_path)
        yield mixed


@pytest.fixture(scope="session")
def mlflow_templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where new MLflow databases are copied from. Migrating one takes 5 s, so all workers of pytest-xdist share it."""
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "mlflow-templates"
    folder.mkdir(exist_ok=True)
    return folder


_AT_ONCE = """
import os, sys
children = []
while len(children) < {count}:
    children.append(os.fork())
    if not children[-1]:
        break
else:
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def _forked(count: int, load: str, then: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    code = textwrap.dedent(load) + _AT_ONCE.format(count=count) + textwrap.dedent(then)
    unsaid = ("-W", "ignore:This process:DeprecationWarning")  # that it has threads, says Python 3.12 at a fork
    command = [sys.executable, *unsaid, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def forked() -> Forked:
    """Runs code in several processes at the same instant, by forking one that has loaded what they need.

    Its exit code is 0 where all of theirs are.
    """
    return _forked


@pytest.fixture(scope="session")
def importable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose modules can be imported here and on the workers of `ray_cluster`."""
    folder = tmp_path_factory.mktemp("importable")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


ON_THE_CLUSTER = {
    f"test_{name}.py"
    for name in (
        "busy_machine",
        "fair_share",
        "haproxy_rules",
        "hanging_trial",
        "monitor_actor",
        "ray_launcher",
        "score_on_ray",
        "search_faults",
        "tuner",
    )
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, the files that use `ray_cluster` go to one worker too, and there is one cluster."""
    from xdist.scheduler.loadfile import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "ray_cluster" if Path(file).name in ON_THE_CLUSTER else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def ray_cluster(importable: Path) -> Iterator[Any]:
    """One Ray cluster of two workers for the whole session."""
    from optagent.adapters.cluster.ray_cluster import RayCluster

    cluster = RayCluster(num_cpus=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(importable), prepend=os.pathsep)  # its workers have the variables of its start
        cluster.connect()
    yield cluster
    cluster.close()
