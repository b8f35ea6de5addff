"""Loop context: the ports that every stage works through, and the limits within which it works."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from optagent.domain.backtest import BacktestAsk, BacktestResult
from optagent.domain.command import OptimizeModel
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.domain.retention import RetentionRules
from optagent.errors import InvalidRequest
from optagent.loop.process import Run
from optagent.loop.train.prepare import prepare
from optagent.loop.train.study import SearchLimits
from optagent.ports import (
    Clock,
    Datasets,
    Histories,
    Importer,
    Launcher,
    Loader,
    Monitors,
    Notifier,
    Observations,
    Registry,
    Routes,
    RowFiles,
    Store,
    Studies,
    Tokens,
    Tracker,
    Tuner,
    Workers,
)
from optagent.training.metrics import Metric, metric_named

OnReplay = Callable[[int, int], None]
"""Function that is called after each replay, with the number of those that are done, and of all."""

Backtester = Callable[[ModelSpec, pa.Table, BacktestAsk, Callable[[], bool], OnReplay], BacktestResult]
"""Function that replays the rows of a model under policies, and gives up when its fourth argument answers True."""

_WITHOUT = {
    "backtester": "replays no histories: give it `backtester`",
    "draw_backtest": "draws no pages: give it `draw_backtest`",
    "draw_report": "draws no pages: give it `draw_report`",
    "histories": "keeps no history of served rows: give it `histories`",
    "importer": "imports no models: give it `importer`",
    "loader": "loads no versions: give it `loader`",
    "launcher": "starts no processes: give it `launcher`",
    "monitors": "starts no monitors: give it `monitors`",
    "notifier": "tells nobody: set OPT_AGENT_ENABLE_NOTIFICATIONS, or give it `notifier`",
    "observations": "keeps no observations: give it `observations`",
    "routes": "routes no requests: give it `routes`",
    "row_files": "scores no files: give it `row_files`",
    "studies": "keeps no studies: give it `studies` beside its own tuner",
    "tokens": "keeps no tokens: give it `tokens`",
    "workers": "has no workers: give it `workers`",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world of one agent. A stage that cannot do without an optional port gets it by `need`.

    An agent that `keeps_reports` not, as that of a replay, whose monitor's reports nobody reads, makes of them only
    what alerts are raised by.
    """

    store: Store
    datasets: Datasets
    tuner: Tuner
    registry: Registry
    tracker: Tracker
    clock: Clock
    limits: SearchLimits = field(default_factory=SearchLimits)
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    importer: Importer | None = None
    studies: Studies | None = None
    observations: Observations | None = None
    monitors: Monitors | None = None
    routes: Routes | None = None
    histories: Histories | None = None
    tokens: Tokens | None = None
    launcher: Launcher | None = None
    workers: Workers | None = None
    loader: Loader | None = None
    row_files: RowFiles | None = None
    scoring_workers: Workers | None = None
    notifier: Notifier | None = None
    monitoring: Monitoring = field(default_factory=Monitoring)
    min_new_labels: int = 1000
    retention: RetentionRules = field(default_factory=RetentionRules)
    max_queued: int = 1000
    mixture_every_s: float = 60.0
    keeps_reports: bool = True
    draw_report: Callable[[ModelReport], str] | None = None
    draw_backtest: Callable[[BacktestResult], str] | None = None
    backtester: Backtester | None = None

    def require(self, name: str) -> Any:
        """An optional port; InvalidRequest where this agent was made without it."""
        port = getattr(self, name)
        if port is None:
            raise InvalidRequest(f"this agent {_WITHOUT[name]}")
        return port

    def monitoring_of(self, spec: ModelSpec) -> Monitoring:
        """The model's own monitoring, or that of the settings."""
        return spec.monitoring or self.monitoring

    def check_data(self, spec: ModelSpec) -> tuple[str, ...]:
        """Notes about the model's rows, such as on columns that are left out.

        Raises InvalidData where they cannot be read, split and encoded by its specification.
        """
        return prepare(spec, self.datasets, seed=0).notes


@dataclass(frozen=True, slots=True)
class Optimization:
    """One optimization: its command, its model, and the ports and the process that it works through."""

    command: OptimizeModel
    spec: ModelSpec
    ports: Ports
    run: Run

    @property
    def metric(self) -> Metric:
        """The model's metric."""
        return metric_named(self.spec.metric, self.spec.task)
