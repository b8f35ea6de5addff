"""Contract of every loader."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.models.mlflow_registry import MlflowRegistry
from optagent.adapters.serving.isolated import IsolatedLoader
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import CorruptBundle, ModelNotFound, TooLarge, Unavailable
from optagent.ports import Loader, Registry
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from tests.fakes.loader import InMemoryLoader

MakeRows = Callable[..., pa.Table]
FEATURES = ["a", "b", "region"]


@pytest.fixture(params=["in_memory", "isolated"])
def registry_and_loader(
    request: pytest.FixtureRequest, tmp_path: Path, mlflow_templates: Path
) -> Iterator[tuple[Registry, Loader]]:
    if request.param == "in_memory":
        registry: Registry = InMemoryRegistry(ManualClock(1000.0))
        loader: Loader = InMemoryLoader(registry, most_rows=100)
    else:
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        make = partial(MlflowRegistry, uri, "optagent", cache_folder=mlflow_templates)
        registry, loader = make(), IsolatedLoader(make, tmp_path / "cache", most_rows=100)
    yield registry, loader
    loader.close()


@pytest.fixture
def bundle(tmp_path: Path, make_rows: MakeRows) -> Path:
    table = make_rows().select([*FEATURES, "label"])
    schema = fit_schema(table, ModelSpec("churn", Task.BINARY, FileSource("x.csv"), "label"))
    data = load_data(table, schema)
    fit = family_named("lightgbm").start({}, data, np.arange(len(data)))
    fit.advance(20)
    facts = {"model_id": "churn", "task": Task.BINARY, "params": {}, "rounds": 20, "created_at": 1.0}
    save_bundle(tmp_path / "bundle", fit.model(), "lightgbm", schema, facts)
    return tmp_path / "bundle"


def test_a_version_answers_as_it_does_where_it_was_trained_until_the_loader_is_closed(
    registry_and_loader: tuple[Registry, Loader], bundle: Path, make_rows: MakeRows
) -> None:
    registry, loader = registry_and_loader
    version = registry.register("churn", bundle, {}, {}).version
    model = loader.load("churn", version)
    assert (model.version, model.task, model.classes) == (version, Task.BINARY, ("no", "yes"))
    assert model.reason
    rows = make_rows().select(FEATURES).slice(0, 100)
    expected = load_bundle(bundle).predict(rows)
    answers = model.format_table(model.scores(model.reader.read_table(rows)))
    assert answers["prediction"].equals(expected["prediction"])
    np.testing.assert_allclose(model.scores(model.reader.read(rows)), expected["probability_yes"], rtol=0, atol=1e-6)
    with pytest.raises(TooLarge, match="the limit is 100"):
        model.reader.read(make_rows().select(FEATURES))
    model.close()


def test_what_is_not_there_is_not_found(registry_and_loader: tuple[Registry, Loader], bundle: Path) -> None:
    registry, loader = registry_and_loader
    registry.register("churn", bundle, {}, {})
    with pytest.raises(ModelNotFound, match="7"):
        loader.load("churn", "7")


def test_a_bundle_that_was_altered_is_never_loaded(
    registry_and_loader: tuple[Registry, Loader], bundle: Path, tmp_path: Path
) -> None:
    registry, loader = registry_and_loader
    version = registry.register("churn", bundle, {}, {}).version
    kept_in = Path(getattr(registry, "_folder", tmp_path))
    for schema in kept_in.rglob("schema.json"):
        schema.write_text("{}")
    with pytest.raises(CorruptBundle):
        loader.load("churn", version)


def test_a_closed_loader_of_processes_starts_none(tmp_path: Path) -> None:
    loader = IsolatedLoader(partial(InMemoryRegistry, ManualClock(1000.0)), tmp_path)
    loader.close()
    with pytest.raises(Unavailable, match="closed"):
        loader.load("churn", "1")
