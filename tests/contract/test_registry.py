"""Contract of every registry, and the further claims of the one on MLflow."""

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.models.mlflow_registry import MlflowRegistry
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import CorruptBundle, InvalidRequest, ModelNotFound
from optagent.ports import Registry
from optagent.training.bundle import bundle_digest, load_bundle, save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named

SaveBundle = Callable[[str], Path]


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    numbers = np.random.default_rng(5).random(200)
    return pa.table(
        {
            "amount": pa.array([None if i % 11 == 0 else value for i, value in enumerate(numbers)]),
            "count": pa.array((numbers * 1000).astype(np.int64)),
            "city": pa.array([("Bern", "Rome", "Oslo")[i % 3] for i in range(200)]),
            "label": pa.array(["yes" if value > 0.5 else "no" for value in numbers]),
        }
    )


@pytest.fixture
def make_bundle(rows: pa.Table, tmp_path: Path) -> SaveBundle:
    schema = fit_schema(rows, ModelSpec("churn", Task.BINARY, FileSource("x.csv"), "label"))
    data = load_data(rows, schema)

    def make(name: str) -> Path:
        fit = family_named("lightgbm").start({}, data, np.arange(len(data)))
        fit.advance(5)
        facts = {"model_id": "churn", "task": Task.BINARY, "params": {}, "rounds": 5, "created_at": 1.0}
        save_bundle(tmp_path / name, fit.model(), "lightgbm", schema, {**facts, "data": {"name": name}})
        return tmp_path / name

    return make


@pytest.fixture
def mlflow_registry(tmp_path: Path, mlflow_templates: Path) -> MlflowRegistry:
    return MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", "optagent", cache_folder=mlflow_templates)


@pytest.fixture(params=["in_memory", "mlflow"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param == "in_memory":
        yield InMemoryRegistry(ManualClock(1000.0))
    else:
        yield request.getfixturevalue("mlflow_registry")


def test_a_version_keeps_its_digest_metrics_and_tags(registry: Registry, make_bundle: SaveBundle) -> None:
    bundle = make_bundle("a")
    registered = registry.register("churn", bundle, {"roc_auc": 0.8125, "log_loss": 0.3}, {"verdict": "pass", "k": ""})
    assert registered == registry.version("churn", registered.version)
    assert registered.digest == bundle_digest(bundle)
    assert registered.metrics == {"roc_auc": 0.8125, "log_loss": 0.3}
    assert registered.tags == {"verdict": "pass", "k": ""}
    assert registered.aliases == ()
    assert registered.created_at > 0


def test_versions_count_up_and_are_listed_newest_first(registry: Registry, make_bundle: SaveBundle) -> None:
    assert registry.versions("churn") == []
    for name in ("a", "b", "c"):
        registry.register("churn", make_bundle(name), {}, {})
    registry.set_alias("churn", "champion", "2")
    versions = registry.versions("churn")
    assert [version.version for version in versions] == ["3", "2", "1"]
    assert [version.aliases for version in versions] == [(), ("champion",), ()]
    assert versions[1] == registry.version("churn", "champion")
    assert len({version.digest for version in versions}) == 3


def test_an_alias_points_to_one_version_and_moves(registry: Registry, make_bundle: SaveBundle) -> None:
    for name in ("a", "b"):
        registry.register("churn", make_bundle(name), {}, {})
    registry.set_alias("churn", "champion", "1")
    registry.set_alias("churn", "challenger", "2")
    assert registry.version("churn", "champion").version == "1"
    registry.set_alias("churn", "champion", "2")
    assert registry.version("churn", "champion").version == "2"
    assert registry.version("churn", "2").aliases == ("challenger", "champion")
    assert registry.version("churn", "1").aliases == ()


def test_models_do_not_share_versions_or_aliases(registry: Registry, make_bundle: SaveBundle) -> None:
    registry.register("churn", make_bundle("a"), {}, {})
    registry.register("fraud", make_bundle("b"), {}, {})
    registry.set_alias("churn", "champion", "1")
    assert registry.version("fraud", "1").aliases == ()
    with pytest.raises(ModelNotFound):
        registry.version("fraud", "champion")


@pytest.mark.parametrize("asked", ["7", "champion", "no such alias!"])
def test_what_is_not_there_is_not_found(registry: Registry, make_bundle: SaveBundle, asked: str) -> None:
    with pytest.raises(ModelNotFound, match="churn"):
        registry.version("churn", asked)
    registry.register("churn", make_bundle("a"), {}, {})
    with pytest.raises(ModelNotFound, match="churn"):
        registry.version("churn", asked)
    with pytest.raises(ModelNotFound, match="churn"):
        registry.set_alias("churn", "champion", "7")
    with pytest.raises(ModelNotFound, match="fraud"):
        registry.set_alias("fraud", "champion", "1")


def test_a_name_that_cannot_be_one_is_refused(registry: Registry, make_bundle: SaveBundle) -> None:
    with pytest.raises(InvalidRequest):
        registry.register("a/b", make_bundle("a"), {}, {})


def test_a_fetched_bundle_predicts_bit_for_bit_as_the_one_registered(
    registry: Registry, make_bundle: SaveBundle, rows: pa.Table, tmp_path: Path
) -> None:
    bundle = make_bundle("a")
    version = registry.register("churn", bundle, {}, {})
    for _ in range(2):
        fetched = registry.fetch(version, tmp_path / "fetched")
        assert fetched.is_relative_to(tmp_path / "fetched")
        assert load_bundle(fetched, version.digest).predict(rows) == load_bundle(bundle).predict(rows)


def test_a_fetch_repairs_an_altered_copy(registry: Registry, make_bundle: SaveBundle, tmp_path: Path) -> None:
    version = registry.register("churn", make_bundle("a"), {}, {})
    fetched = registry.fetch(version, tmp_path / "fetched")
    (fetched / "model" / "model.txt").write_text("altered")
    load_bundle(registry.fetch(version, tmp_path / "fetched"), version.digest)


def test_a_folder_that_is_no_sound_bundle_is_not_registered(registry: Registry, make_bundle: SaveBundle) -> None:
    bundle = make_bundle("a")
    (bundle / "model" / "model.txt").write_text("altered")
    with pytest.raises(CorruptBundle, match=r"model\.txt"):
        registry.register("churn", bundle, {}, {})
    assert registry.versions("churn") == []


def test_a_version_of_another_digest_is_not_fetched(
    registry: Registry, make_bundle: SaveBundle, tmp_path: Path
) -> None:
    version = registry.register("churn", make_bundle("a"), {}, {})
    with pytest.raises(CorruptBundle):
        registry.fetch(replace(version, digest="0" * 64), tmp_path / "fetched")


def test_one_altered_byte_in_any_file_of_the_artifact_store_is_found(
    mlflow_registry: MlflowRegistry, make_bundle: SaveBundle, tmp_path: Path
) -> None:
    version = mlflow_registry.register("churn", make_bundle("a"), {}, {})
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert {"MLmodel", "model.txt", "manifest.json", "schema.json"} <= {path.name for path in files}
    for number, path in enumerate(files):
        content = path.read_bytes()
        altered = bytearray(content)
        altered[len(altered) // 2] ^= 1
        path.write_bytes(altered)
        with pytest.raises(CorruptBundle, match=path.name if "bundle" in path.parts else "churn version 1"):
            mlflow_registry.fetch(version, tmp_path / f"fetched-{number}")
        path.write_bytes(content)
    mlflow_registry.fetch(version, tmp_path / "fetched")


def test_files_that_are_gone_from_the_artifact_store_are_a_corrupt_bundle(
    mlflow_registry: MlflowRegistry, make_bundle: SaveBundle, tmp_path: Path
) -> None:
    version = mlflow_registry.register("churn", make_bundle("a"), {}, {})
    shutil.rmtree(tmp_path / "artifacts")
    with pytest.raises(CorruptBundle, match="churn version 1"):
        mlflow_registry.fetch(version, tmp_path / "fetched")


def test_plain_mlflow_opens_the_champion_and_predicts_bit_for_bit_the_same(
    mlflow_registry: MlflowRegistry, make_bundle: SaveBundle, rows: pa.Table, tmp_path: Path
) -> None:
    bundle = make_bundle("a")
    mlflow_registry.register("churn", bundle, {}, {})
    mlflow_registry.set_alias("churn", "champion", "1")
    pq.write_table(rows.drop_columns("label"), tmp_path / "rows.parquet")
    script = """
        import sys
        import mlflow, pandas as pd
        mlflow.set_tracking_uri(sys.argv[1])
        model = mlflow.pyfunc.load_model("models:/churn@champion")
        frame = pd.read_parquet(sys.argv[2])
        model.predict(frame).to_parquet(sys.argv[3])
        one = model.predict(frame.iloc[:1].to_dict("records"))
        assert one.equals(model.predict(frame.iloc[:1])), one
    """
    arguments = [f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "rows.parquet"), str(tmp_path / "answer.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    expected = load_bundle(bundle).predict(rows)
    answer = pq.read_table(tmp_path / "answer.parquet")
    assert answer["prediction"].to_pylist() == expected["prediction"].to_pylist()
    for name in ("probability_no", "probability_yes"):
        assert answer[name].to_numpy().tobytes() == expected[name].to_numpy().tobytes()


def test_a_kill_anywhere_between_the_files_and_the_version_leaves_no_version(
    mlflow_registry: MlflowRegistry, make_bundle: SaveBundle, mlflow_templates: Path, tmp_path: Path
) -> None:
    bundle = make_bundle("a")
    mlflow_registry.register("fraud", bundle, {}, {})
    script = """
        import os, signal, sys
        from pathlib import Path
        from optagent.adapters.models.mlflow_client import quiet_mlflow
        from optagent.adapters.models.mlflow_registry import MlflowRegistry
        with quiet_mlflow():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # loaded once, for both

        class Killed(MlflowRegistry):
            pass

        for step in ("_ensure_name", "_create_version"):
            child = os.fork()
            if not child:
                setattr(Killed, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                registry = Killed(sys.argv[1], "optagent", cache_folder=Path(sys.argv[2]))
                registry.register("churn", Path(sys.argv[3]), {}, {})
            print(step, os.WTERMSIG(os.waitpid(child, 0)[1]))
    """
    arguments = [f"sqlite:///{tmp_path}/mlflow.db", str(mlflow_templates), str(bundle)]
    before = len(list((tmp_path / "artifacts").rglob("MLmodel")))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["_ensure_name 9", "_create_version 9"], done.stderr
    assert len(list((tmp_path / "artifacts").rglob("MLmodel"))) == before + 2
    assert mlflow_registry.versions("churn") == []
    assert mlflow_registry.register("churn", bundle, {}, {}).version == "1"


def test_mlflows_global_address_is_left_alone(mlflow_registry: MlflowRegistry, make_bundle: SaveBundle) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow_registry.register("churn", make_bundle("a"), {"auc": 0.5}, {})
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_a_version_that_something_else_registered_is_not_ours(
    mlflow_registry: MlflowRegistry, make_bundle: SaveBundle, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    mlflow_registry.register("churn", make_bundle("a"), {}, {})
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    foreign = client.create_model_version("churn", (tmp_path / "elsewhere").as_uri(), run_id="0" * 32)
    assert [version.version for version in mlflow_registry.versions("churn")] == ["1"]
    with pytest.raises(ModelNotFound, match="not registered by optagent"):
        mlflow_registry.version("churn", str(foreign.version))


def test_registering_writes_nothing_to_the_terminal(
    make_bundle: SaveBundle, mlflow_templates: Path, tmp_path: Path
) -> None:
    bundle = make_bundle("a")
    script = """
        import sys
        from pathlib import Path
        from optagent.adapters.models.mlflow_registry import MlflowRegistry
        registry = MlflowRegistry(sys.argv[1], "optagent", cache_folder=Path(sys.argv[2]))
        version = registry.register("churn", Path(sys.argv[3]), {"auc": 0.5}, {"a": "b"})
        registry.set_alias("churn", "champion", "1")
        registry.fetch(version, Path(sys.argv[4]))
    """
    arguments = [f"sqlite:///{tmp_path}/new/mlflow.db", str(mlflow_templates), str(bundle), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_deleted_version_is_gone_with_its_files_and_its_number_is_not_given_again(
    registry: Registry, make_bundle: SaveBundle, tmp_path: Path
) -> None:
    first = registry.register("churn", make_bundle("a"), {}, {})
    second = registry.register("churn", make_bundle("b"), {}, {})
    registry.set_alias("churn", "champion", first.version)
    registry.delete_version(second)
    registry.delete_version(second)
    assert [version.version for version in registry.versions("churn")] == [first.version]
    with pytest.raises(ModelNotFound):
        registry.version("churn", second.version)
    assert registry.fetch(registry.version("churn", "champion"), tmp_path / "fetched").is_dir()
    assert registry.register("churn", make_bundle("c"), {}, {}).version == "3"


def test_the_files_of_a_deleted_version_are_gone_from_the_artifacts_of_mlflow(
    make_bundle: SaveBundle, tmp_path: Path, mlflow_templates: Path
) -> None:
    registry = MlflowRegistry(
        f"sqlite:///{tmp_path}/mlflow.db", "optagent", str(tmp_path / "artifacts"), cache_folder=mlflow_templates
    )
    version = registry.register("churn", make_bundle("a"), {}, {})
    assert list((tmp_path / "artifacts").rglob("MLmodel"))
    registry.delete_version(version)
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []
