"""Fleet reading: the standing of all models from the store and the routing tables, without asking the registry."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from optagent.domain.alert import Alert
from optagent.domain.fleet import (
    Answerer,
    Fleet,
    FleetOrder,
    LatestProcess,
    ModelHealth,
    ModelStanding,
    judge_health,
    matches,
    sort_standings,
)
from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Monitoring
from optagent.domain.process import Process
from optagent.domain.quality_point import QualityPoint
from optagent.domain.routing import RoutingTable
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports

_ALERTS = 10_000
_PROCESSES = 200
_MOST_DAYS = 1000
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class FleetAsk:
    """A question about the fleet: words that models are to fit, their order, a page of them, and the days of points.

    `model_ids` are the only models that are answered, None for all.
    """

    query: str = ""
    order: FleetOrder = FleetOrder.HEALTH
    start: int = 0
    limit: int = 25
    days: float = 30.0
    model_ids: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise InvalidRequest(f"start must not be negative, got {self.start}")
        if not 1 <= self.limit <= _ALERTS:
            raise InvalidRequest(f"limit must be from 1 to {_ALERTS}, got {self.limit}")
        if not 0 <= self.days <= _MOST_DAYS:
            raise InvalidRequest(f"days must be from 0 to {_MOST_DAYS}, got {self.days}")


@dataclass(frozen=True, slots=True)
class _Records:
    """Records of all models that were read at once, by model."""

    tables: Mapping[str, RoutingTable]
    alerts: Mapping[str, list[Alert]]
    processes: Mapping[str, Process]
    latest: Mapping[str, list[QualityPoint]]
    now: float


async def read_fleet(ask: FleetAsk, ports: Ports) -> Fleet:
    """The page of the fleet that was asked for; a few reads of the store, however many models there are.

    Raises Unavailable.
    """
    specs = [spec for spec in await ports.store.models() if ask.model_ids is None or spec.model_id in ask.model_ids]
    records = await _read_records(specs, ports)
    standings = [_standing_of(spec, ports.monitoring_of(spec), records) for spec in specs]
    chosen = sort_standings([standing for standing in standings if matches(standing, ask.query)], ask.order)
    page = chosen[ask.start : ask.start + ask.limit]
    if ask.days > 0 and page:
        since = records.now - ask.days * _DAY_S
        points = await ports.store.quality([standing.model_id for standing in page], since)
        page = [replace(standing, points=tuple(points[standing.model_id])) for standing in page]
    counts = Counter(standing.health for standing in standings)
    return Fleet(records.now, len(chosen), {str(health): counts[health] for health in ModelHealth}, tuple(page))


async def _read_records(specs: Sequence[ModelSpec], ports: Ports) -> _Records:
    store = ports.store
    tables, alerts, unended, ended, latest = await asyncio.gather(
        ports.routes.tables() if ports.routes is not None else _no_tables(),
        store.alerts(None, _ALERTS),
        store.unended_processes(None, _PROCESSES),
        store.latest_ends(_PROCESSES),
        store.quality([spec.model_id for spec in specs], most=1),
    )
    open_alerts: dict[str, list[Alert]] = {}
    for alert in alerts:
        if alert.is_open:
            open_alerts.setdefault(alert.model_id, []).append(alert)
    newest: dict[str, Process] = {}
    for process in [*unended, *ended]:
        newest.setdefault(process.model_id, process)
    active = {table.model_id: table for table in tables if table.activate_at is not None}
    return _Records(active, open_alerts, newest, latest, ports.clock.now())


async def _no_tables() -> list[RoutingTable]:
    return []


def _standing_of(spec: ModelSpec, monitoring: Monitoring, records: _Records) -> ModelStanding:
    from optagent.training.metrics import metric_named  # what it imports takes a second

    table, points = records.tables.get(spec.model_id), records.latest[spec.model_id]
    alerts, latest = records.alerts.get(spec.model_id, []), points[-1] if points else None
    process, answerer = records.processes.get(spec.model_id), _answerer_of(table)
    health, reason = judge_health(alerts, answerer, latest, records.now, monitoring.window_s)
    mixture = None if table is None else table.mixture
    return ModelStanding(
        spec.model_id,
        spec.task,
        metric_named(spec.metric, spec.task).name,
        health,
        reason,
        answerer,
        "" if table is None else table.champion,
        {} if mixture is None else dict(zip(mixture.slots, mixture.versions, strict=True)),
        "" if table is None else table.rollout_id,
        "" if table is None else table.state,
        {str(alert.kind): str(alert.severity) for alert in alerts},
        None if process is None else LatestProcess.of(process),
        latest,
    )


def _answerer_of(table: RoutingTable | None) -> Answerer:
    if table is None:
        return Answerer.NOTHING
    if table.mixture is not None:
        return Answerer.MIXTURE
    return Answerer.ROLLOUT if table.rollout_id else Answerer.CHAMPION
