"""Model parts: the registry, the tracker, the importer and the loader of versions that the settings name."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs

from optagent.extras import is_installed, missing_library
from optagent.ports import Importer, Loader, Registry, Tracker
from optagent.ports.absent import AbsentPort, AbsentRegistry
from optagent.settings import Settings

_A_REGISTRY = "a registry of models"


def tracking_uri(settings: Settings) -> str:
    """The MLflow of studies and versions: the configured one, or the SQLite database of the home folder."""
    return settings.mlflow_tracking_uri or f"sqlite:///{_mlflow_database(settings)}"


def tracker(settings: Settings) -> Tracker:
    """The tracker; MissingExtra where MLflow is not installed, but is configured or has been used by this home."""
    if not is_installed("mlflow"):
        if settings.mlflow_tracking_uri is not None or _mlflow_database(settings).exists():
            raise missing_library("mlflow", f"the MLflow at {_shown_address(settings)}")
        return AbsentPort("mlflow", _A_REGISTRY)
    from optagent.adapters.models.mlflow_tracker import MlflowTracker

    return MlflowTracker(**_mlflow(settings))


def importer(settings: Settings) -> Importer:
    if not is_installed("mlflow"):
        return AbsentPort("mlflow", "the import of a model")
    from optagent.adapters.models.mlflow_import import MlflowImporter

    return MlflowImporter(**_mlflow(settings))


def registry(settings: Settings) -> Registry:
    return _registry_at(_mlflow(settings))


def registry_recipe(settings: Settings) -> Callable[[], Registry]:
    """A function that makes the registry in another process, and carries nothing else of the settings."""
    return partial(_registry_at, _mlflow(settings))


def loader(settings: Settings) -> Loader:
    """A loader that runs versions of the registry in processes of their own."""
    if not is_installed("mlflow"):
        return AbsentPort("mlflow", _A_REGISTRY)
    from optagent.adapters.serving.isolated import IsolatedLoader

    return IsolatedLoader(registry_recipe(settings), bundle_cache(settings), None, settings.max_rows)


def cache_folder() -> Path:
    return Path(platformdirs.user_cache_dir("optagent"))


def bundle_cache(settings: Settings) -> Path:
    """The cache of bundles of one registry: homes with another MLflow do not share it."""
    address = _shown_address(settings)  # a changed password leaves the cache where it is
    return cache_folder() / "bundles" / hashlib.sha256(address.encode()).hexdigest()[:16]


def _mlflow_database(settings: Settings) -> Path:
    return settings.home / "mlflow" / "mlflow.db"


def _shown_address(settings: Settings) -> str:
    from optagent.adapters.models.mlflow_health import hide_credentials

    return hide_credentials(tracking_uri(settings))


def _registry_at(mlflow: Mapping[str, Any]) -> Registry:
    if not is_installed("mlflow"):
        return AbsentRegistry("mlflow", _A_REGISTRY)
    from optagent.adapters.models.mlflow_registry import MlflowRegistry

    return MlflowRegistry(**mlflow)


def _mlflow(settings: Settings) -> dict[str, Any]:
    local = settings.mlflow_tracking_uri is None
    return {
        "tracking_uri": tracking_uri(settings),
        "experiment": settings.mlflow_experiment_name,
        "artifact_root": str(settings.home / "mlflow" / "artifacts") if local else None,
        "cache_folder": cache_folder(),
    }
