"""Libraries that share SQLAlchemy are loaded by one thread at a time: a search and the registry begin side by side."""

from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.models import mlflow_client, mlflow_connection
from optagent.adapters.models.mlflow_connection import MlflowConnection
from optagent.adapters.search import ray_tune
from optagent.adapters.search.ray_tune import RayTuner
from optagent.domain.model import Task


class Held(Exception):
    """Raised in place of waiting for a lock that another thread holds."""


class HeldLock:
    def __enter__(self) -> None:
        raise Held

    def __exit__(self, *error: object) -> None: ...


class Cluster:
    def check_address(self) -> None:
        pass

    def connect(self) -> None: ...


def test_a_registry_loads_mlflow_only_with_the_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(mlflow_client, "IMPORTS", HeldLock())
    monkeypatch.setattr(mlflow_connection, "IMPORTS", HeldLock())
    connection = MlflowConnection(f"sqlite:///{tmp_path}/mlflow.db", "e", cache_folder=tmp_path)
    with pytest.raises(Held), connection.session():
        pass
    with pytest.raises(Held):
        connection._client_in_turn()


def test_a_search_loads_optuna_only_with_the_lock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_tune, "IMPORTS", HeldLock())
    cluster: Any = Cluster()
    tuner = RayTuner(cluster)
    with pytest.raises(Held):
        tuner.start(Task.BINARY, ["lightgbm"])
