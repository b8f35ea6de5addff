"""The composition root: the only place that reads settings and chooses adapters."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from optagent.agent import OptimizationAgent
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.errors import InvalidRequest
from optagent.loop.optimize import Limits
from optagent.loop.tune import Outside
from optagent.ports import Clock, Datasets, Importer, Monitors, Observations, Registry, Store, Studies, Tracker, Tuner
from optagent.settings import Settings, load_settings

if TYPE_CHECKING:
    from optagent.adapters.cluster.ray_cluster import RayCluster

_PORTS = (
    "clock",
    "datasets",
    "importer",
    "monitors",
    "observations",
    "registry",
    "store",
    "studies",
    "tracker",
    "tuner",
)


async def create_optimization_agent(
    settings: Settings | None = None, *, strict: bool = False, **overrides: Any
) -> OptimizationAgent:
    """An agent that is ready to work; close it, or use it as `async with await create_optimization_agent() as agent`.

    `overrides` are settings by name (`max_trials=20`) or whole ports (`store`, `tuner`, `tracker`, `registry`,
    `datasets`, `clock`, `importer`, `studies`, `observations`, `monitors`). With `strict`, refused requests raise
    instead of answering with an `error`.

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
    redis_url = None
    if "store" not in ports or "observations" not in ports:
        redis_url = await asyncio.to_thread(_redis_url, settings, resources)
    store: Store = ports["store"] if "store" in ports else _store(redis_url)
    resources.push_async_callback(store.close)
    await store.check()
    observations: Observations = ports.get("observations") or _observations(redis_url, settings)
    resources.push_async_callback(asyncio.to_thread, observations.close)
    await asyncio.to_thread(observations.check)
    cluster = _cluster(settings)
    tuner = ports.get("tuner") or _tuner(settings, cluster)
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
        observations=observations,
        monitors=ports.get("monitors") or _monitors(settings, cluster),
        monitoring=_monitoring(settings),
        draw_report=_draw_report,
    )
    return outside, store


def _redis_url(settings: Settings, resources: AsyncExitStack) -> str:
    """The configured Redis, or the embedded server of the home folder, which this starts."""
    if settings.redis_url is not None:
        return settings.redis_url
    from optagent.adapters.state.embedded_redis import EmbeddedRedis

    return resources.enter_context(EmbeddedRedis(settings.home)).url


def _store(redis_url: str | None) -> Store:
    from optagent.adapters.state.redis_store import RedisStore

    assert redis_url is not None
    return RedisStore(redis_url)


def _observations(redis_url: str | None, settings: Settings) -> Observations:
    from optagent.adapters.state.observations import RedisObservations

    assert redis_url is not None
    folder = settings.observations or settings.home / "observations"
    return RedisObservations(redis_url, folder, max_backlog=settings.max_backlog)


def _cluster(settings: Settings) -> RayCluster:
    """Not started before something needs it."""
    from optagent.adapters.cluster.ray_cluster import RayCluster

    return RayCluster(settings.ray_address, settings.num_cpus)


def _monitors(settings: Settings, cluster: RayCluster) -> Monitors:
    from optagent.adapters.cluster.ray_monitors import RayMonitors

    return RayMonitors(cluster, partial(_strict_agent, settings))


async def _strict_agent(settings: Settings) -> OptimizationAgent:
    """What a monitor makes on its worker."""
    return await create_optimization_agent(settings, strict=True)


def _monitoring(settings: Settings) -> Monitoring:
    """How models are watched that do not say so themselves."""
    return Monitoring(
        accuracy_drop_threshold=settings.accuracy_drop_threshold,
        drift_score_threshold=settings.drift_score_threshold,
        confidence_threshold=settings.confidence_threshold,
        performance_window_hours=settings.performance_window_hours,
        alert_cooldown_minutes=settings.alert_cooldown_minutes,
        false_alarm_every=settings.false_alarm_every,
    )


def _draw_report(report: ModelReport, path: Path) -> Path:
    from optagent.adapters.report_page import draw_report

    return draw_report(report, path)


def _tuner(settings: Settings, cluster: RayCluster) -> Tuner:
    from optagent.adapters.search.ray_tune import RayTuner

    return RayTuner(cluster, _trials_url(settings))


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
