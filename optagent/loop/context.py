"""What the loop works through."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from optagent.domain.backtest import BacktestAsk, BacktestResult
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.loop.train.prepare import prepare
from optagent.loop.train.search import SearchLimits
from optagent.ports import (
    Clock,
    Datasets,
    Importer,
    Launcher,
    Loader,
    Monitors,
    Notifier,
    Observations,
    Registry,
    Routes,
    Studies,
    Tokens,
    Tracker,
    Tuner,
    Workers,
)

Backtester = Callable[[ModelSpec, pa.Table, BacktestAsk, Callable[[], bool]], BacktestResult]
"""Replays the rows of a model under policies, and gives up when its last argument answers True."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that the loop works through, and the limits it works within."""

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
    tokens: Tokens | None = None
    launcher: Launcher | None = None
    workers: Workers | None = None
    loader: Loader | None = None
    notifier: Notifier | None = None
    monitoring: Monitoring = field(default_factory=Monitoring)
    min_new_labels: int = 1000
    draw_report: Callable[[ModelReport], str] | None = None
    draw_backtest: Callable[[BacktestResult], str] | None = None
    backtester: Backtester | None = None

    def check_data(self, spec: ModelSpec) -> None:
        """Raises InvalidData where the model's rows cannot be read, split and encoded as it says."""
        prepare(spec, self.datasets, seed=0)
