"""Bundles kept on this machine: none is loaded but that whose digest the routing table or the registry names."""

import json
import os
import shutil
import stat
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.serving.bundle_cache import BundleCache
from optagent.adapters.serving.isolated import IsolatedLoader
from optagent.bootstrap import model_parts, parts
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import CorruptBundle, ModelNotFound, Unavailable
from optagent.settings import Settings, load_settings
from optagent.training.bundle import bundle_digest, save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named

MakeRows = Callable[..., pa.Table]
SaveBundle = Callable[..., Path]
ROW = {"a": 1.0, "b": 0.5}

# What the children import: a registry of folders, which is away while its folder is.
REGISTRY = """
import shutil
from optagent.domain.model import ModelVersion
from optagent.errors import ModelNotFound, Unavailable
from optagent.training.bundle import bundle_digest

class Folders:
    def __init__(self, folder): self.folder = folder
    def version(self, model_id, version):
        if not self.folder.exists(): raise Unavailable("the registry is away")
        if not (self.folder / version).exists(): raise ModelNotFound(f"{model_id} version {version}")
        return ModelVersion(model_id, version, bundle_digest(self.folder / version), 0.0)
    def fetch(self, version, into):
        return shutil.copytree(self.folder / version.version, into / "bundle")
"""
FAMILY = """
import os
from pathlib import Path
from optagent.domain.model import Task
from optagent.domain.space import Float, SearchSpace
from optagent.training.families.simple_family import SimpleFamily

Path(__file__).with_name("imported").touch()
Path(__file__).with_name("environment").write_text("\\n".join(f"{name}={value}" for name, value in os.environ.items()))

class Mean(SimpleFamily):
    tasks = (Task.REGRESSION,)
    def space(self, task): return SearchSpace((Float("share", 0.01, 1.0),))
    def fit(self, params, data, seed, threads): return {"value": 1.0}
    def predict(self, model, x): return x[:, 0] * 0 + 1.0
"""


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_rows: MakeRows) -> SaveBundle:
    """Saves a bundle of a model of its seed: models of different seeds answer differently."""
    (tmp_path / "folder_registry.py").write_text(REGISTRY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "folder_registry", raising=False)

    def save_one(folder: Path, seed: int = 0, family: str = "lightgbm") -> Path:
        table = make_rows(200, seed).select(["a", "b", "value"])
        schema = fit_schema(table, ModelSpec("churn", Task.REGRESSION, FileSource("x"), "value"))
        fit = family_named(family).start(
            {"share": 0.5} if ":" in family else {}, load_data(table, schema), np.arange(200)
        )
        fit.advance(5)
        facts = {"model_id": "churn", "task": Task.REGRESSION, "params": {}, "rounds": 5, "created_at": float(seed)}
        save_bundle(folder, fit.model(), family, schema, facts)
        return folder

    return save_one


@pytest.fixture
def loader(save: SaveBundle, tmp_path: Path) -> Iterator[IsolatedLoader]:
    import folder_registry

    loader = IsolatedLoader(partial(folder_registry.Folders, tmp_path / "registry"), tmp_path / "cache")
    yield loader
    loader.close()


def answer(loader: IsolatedLoader, *key: str) -> float:
    model = loader.load("churn", *key)
    value: float = model.answer(ROW)[0]["prediction"]
    model.close()
    return value


def test_a_home_does_not_answer_by_the_model_of_another_while_its_mlflow_is_away(
    save: SaveBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def settings(home: str, **changes: str) -> Settings:
        return load_settings(home=tmp_path / home, **changes)

    staging, production = settings("staging"), settings("live", mlflow_tracking_uri="http://127.0.0.1:9")
    parts.make_home(staging)
    model_parts.registry(staging).register("churn", save(tmp_path / "bundle"), {}, {})
    for home in (staging, production):
        with Closing(model_parts.loader(home)) as loader:
            if home is production:
                with pytest.raises(Unavailable, match=r"127[.]0[.]0[.]1:9"):
                    loader.load("churn", "1")
            else:
                loader.load("churn", "1").close()


def test_the_bundle_of_the_digest_answers_while_the_registry_is_away(
    loader: IsolatedLoader, save: SaveBundle, tmp_path: Path
) -> None:
    digest = bundle_digest(save(tmp_path / "registry" / "1"))
    value = answer(loader, "1", digest)
    (tmp_path / "registry").rename(tmp_path / "away")
    assert answer(loader, "1", digest) == value
    with pytest.raises(Unavailable, match="has no digest, so only the registry can say"):
        loader.load("churn", "1")
    with pytest.raises(Unavailable, match=f"{'0' * 12} has no sound copy on this machine: the registry is away"):
        loader.load("churn", "1", "0" * 64)
    with pytest.raises(CorruptBundle, match="is no digest"):
        loader.load("churn", "1", "../../etc")


def test_an_altered_copy_is_refused_and_fetched_again(loader: IsolatedLoader, save: SaveBundle, tmp_path: Path) -> None:
    digest = bundle_digest(save(tmp_path / "registry" / "1"))
    value = answer(loader, "1", digest)
    copy = tmp_path / "cache" / digest
    shutil.rmtree(copy)
    save(copy, seed=7)  # a sound bundle, but another one
    (tmp_path / "registry").rename(tmp_path / "away")
    with pytest.raises(Unavailable, match="has no sound copy"):
        loader.load("churn", "1", digest)
    (tmp_path / "away").rename(tmp_path / "registry")
    assert answer(loader, "1", digest) == value
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "rounds": 99}))
    assert answer(loader, "1", digest) == value
    assert bundle_digest(copy) == digest


def test_a_registry_that_was_made_anew_changes_no_answer(
    loader: IsolatedLoader, save: SaveBundle, tmp_path: Path
) -> None:
    digest = bundle_digest(save(tmp_path / "registry" / "1"))
    value = answer(loader, "1", digest)
    shutil.rmtree(tmp_path / "registry")
    other = bundle_digest(save(tmp_path / "registry" / "1", seed=7))
    assert answer(loader, "1", digest) == value
    assert answer(loader, "1") != value  # as the registry has it
    shutil.rmtree(tmp_path / "cache" / digest)
    with pytest.raises(CorruptBundle, match=f"names the bundle {digest[:12]}, the registry has {other[:12]}"):
        loader.load("churn", "1", digest)


def test_code_of_a_copy_without_a_registered_digest_is_not_imported(
    loader: IsolatedLoader, save: SaveBundle, tmp_path: Path
) -> None:
    module = f"planted_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(FAMILY))
    digest = bundle_digest(save(tmp_path / "registry" / "1"))
    planted = save(tmp_path / "planted", family=f"{module}:Mean")
    (tmp_path / "imported").unlink()
    for folder in (tmp_path / "cache" / digest, tmp_path / "cache" / "churn" / "1" / "bundle"):
        shutil.copytree(planted, folder)
    (tmp_path / "registry").rename(tmp_path / "away")
    for key in (("1",), ("1", digest)):
        with pytest.raises((Unavailable, ModelNotFound)):
            loader.load("churn", *key)
    assert not (tmp_path / "imported").exists()


def test_a_process_that_runs_a_user_s_code_has_no_secret_of_this_one(
    loader: IsolatedLoader, save: SaveBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "OPT_AGENT_REDIS_URL": "redis://:planted-1@db",
        "OPT_AGENT_SMTP_PASSWORD": "planted-2",
        "MLFLOW_TRACKING_TOKEN": "planted-3",
        "AWS_SECRET_ACCESS_KEY": "planted-4",
        "RAY_AUTH_TOKEN": "planted-5",
        "PYTHON_REGISTRY_PASSWORD": "planted-6",
    }
    module = f"curious_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(FAMILY))
    save(tmp_path / "registry" / "1", family=f"{module}:Mean")
    (tmp_path / "environment").unlink()
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    assert answer(loader, "1") == 1.0
    environment = (tmp_path / "environment").read_text()
    assert "planted" not in environment.replace(str(tmp_path), "")
    assert "PATH=" in environment


def test_what_the_process_of_a_model_is_given_carries_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = load_settings(
        home=tmp_path, redis_password="planted-1", smtp_password="planted-2", slack_webhook_url="planted-3"
    )
    with Closing(model_parts.loader(settings)) as loader:
        recipes = loader._rows_for + loader._registry  # type: ignore[attr-defined]
    assert b"planted" not in recipes
    assert b"Settings" not in recipes


def test_the_cache_is_closed_to_other_users_whatever_the_umask(
    loader: IsolatedLoader, save: SaveBundle, tmp_path: Path
) -> None:
    save(tmp_path / "registry" / "1")
    (tmp_path / "cache").mkdir(mode=0o755)
    answer(loader, "1")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_bundles_that_no_table_names_are_dropped_but_the_last_used_ones(tmp_path: Path) -> None:
    cache, digests = BundleCache(tmp_path), [f"{number:064x}" for number in range(20)]
    for age, digest in enumerate(digests):
        (tmp_path / digest).mkdir()
        os.utime(tmp_path / digest, (time.time() - 7200 - age,) * 2)
    (tmp_path / digests[19]).touch()  # it was used a moment ago
    cache.keep([digests[10], digests[11]])
    left = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert left == {digests[10], digests[11], digests[19], *digests[:3]}


class Closing:
    def __init__(self, loader: object) -> None:
        self._loader = loader

    def __enter__(self) -> IsolatedLoader:
        return self._loader  # type: ignore[return-value]

    def __exit__(self, *error: object) -> None:
        self._loader.close()  # type: ignore[attr-defined]
