"""Adapter factories: make each adapter from the settings, and import its libraries only then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from optagent.domain.audit_signature import AuditKeyring
from optagent.domain.backtest import BacktestAsk, BacktestResult
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.errors import InvalidRequest, Unavailable
from optagent.extras import is_installed, require_library
from optagent.ports import (
    Clock,
    Datasets,
    Histories,
    Launcher,
    Monitors,
    Notifier,
    Observations,
    Routes,
    RowFiles,
    Sessions,
    Store,
    Studies,
    Tokens,
    Tuner,
    Workers,
)
from optagent.ports.absent import AbsentPort
from optagent.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from optagent.adapters.cluster.head import RayHead
    from optagent.adapters.cluster.ray_cluster import RayCluster
    from optagent.adapters.state.redis.idempotency import RedisIdempotencyStore
    from optagent.agent import OptimizationAgent
    from optagent.loop.context import Backtester

Recipe = Callable[[], "Awaitable[OptimizationAgent]"]


def make_home(settings: Settings) -> None:
    """Makes the home, and the folder of observations if it lies elsewhere, closed to other users; InvalidRequest."""
    from optagent.adapters.private_folder import make_private_folder

    for name, folder in (("OPT_AGENT_HOME", settings.home), ("OPT_AGENT_OBSERVATIONS", settings.observations)):
        try:
            if folder is not None:
                make_private_folder(folder)
        except OSError as error:
            raise InvalidRequest(f"{name}: {folder} cannot be made: {error.strerror}") from None


def redis_url(settings: Settings, resources: AsyncExitStack) -> str:
    """The configured Redis, or the embedded server of the home folder, which this starts. Blocks."""
    if settings.redis_url is not None:
        return settings.redis_url
    from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis

    megabytes = settings.redis_max_memory_mb
    max_memory = None if megabytes is None else megabytes * 1_000_000
    return resources.enter_context(EmbeddedRedis(settings.home, max_memory)).url


def store(url: str | None, settings: Settings) -> Store:
    from optagent.adapters.state.audit.files import audit_files
    from optagent.adapters.state.redis.store import RedisStore

    assert url is not None
    folder = settings.audit_folder or settings.home / "audit"
    return RedisStore(url, audit_files=audit_files(folder, _audit_key_file(settings)))


def audit_keyring(settings: Settings, key_file: Path | None = None) -> AuditKeyring:
    """The keys of a file, by default that of the settings, which must exist; raises Unavailable."""
    from optagent.adapters.state.audit.key_file import AuditKeyFile

    path = key_file or _audit_key_file(settings)
    keyring = AuditKeyFile(path).read()
    if not keyring.keys:
        raise Unavailable(f"there are no audit keys in {path}: no such file")
    return keyring


def add_audit_key(settings: Settings) -> AuditKeyring:
    """Adds a new key to the file of the settings, which signs from now on."""
    from optagent.adapters.state.audit.key_file import AuditKeyFile

    return AuditKeyFile(_audit_key_file(settings)).add_key()


def observations(url: str | None, settings: Settings) -> Observations:
    from optagent.adapters.state.observations import RedisObservations

    assert url is not None
    return RedisObservations(url, observations_folder(settings), max_backlog=settings.max_backlog)


def routes(url: str) -> Routes:
    from optagent.adapters.state.redis.routes import RedisRoutes

    return RedisRoutes(url)


def histories(url: str) -> Histories:
    from optagent.adapters.state.redis.histories import RedisHistories

    return RedisHistories(url)


def tokens(url: str) -> Tokens:
    from optagent.adapters.state.redis.tokens import RedisTokens

    return RedisTokens(url)


def sessions(url: str) -> Sessions:
    from optagent.adapters.state.redis.sessions import RedisSessions

    return RedisSessions(url)


def kept_answers(url: str) -> RedisIdempotencyStore:
    from optagent.adapters.state.redis.idempotency import RedisIdempotencyStore

    return RedisIdempotencyStore(url)


def head(settings: Settings) -> RayHead:
    """The Ray head of this machine that belongs to the home folder; this does not start it."""
    from optagent.adapters.cluster.head import RayHead

    return RayHead(settings.home / "up", settings.num_cpus)


def running_cluster(settings: Settings) -> str | None:
    """The address of the cluster to use: the configured one, or that which `optagent up` has started; else None."""
    if settings.ray_address is not None:
        return settings.ray_address
    running = head(settings).running()
    return None if running is None else running.address


def cluster(settings: Settings) -> RayCluster:
    """The Ray cluster of the settings, which starts only when something needs it."""
    from optagent.adapters.cluster.ray_cluster import RayCluster

    return RayCluster(running_cluster(settings), settings.num_cpus, own=settings.ray_address is None)


def monitors(on: RayCluster, recipe: Recipe, settings: Settings) -> Monitors:
    if not is_installed("ray"):
        return AbsentPort("ray", "a monitor on a cluster")
    from optagent.adapters.cluster.ray_monitors import RayMonitors

    return RayMonitors(on, recipe, check_every_s=settings.monitor_every_seconds)


def launcher(on: RayCluster, recipe: Recipe) -> Launcher:
    if not is_installed("ray"):
        return AbsentPort("ray", "a process on a cluster")
    from optagent.adapters.cluster.ray_launcher import RayLauncher

    return RayLauncher(on, recipe)


def workers(on: RayCluster, settings: Settings) -> Workers:
    """Workers on the cluster; without Ray and the address of a cluster, the caller's thread."""
    if not is_installed("ray") and settings.ray_address is None:
        from optagent.adapters.in_memory.workers import SequentialWorkers

        return SequentialWorkers()
    from optagent.adapters.cluster.ray_workers import RayWorkers

    return RayWorkers(on)


def tuner(settings: Settings, on: RayCluster) -> Tuner:
    for library in ("ray", "optuna"):
        if not is_installed(library):
            return AbsentPort(library, "a search")
    from optagent.adapters.search.ray_tune import RayTuner

    return RayTuner(on, _trials_url(settings))


def studies(settings: Settings) -> Studies:
    if not is_installed("optuna"):
        return AbsentPort("optuna", "the history of searches")
    from optagent.adapters.search.study_history import StudyHistory

    return StudyHistory(_trials_url(settings))


def datasets(settings: Settings) -> Datasets:
    from optagent.adapters.datasets import FileDatasets

    return FileDatasets(settings.row_limit)


def row_files() -> RowFiles:
    from optagent.adapters.datasets.row_files import LocalRowFiles

    return LocalRowFiles()


def clock() -> Clock:
    from optagent.adapters.clock import SystemClock

    return SystemClock()


def monitoring(settings: Settings) -> Monitoring:
    """The monitoring of models whose specification has none of its own."""
    return Monitoring(
        accuracy_drop_threshold=settings.accuracy_drop_threshold,
        drift_score_threshold=settings.drift_score_threshold,
        confidence_threshold=settings.confidence_threshold,
        performance_window_hours=settings.performance_window_hours,
        alert_cooldown_minutes=settings.alert_cooldown_minutes,
        false_alarm_every=settings.false_alarm_every,
    )


def backtester(workers: Workers) -> Backtester:
    """A function that replays policies as items of work for the workers."""

    def replay(
        spec: ModelSpec,
        table: pa.Table,
        ask: BacktestAsk,
        cancelled: Callable[[], bool],
        on_replay: Callable[[int, int], None],
    ) -> BacktestResult:
        from optagent.backtest.run import run_backtest

        return run_backtest(spec, table, ask, workers, cancelled, on_replay)

    return replay


def draw_report(report: ModelReport) -> str:
    _require_page_libraries()
    from optagent.adapters.pages.report import report_page

    return report_page(report)


def draw_backtest(result: BacktestResult) -> str:
    _require_page_libraries()
    from optagent.adapters.pages.backtest import backtest_page

    return backtest_page(result)


def notifier(settings: Settings) -> Notifier | None:
    """The notifier; None where notifications are not enabled, InvalidRequest for a channel that cannot be used.

    MissingExtra where they are enabled and apprise is not installed.
    """
    if not settings.enable_notifications:
        return None
    require_library("apprise", "a notification")
    from optagent.adapters.notifier import AppriseNotifier, email_url

    urls = []
    if "slack" in settings.notification_channels and settings.slack_webhook_url:
        urls.append(settings.slack_webhook_url.get_secret_value())
    if "email" in settings.notification_channels and settings.smtp_host and settings.email_from:
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
        server = (settings.smtp_host, settings.smtp_port, settings.smtp_username, password, settings.smtp_starttls)
        urls += [email_url(settings.email_from, address, *server) for address in settings.email_to]
    return AppriseNotifier([*urls, *settings.further_urls])


def _require_page_libraries() -> None:
    """Raises MissingExtra where a library that draws pages is not installed."""
    for library in ("jinja2", "plotly"):
        require_library(library, "an HTML page")


def _audit_key_file(settings: Settings) -> Path:
    return settings.audit_key_file or settings.home / "audit.key"


def observations_folder(settings: Settings) -> Path:
    """The folder of recorded rows and labels."""
    return settings.observations or settings.home / "observations"


def _trials_url(settings: Settings) -> str:
    storage = settings.study_storage
    return storage.get_secret_value() if storage else f"sqlite:///{settings.home / 'trials.db'}"
