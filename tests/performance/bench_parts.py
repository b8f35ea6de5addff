"""How long the parts of a search take on this machine; `make bench` prints the table."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.search.trial_storage import open_storage
from optagent.adapters.search.trial_store import TrialStore
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.analysis.bootstrap import Resampling, bootstrap_interval
from optagent.codec import model_from
from optagent.domain.model import Task
from optagent.domain.study import Study, Trial, TrialState
from optagent.training.encoding import encode, fit_schema
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_interval_of_auc_on_10_000_rows_by_1_000_resamples(benchmark, rng):
    y = (rng.random(10_000) < 0.3).astype(np.float64)
    prediction = np.clip(0.3 * y + rng.random(10_000), 0, 1)
    auc = METRICS["auc"]
    how = Resampling(time_ordered=True)
    benchmark(lambda: bootstrap_interval(auc.score, y, prediction, 0.05, how, auc.resampled))


def test_encoding_of_100_000_rows_by_50_columns(benchmark, rng):
    columns = {f"number_{index}": rng.normal(size=100_000) for index in range(40)}
    columns |= {f"text_{index}": rng.choice(["a", "b", "c", "d"], 100_000) for index in range(10)}
    table = pa.table({**columns, "y": rng.integers(0, 2, 100_000)})
    schema = fit_schema(table, model_from({"id": "m", "task": "binary", "data": "x.csv", "target": "y"}))
    benchmark(lambda: encode(table, schema))


@pytest.mark.parametrize("storage", ["memory", "sqlite"])
def test_ask_and_tell_of_tpe_with_100_trials_behind(benchmark, tmp_path: Path, storage: str):
    family = family_named("lightgbm")
    study = Study(
        study_id="s",
        model_id="m",
        task=Task.BINARY,
        metric="auc",
        maximize=True,
        spaces={family.name: family.space(Task.BINARY)},
        defaults={},
        trials=10_000,
    )
    store = TrialStore(study, open_storage(None if storage == "memory" else f"sqlite:///{tmp_path / 'trials.db'}"))

    def one() -> None:
        asked = store.ask()
        store.measure(asked, 3, (0.7,))
        store.tell(asked, Trial(asked.number, asked.family, asked.params, TrialState.COMPLETE, 0.7))

    for _ in range(100):
        one()
    benchmark.pedantic(one, rounds=50)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with EmbeddedRedis(tmp_path):  # makes the folder and warms the disk
        pass
    return tmp_path


def test_start_and_stop_of_the_embedded_redis(benchmark, home: Path):
    def start() -> None:
        EmbeddedRedis(home).close()

    benchmark.pedantic(start, rounds=5)
