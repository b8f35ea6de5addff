"""The composition root: the only place that reads settings and chooses adapters."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import platformdirs

from optagent.agent import OptimizationAgent
from optagent.errors import InvalidRequest
from optagent.loop.optimize import Limits
from optagent.loop.tune import Outside
from optagent.ports import Clock, Datasets, Importer, Registry, Store, Studies, Tracker, Tuner
from optagent.settings import Settings, load_settings

_PORTS = ("clock", "datasets", "store", "tuner", "tracker", "registry", "importer", "studies")


async def create_optimization_agent(
    settings: Settings | None = None, *, strict: bool = False, **overrides: Any
) -> OptimizationAgent:
    """An agent that is ready to work; close it, or use it as `async with await create_optimization_agent() as agent`.

    `overrides` are settings by name (`max_trials=20`) or whole ports (`store`, `tuner`, `tracker`, `registry`,
    `datasets`, `clock`, `importer`, `studies`). With `strict`, refused requests raise instead of answering with an
    `error`.

    Raises InvalidRequest for a bad setting and Unavailable, within 5 s and by name, for a configured Redis or MLflow
    that does not answer. Ray is not started before a search needs it.
    """
    ports = {name: overrides.pop(name) for name in _PORTS if name in overrides}
    if settings is not None and overrides:
        raise InvalidRequest(f"give settings or overrides of them, not both: {sorted(overrides)}")
    settings = settings or load_settings(**overrides)
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"OPT_AGENT_HOME: {settings.home} cannot be made: {error.strerror}") from None
    async with AsyncExitStack() as resources:
        outside, store = await _connect(settings, ports, resources)
        return OptimizationAgent(outside, store, resources.pop_all(), strict=strict)


async def _connect(settings: Settings, ports: dict[str, Any], resources: AsyncExitStack) -> tuple[Outside, Store]:
    tracker: Tracker = ports.get("tracker") or _tracker(settings)
    resources.push_async_callback(asyncio.to_thread, tracker.close)
    await asyncio.to_thread(tracker.check)
    store: Store = ports["store"] if "store" in ports else await asyncio.to_thread(_store, settings, resources)
    resources.push_async_callback(store.close)
    await store.check()
    tuner = ports.get("tuner") or _tuner(settings)
    resources.push_async_callback(asyncio.to_thread, tuner.close)
    outside = Outside(
        datasets=ports.get("datasets") or _datasets(settings),
        tuner=tuner,
        registry=ports.get("registry") or _registry(settings),
        tracker=tracker,
        clock=ports.get("clock") or _clock(),
        limits=Limits(settings.max_trials, settings.timeout_seconds, settings.early_stopping_rounds),
        importer=ports.get("importer") or _importer(settings),
        studies=ports.get("studies") or (_studies(settings) if "tuner" not in ports else None),
    )
    return outside, store


def _store(settings: Settings, resources: AsyncExitStack) -> Store:
    from optagent.adapters.state.redis_store import RedisStore

    if settings.redis_url is not None:
        return RedisStore(settings.redis_url)
    from optagent.adapters.state.embedded_redis import EmbeddedRedis

    return RedisStore(resources.enter_context(EmbeddedRedis(settings.home)).url)


def _tuner(settings: Settings) -> Tuner:
    from optagent.adapters.cluster.ray_cluster import RayCluster
    from optagent.adapters.search.ray_tune import RayTuner

    return RayTuner(RayCluster(settings.ray_address, settings.num_cpus), _trials_url(settings))


def _studies(settings: Settings) -> Studies:
    from optagent.adapters.search.study_history import StudyHistory

    return StudyHistory(_trials_url(settings))


def _trials_url(settings: Settings) -> str:
    storage = settings.study_storage
    return storage.get_secret_value() if storage else f"sqlite:///{settings.home / 'trials.db'}"


def _datasets(settings: Settings) -> Datasets:
    from optagent.adapters.datasets import FileDatasets

    return FileDatasets(settings.row_limit)


def _clock() -> Clock:
    from optagent.adapters.clock import SystemClock

    return SystemClock()


def tracking_uri(settings: Settings) -> str:
    """Where studies and versions are kept: the configured MLflow, or the SQLite database of the home folder."""
    return settings.mlflow_tracking_uri or f"sqlite:///{settings.home / 'mlflow' / 'mlflow.db'}"


def _mlflow(settings: Settings) -> dict[str, Any]:
    local = settings.mlflow_tracking_uri is None
    return {
        "tracking_uri": tracking_uri(settings),
        "experiment": settings.mlflow_experiment_name,
        "artifact_root": str(settings.home / "mlflow" / "artifacts") if local else None,
        "cache_folder": Path(platformdirs.user_cache_dir("optagent")),
    }


def _tracker(settings: Settings) -> Tracker:
    from optagent.adapters.models.mlflow_tracker import MlflowTracker

    return MlflowTracker(**_mlflow(settings))


def _importer(settings: Settings) -> Importer:
    from optagent.adapters.models.mlflow_import import MlflowImporter

    return MlflowImporter(**_mlflow(settings))


def _registry(settings: Settings) -> Registry:
    from optagent.adapters.models.mlflow_registry import MlflowRegistry

    return MlflowRegistry(**_mlflow(settings))
