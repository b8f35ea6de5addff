"""Existing MLflow models join the loop: converted as they are, compared with their source, pickles only on request."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
import yaml
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.models.conversion_child import convert
from optagent.adapters.models.mlflow_import import MlflowImporter
from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidData, InvalidRequest, NotFound
from optagent.training.bundle import load_bundle
from optagent.training.families.registry import family_named

TREE = ["sklearn.tree._tree.Tree"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x = pd.DataFrame(rng.normal(size=(600, 3)), columns=["b", "a", "c d"])
    x["on"] = rng.random(600) < 0.5
    signal = x["a"] + x["b"] * x["c d"] + x["on"]
    x["label"] = np.where(signal + rng.normal(scale=0.3, size=600) > 0.5, "yes", "no")
    x["three"] = np.digitize(signal, [-0.5, 1.0])
    x["value"] = signal * 1000
    x["flag"] = (x["label"] == "yes").astype(int)
    x["place"] = rng.choice(["north", "south"], 600)
    return x


FEATURES = ["b", "a", "c d", "on"]


def inputs(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[FEATURES].astype({"on": float})


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def importer(tracking: str, mlflow_templates: Path) -> MlflowImporter:
    return MlflowImporter(tracking, "optagent", cache_folder=mlflow_templates)


def importing(importer: MlflowImporter) -> Any:
    clock = ManualClock(1_700_000_000.0)
    return create_optimization_agent(
        clock=clock,
        store=InMemoryStore(clock),
        registry=InMemoryRegistry(clock),
        tracker=InMemoryTracker(),
        observations=InMemoryObservations(),
        tuner=SequentialTuner(),
        importer=importer,
        strict=True,
    )


@pytest.fixture
async def agent(importer: MlflowImporter) -> Any:
    async with await importing(importer) as made:
        yield made


def converted_here(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return json.loads(json.dumps(convert(json.loads(json.dumps(request)), folder)))


@pytest.fixture
async def quick_agent(tracking: str, mlflow_templates: Path) -> Any:
    """Converts in this process: a process of its own takes 3 s to load the libraries.

    One model of each kind of file, and all that must not harm, goes to a process of its own, as in `agent`.
    """
    importer = MlflowImporter(tracking, "optagent", cache_folder=mlflow_templates, conversion=converted_here)
    async with await importing(importer) as made:
        yield made


async def registered(agent: Any, frame: pd.DataFrame, tmp_path: Path, target: str, task: str, **fields: Any) -> str:
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    names = [name for name in frame.columns if name not in (*FEATURES, target)]
    spec = {"id": "m", "task": task, "data": str(path), "target": target, "ignore": names, "metric": "", **fields}
    await agent.register_model({name: value for name, value in spec.items() if value != ""})
    return "m"


def save_model(flavor: str, model: Any, folder: Path, frame: pd.DataFrame | None, **options: Any) -> str:
    import mlflow
    from mlflow.models import infer_signature

    signature = None if frame is None else infer_signature(inputs(frame))
    module = getattr(mlflow, flavor)
    module.save_model(model, str(folder), signature=signature, pip_requirements=["numpy"], **options)
    return str(folder)


def probabilities(agent: Any, version: Any, frame: pd.DataFrame, tmp_path: Path) -> pd.DataFrame:
    bundle = agent._ports.registry.fetch(version, tmp_path / "fetched")
    return load_bundle(bundle, version.digest).predict(frame)


def single(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as a bundle's model gets them."""
    return inputs(frame).astype(np.float32).astype(np.float64)


def fitted(kind: str, frame: pd.DataFrame) -> tuple[str, Any, dict[str, Any], Callable[[Any, Any], Any]]:
    x, label, flag = inputs(frame), frame["label"], frame["flag"]
    positive = lambda model, rows: model.predict_proba(rows)[:, 1]  # noqa: E731
    raw = lambda model, rows: model.predict(rows)  # noqa: E731
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    boosting = GradientBoostingClassifier(n_estimators=5)
    pickled = {"serialization_format": "cloudpickle"}
    made: dict[str, Callable[[], tuple[str, Any, dict[str, Any], Any]]] = {
        "lightgbm booster": lambda: (
            "lightgbm",
            lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(x, flag), 20),
            {},
            raw,
        ),
        "lightgbm wrapper": lambda: ("lightgbm", lightgbm.LGBMClassifier(verbose=-1).fit(x, label), {}, positive),
        "lightgbm stopped early": lambda: (
            "lightgbm",
            lightgbm.LGBMClassifier(verbose=-1, early_stopping_round=2, learning_rate=0.9).fit(
                x[:300], label[:300], eval_set=[(x[300:], label[300:])]
            ),
            {},
            positive,
        ),
        "xgboost booster": lambda: (
            "xgboost",
            xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, flag), 20),
            {},
            lambda model, rows: model.predict(xgboost.DMatrix(rows)),
        ),
        "xgboost json": lambda: ("xgboost", xgboost.XGBClassifier().fit(x, flag), {"model_format": "json"}, positive),
        "xgboost stopped early": lambda: (
            "xgboost",
            xgboost.XGBClassifier(early_stopping_rounds=2, learning_rate=0.9).fit(
                x[:300], flag[:300], eval_set=[(x[300:], flag[300:])], verbose=False
            ),
            {},
            positive,
        ),
        "linear pipeline": lambda: ("sklearn", logistic.fit(x, label), {}, positive),
        "forest": lambda: (
            "sklearn",
            RandomForestClassifier(10, random_state=0).fit(x, label),
            {"skops_trusted_types": TREE},
            positive,
        ),
        "pickled forest": lambda: (
            "sklearn",
            RandomForestClassifier(10, random_state=0).fit(x, label),
            pickled,
            positive,
        ),
        "pickled lightgbm": lambda: (
            "lightgbm",
            lightgbm.LGBMClassifier(verbose=-1).fit(x, label),
            pickled,
            positive,
        ),
        "pickled xgboost": lambda: ("sklearn", xgboost.XGBClassifier().fit(x, flag), pickled, positive),
        "boosting that is not kept": lambda: ("sklearn", boosting.fit(x, label), pickled, positive),
    }
    return made[kind]()


async def import_and_compare(agent: Any, frame: pd.DataFrame, tmp_path: Path, kind: str, family: str) -> None:
    flavor, model, options, predict = fitted(kind, frame)
    target = "flag" if "xgboost" in kind or "booster" in kind else "label"
    await registered(agent, frame, tmp_path, target, "binary")
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    if kind.startswith("pickled"):
        with pytest.raises(InvalidRequest, match="trust-pickle"):
            await agent.import_model(uri, "m")
    version = await agent.import_model(uri, "m", trust_pickle=kind.startswith("pickled"))
    assert (version.version, version.aliases, version.tags["family"]) == ("1", ("champion",), family)
    found = probabilities(agent, version, frame, tmp_path).iloc[:, -1]
    assert np.abs(found - predict(model, single(frame))).max() <= 1e-6
    assert version.metrics["parity_max_abs_difference"] <= 1e-6
    assert version.metrics["holdout_auc"] > 0.8


ONE_OF_EACH_KIND_OF_FILE = [
    ("lightgbm booster", "lightgbm"),
    ("lightgbm wrapper", "lightgbm"),
    ("xgboost booster", "xgboost"),
    ("xgboost json", "xgboost"),
    ("linear pipeline", "sklearn_imported"),
    ("pickled forest", "sklearn_imported"),
]
OTHERS = [
    ("lightgbm stopped early", "lightgbm"),
    ("xgboost stopped early", "xgboost"),
    ("forest", "sklearn_imported"),
    ("pickled lightgbm", "lightgbm"),
    ("pickled xgboost", "xgboost"),
]


@pytest.mark.parametrize(("kind", "family"), ONE_OF_EACH_KIND_OF_FILE)
async def test_an_imported_model_predicts_as_it_did(agent, frame, tmp_path, kind, family):
    await import_and_compare(agent, frame, tmp_path, kind, family)


@pytest.mark.parametrize(("kind", "family"), OTHERS)
async def test_so_does_one_that_was_trained_or_kept_in_another_way(quick_agent, frame, tmp_path, kind, family):
    await import_and_compare(quick_agent, frame, tmp_path, kind, family)


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost", "hist", "ridge"])
async def test_regressions_are_imported(quick_agent, frame, tmp_path, kind):
    x, y = inputs(frame), frame["value"]
    flavor, model, options = {
        "lightgbm": ("lightgbm", lightgbm.LGBMRegressor(objective="mae", verbose=-1), {}),
        "xgboost": ("xgboost", xgboost.XGBRegressor(), {}),
        "hist": ("sklearn", HistGradientBoostingRegressor(max_iter=20), {"serialization_format": "pickle"}),
        "ridge": ("sklearn", Ridge(), {}),
    }[kind]
    model.fit(x, y)
    await registered(quick_agent, frame, tmp_path, "value", "regression")
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    version = await quick_agent.import_model(uri, "m", trust_pickle=kind == "hist")
    found = probabilities(quick_agent, version, frame, tmp_path)["prediction"]
    # Histogram boosting splits at values of its rows: what counts is that 64-bit rows predict alike.
    rows = inputs(frame) if kind == "hist" else single(frame)
    moved = np.abs(found - model.predict(rows)) > 1e-6 * np.abs(found).max()
    assert moved.mean() <= (0.005 if kind == "hist" else 0.0)


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost", "sklearn"])
async def test_multiclass_models_are_imported(quick_agent, frame, tmp_path, kind):
    x, y = inputs(frame), frame["three"]
    model = {
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=10, verbose=-1),
        "xgboost": xgboost.XGBClassifier(n_estimators=10),
        "sklearn": make_pipeline(StandardScaler(), LogisticRegression()),
    }[kind].fit(x, y)
    await registered(quick_agent, frame, tmp_path, "three", "multiclass")
    version = await quick_agent.import_model(save_model(kind, model, tmp_path / "model", frame), "m")
    found = probabilities(quick_agent, version, frame, tmp_path)
    columns = [f"probability_{label}" for label in (0, 1, 2)]
    assert np.abs(found[columns].to_numpy() - model.predict_proba(single(frame))).max() <= 1e-6


async def test_a_second_import_leaves_the_champion_and_a_search_is_judged_against_it(quick_agent, frame, tmp_path):
    flavor, model, options, _ = fitted("linear pipeline", frame)
    await registered(quick_agent, frame, tmp_path, "label", "binary", families=["linear"])
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    await quick_agent.import_model(uri, "m")
    again = await quick_agent.import_model(uri, "m")
    assert (again.version, again.aliases) == ("2", ())
    result = await quick_agent.tune_hyperparameters("m", trials=2, method="random")
    assert result.baseline_name == "champion (version 1)"


async def test_a_search_starts_from_the_parameters_of_an_imported_champion(quick_agent, frame, tmp_path):
    model = lightgbm.LGBMClassifier(num_leaves=7, learning_rate=0.2, verbose=-1).fit(inputs(frame), frame["label"])
    await registered(quick_agent, frame, tmp_path, "label", "binary")
    version = await quick_agent.import_model(save_model("lightgbm", model, tmp_path / "model", frame), "m")
    params = json.loads(version.tags["params"])
    assert (params["num_leaves"], params["learning_rate"], params["max_bin"]) == (7, 0.2, 255)
    assert set(params) == set(family_named("lightgbm").space(Task.BINARY).names)


async def test_a_positive_class_that_stands_first_is_told_apart(quick_agent, frame, tmp_path):
    flavor, model, options, predict = fitted("linear pipeline", frame)
    await registered(quick_agent, frame, tmp_path, "label", "binary", positive_class="no")
    version = await quick_agent.import_model(save_model(flavor, model, tmp_path / "model", frame, **options), "m")
    found = probabilities(quick_agent, version, frame, tmp_path)
    assert np.abs(found["probability_yes"] - predict(model, single(frame))).max() <= 1e-6
    flavor, model, options, _ = fitted("lightgbm wrapper", frame)
    with pytest.raises(InvalidRequest, match="positive_class: 'yes'"):
        await quick_agent.import_model(save_model(flavor, model, tmp_path / "other", frame, **options), "m")


async def test_models_come_from_the_registry_and_from_runs(quick_agent, frame, tmp_path, tracking, importer):
    import mlflow

    flavor, model, options, _ = fitted("lightgbm booster", frame)
    folder = save_model(flavor, model, tmp_path / "model", frame, **options)
    await registered(quick_agent, frame, tmp_path, "flag", "binary")
    with importer._server.session() as client:
        run = client.create_run(importer._server.experiment_id())
        client.log_artifacts(run.info.run_id, folder, "some/model")
        client.create_registered_model("theirs")
        client.create_model_version("theirs", f"{run.info.artifact_uri}/some/model", run_id=run.info.run_id)
        client.set_registered_model_alias("theirs", "live", "1")
    before = mlflow.get_tracking_uri()
    for uri in ("models:/theirs/1", "models:/theirs@live", f"runs:/{run.info.run_id}/some/model"):
        version = await quick_agent.import_model(uri, "m")
        assert version.tags["imported_from"] == uri
    assert mlflow.get_tracking_uri() == before
    for uri in ("models:/theirs/9", "models:/nobody/1", f"runs:/{'0' * 32}/model"):
        with pytest.raises((NotFound, InvalidRequest)):
            await quick_agent.import_model(uri, "m")


@pytest.mark.parametrize("uri", ["https://example.org/model", "nowhere", "s3://bucket/model"])
async def test_what_is_no_mlflow_model_is_refused(agent, frame, tmp_path, uri):
    await registered(agent, frame, tmp_path, "label", "binary")
    with pytest.raises(InvalidRequest, match="models:/NAME/VERSION"):
        await agent.import_model(uri, "m")
    with pytest.raises(InvalidRequest, match="not an MLflow model"):
        await agent.import_model(str(tmp_path), "m")


async def test_columns_that_are_missing_sensitive_or_no_numbers_are_named(quick_agent, frame, tmp_path):
    flavor, model, options, _ = fitted("lightgbm wrapper", frame)
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    await registered(quick_agent, frame.drop(columns=["a", "c d"]), tmp_path, "label", "binary")
    with pytest.raises(InvalidData, match=r"lacks \['a', 'c d'\]"):
        await quick_agent.import_model(uri, "m")
    await registered(quick_agent, frame, tmp_path, "label", "binary", sensitive_columns=["on"])
    with pytest.raises(InvalidData, match="'on', but it is a sensitive column"):
        await quick_agent.import_model(uri, "m")
    texts = frame.assign(a=frame["a"].astype(str))
    await registered(quick_agent, texts, tmp_path, "label", "binary")
    with pytest.raises(InvalidData, match=r"'a', but it is of type .*string"):
        await quick_agent.import_model(uri, "m")


async def test_a_model_without_names_needs_the_listed_features(quick_agent, frame, tmp_path):
    model = RandomForestClassifier(5, random_state=0).fit(inputs(frame).to_numpy(), frame["label"])
    uri = save_model("sklearn", model, tmp_path / "model", None, skops_trusted_types=TREE)
    await registered(quick_agent, frame, tmp_path, "label", "binary")
    with pytest.raises(InvalidData, match=r"list them in model\.yaml"):
        await quick_agent.import_model(uri, "m")
    await registered(quick_agent, frame, tmp_path, "label", "binary", features=FEATURES)
    version = await quick_agent.import_model(uri, "m")
    found = probabilities(quick_agent, version, frame, tmp_path)["probability_yes"]
    assert np.abs(found - model.predict_proba(single(frame).to_numpy())[:, 1]).max() <= 1e-6


def categorical_lightgbm(frame: pd.DataFrame) -> tuple[str, Any]:
    x = frame[["a", "place"]].astype({"place": "category"})
    return "lightgbm", lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(x, frame["flag"]), 3)


def categorical_xgboost(frame: pd.DataFrame) -> tuple[str, Any]:
    x = frame[["a", "place"]].astype({"place": "category"})
    data = xgboost.DMatrix(x, frame["flag"], enable_categorical=True)
    return "xgboost", xgboost.train({"objective": "binary:logistic"}, data, 3)


def poisson(frame: pd.DataFrame) -> tuple[str, Any]:
    data = lightgbm.Dataset(inputs(frame), frame["flag"])
    return "lightgbm", lightgbm.train({"objective": "poisson", "verbose": -1}, data, 3)


def dart(frame: pd.DataFrame) -> tuple[str, Any]:
    data = xgboost.DMatrix(inputs(frame), frame["flag"])
    return "xgboost", xgboost.train({"objective": "binary:logistic", "booster": "dart"}, data, 3)


def regression(frame: pd.DataFrame) -> tuple[str, Any]:
    return "sklearn", Ridge().fit(inputs(frame), frame["flag"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (categorical_lightgbm, "numeric columns only"),
        (categorical_xgboost, "numeric columns only"),
        (poisson, "objective 'poisson'"),
        (dart, "gbtree is needed"),
        (regression, "predict_proba"),
    ],
)
async def test_what_a_bundle_cannot_express_is_refused_with_the_reason(quick_agent, frame, tmp_path, make, said):
    flavor, model = make(frame)
    await registered(quick_agent, frame, tmp_path, "flag", "binary")
    with pytest.raises(InvalidRequest, match=said):
        await quick_agent.import_model(save_model(flavor, model, tmp_path / "model", None), "m")
    assert await quick_agent.versions("m") == []


async def test_a_type_that_no_bundle_may_hold_is_named(agent, frame, tmp_path):
    flavor, model, options, _ = fitted("boosting that is not kept", frame)
    await registered(agent, frame, tmp_path, "label", "binary")
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    with pytest.raises(CorruptBundle, match="GradientBoostingClassifier"):
        await agent.import_model(uri, "m", trust_pickle=True)


@pytest.mark.parametrize("kind", ["lightgbm booster", "lightgbm wrapper", "xgboost booster", "forest"])
async def test_a_broken_file_ends_its_own_process_only(agent, frame, tmp_path, kind):
    flavor, model, options, _ = fitted(kind, frame)
    await registered(agent, frame, tmp_path, "flag" if "booster" in kind else "label", "binary")
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    path = next(path for path in (tmp_path / "model").iterdir() if path.name.startswith("model."))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((CorruptBundle, InvalidRequest)):
        await agent.import_model(uri, "m")


async def test_values_that_32_bits_cannot_tell_apart_are_refused(quick_agent, frame, tmp_path):
    moved = frame.assign(a=frame["a"] / 100 + 1e7)
    model = lightgbm.LGBMClassifier(verbose=-1).fit(inputs(moved), moved["label"])
    await registered(quick_agent, moved, tmp_path, "label", "binary")
    with pytest.raises(InvalidData, match="32-bit"):
        await quick_agent.import_model(save_model("lightgbm", model, tmp_path / "model", moved), "m")


class Payload:
    """A malicious pickle: when it is opened, it writes down all that it can see of its process."""

    def __init__(self, told: Path) -> None:
        self._told = told

    def __reduce__(self) -> Any:
        code = (
            "import json, os, resource; "
            f"open({str(self._told)!r}, 'w').write(json.dumps({{'environment': dict(os.environ), 'pid': os.getpid(), "
            "'folder': os.getcwd(), 'memory': resource.getrlimit(resource.RLIMIT_AS)[0]}))"
        )
        return exec, (code,)


@contextmanager
def secrets() -> Iterator[None]:
    names = ("OPT_AGENT_REDIS_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "GITHUB_TOKEN", "MY_SECRET")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setenv(name, "s3cr3t-value")
        yield


@pytest.mark.parametrize("flavor", ["sklearn", "lightgbm"])
async def test_a_malicious_pickle_runs_only_for_who_trusts_it_and_sees_no_secret(agent, frame, tmp_path, flavor):
    kind = {"sklearn": "pickled forest", "lightgbm": "pickled lightgbm"}[flavor]
    _, model, options, _ = fitted(kind, frame)
    await registered(agent, frame, tmp_path, "label", "binary")
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    told = tmp_path / "told.json"
    (tmp_path / "model" / "model.pkl").write_bytes(pickle.dumps(Payload(told)))
    with secrets():
        with pytest.raises(InvalidRequest, match="pickle"):
            await agent.import_model(uri, "m")
        assert not told.exists()
        with pytest.raises(InvalidRequest, match="NoneType"):
            await agent.import_model(uri, "m", trust_pickle=True)
    seen = json.loads(told.read_text())
    assert seen["pid"] != os.getpid()
    assert "s3cr3t-value" not in json.dumps(seen)
    assert set(seen["environment"]) <= {
        *("PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH"),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
        *("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"),
    }
    assert Path(seen["environment"]["HOME"]) != Path.home()
    assert seen["folder"] == seen["environment"]["HOME"]
    assert 0 < seen["memory"] <= 8 * 2**30
    assert await agent.versions("m") == []


@pytest.mark.parametrize("disguise", ["named skops", "told to be skops"])
async def test_a_pickle_in_disguise_is_never_opened(agent, frame, tmp_path, disguise):
    flavor, model, options, _ = fitted("linear pipeline", frame)
    await registered(agent, frame, tmp_path, "label", "binary")
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    told = tmp_path / "told.json"
    (tmp_path / "model" / "model.skops").write_bytes(pickle.dumps(Payload(told)))
    if disguise == "told to be skops":
        path = tmp_path / "model" / "MLmodel"
        content = yaml.safe_load(path.read_text())
        content["flavors"]["sklearn"]["skops_trusted_types"] = ["builtins.exec", "os.system"]
        path.write_text(yaml.safe_dump(content))
    with pytest.raises(CorruptBundle):
        await agent.import_model(uri, "m")
    assert not told.exists()


async def test_a_file_outside_the_model_is_not_read(agent, frame, tmp_path):
    flavor, model, options, _ = fitted("lightgbm booster", frame)
    await registered(agent, frame, tmp_path, "flag", "binary")
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    shutil.move(tmp_path / "model" / "model.lgb", tmp_path / "elsewhere.lgb")
    path = tmp_path / "model" / "MLmodel"
    for name in ("../elsewhere.lgb", str(tmp_path / "elsewhere.lgb"), "model.lgb"):
        path.write_text(path.read_text().replace("data: model.lgb", f"data: {name}", 1))
        with pytest.raises(InvalidRequest, match=r"not one of the model's|is missing"):
            await agent.import_model(uri, "m")


def test_the_command_line_imports(frame, tmp_path):
    flavor, model, options, _ = fitted("lightgbm wrapper", frame)
    uri = save_model(flavor, model, tmp_path / "model", frame, **options)
    frame.to_parquet(tmp_path / "rows.parquet")
    spec = {"id": "m", "task": "binary", "data": "rows.parquet", "target": "label", "features": FEATURES}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(spec))
    environment = {**os.environ, "OPT_AGENT_HOME": str(tmp_path / "home")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "optagent.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    assert run("register", "model.yaml").returncode == 0
    done = run("import", uri, "--as", "m")
    assert (done.returncode, done.stderr) == (0, "")
    assert "as version 1 of m champion" in " ".join(done.stdout.split())
    unknown = run("import", uri, "--as", "nobody")
    assert (unknown.returncode, "nobody" in unknown.stderr) == (2, True)
