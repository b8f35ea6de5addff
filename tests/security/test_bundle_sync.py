"""Bundles that are on the disk with their folders before anything refers to them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.models.mlflow_registry import MlflowRegistry
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.training.bundle import save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that are synced, by their paths at that moment."""
    paths: list[Path] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        paths.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return paths


@pytest.fixture
def bundle(tmp_path: Path, make_rows: Callable[..., pa.Table]) -> Path:
    table = make_rows(100).select(["a", "b", "value"])
    schema = fit_schema(table, ModelSpec("m", Task.REGRESSION, FileSource("x"), "value"))
    fit = family_named("linear").start({}, load_data(table, schema), np.arange(100))
    fit.advance(1)
    facts = {"model_id": "m", "task": Task.REGRESSION, "params": {}, "rounds": 1, "created_at": 0.0}
    save_bundle(tmp_path / "bundles" / "1", fit.model(), "linear", schema, facts)
    return tmp_path / "bundles" / "1"


def test_a_bundle_is_synced_with_its_folders(synced: list[Path], bundle: Path) -> None:
    contents = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*")}
    [staging] = {path for path in synced if path.parent == bundle.parent}
    assert {path.relative_to(staging).as_posix() for path in synced if staging in path.parents} == contents
    assert "model" in contents  # a folder
    assert synced[-1] == bundle.parent  # which has the name of the bundle


def test_the_files_of_a_version_are_synced_before_the_registry_knows_it(
    tmp_path: Path, mlflow_templates: Path, bundle: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", "optagent", cache_folder=mlflow_templates)
    synced_first: list[Path] = []
    create = MlflowRegistry._create_version

    def record(self: MlflowRegistry, *arguments: object) -> object:
        synced_first.extend(synced)
        return create(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowRegistry, "_create_version", record)
    registry.register("m", bundle, {}, {})
    [model] = (tmp_path / "artifacts").glob("*/artifacts/model")
    assert {*model.rglob("*"), model, model.parent, model.parent.parent, tmp_path / "artifacts"} <= set(synced_first)
