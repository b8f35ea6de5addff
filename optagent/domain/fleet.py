"""Fleet: all models side by side, each with what answers for it, its health, and its quality over time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from optagent.domain.alert import Alert, Severity
from optagent.domain.answer import Answer
from optagent.domain.model import Task
from optagent.domain.process import Process
from optagent.domain.quality_point import QualityPoint

_LATE_WINDOWS = 3


class ModelHealth(StrEnum):
    """Health of a model, by its open alerts and the age of its newest window; the worst comes first."""

    CRITICAL = "critical"
    WARNING = "warning"
    UNKNOWN = "unknown"
    GOOD = "good"

    @property
    def rank(self) -> int:
        """The lower, the worse."""
        return list(ModelHealth).index(self)


class Answerer(StrEnum):
    """The kind of what answers the requests of a model."""

    NOTHING = "nothing"
    CHAMPION = "champion"
    ROLLOUT = "rollout"
    MIXTURE = "mixture"


@dataclass(frozen=True, slots=True)
class LatestProcess:
    """The newest process of a model: its stage while it runs, and its outcome afterwards. Times are POSIX seconds."""

    process_id: str
    """The id of the process."""
    kind: str
    """The kind of its command."""
    status: str
    """Its status."""
    stage: str
    """Its stage, empty before the first."""
    outcome: str
    """The status that its result tells, empty without one."""
    created_at: float
    """The time at which it was submitted."""
    updated_at: float
    """The time of its latest change."""
    gates: Mapping[str, int] = field(default_factory=dict)
    """The number of its gates by verdict; empty for a process without gates."""

    @classmethod
    def of(cls, process: Process) -> "LatestProcess":
        return cls(
            process.process_id,
            process.kind,
            str(process.status),
            process.stage or "",
            process.outcome,
            process.created_at,
            process.updated_at,
            _count_verdicts(process),
        )


def _count_verdicts(process: Process) -> dict[str, int]:
    gates = (process.result or {}).get("gates") or ()
    return dict(Counter(str(gate["verdict"]) for gate in gates if isinstance(gate, Mapping) and "verdict" in gate))


@dataclass(frozen=True)
class ModelStanding(Answer):
    """A model in the fleet: what answers, its health with the reason, its open alerts, and its latest process.

    `latest` is the point of its newest analyzed window, and `points` are those of the days that were asked for.
    """

    model_id: str
    """The id of the model."""
    task: Task
    """Its task."""
    metric: str
    """The name of its metric."""
    health: ModelHealth
    """Its health."""
    reason: str
    """The reason of its health, as a sentence without a full stop."""
    answerer: Answerer = Answerer.NOTHING
    """The kind of what answers its requests."""
    champion: str = ""
    """The version that is champion, empty for none."""
    slots: Mapping[str, str] = field(default_factory=dict)
    """The version in each slot of the mixture that answers, by slot."""
    rollout_id: str = ""
    """The id of its active rollout, empty for none."""
    rollout_state: str = ""
    """The state of its active rollout, empty for none."""
    alerts: Mapping[str, str] = field(default_factory=dict)
    """The severity of each open alert, by kind."""
    process: LatestProcess | None = None
    """Its newest process."""
    latest: QualityPoint | None = None
    """The point of its newest analyzed window."""
    points: tuple[QualityPoint, ...] = ()
    """The points of the days that were asked for, the oldest first."""


@dataclass(frozen=True)
class Fleet(Answer):
    """A page of all models: `of` models fit the question, and `counts` are all of them by health."""

    at: float
    """The POSIX time at which it was read."""
    of: int
    """The number of models that fit the question."""
    counts: Mapping[str, int]
    """The number of models by health, whatever was asked for."""
    models: tuple[ModelStanding, ...] = ()
    """The models of the page."""


class FleetOrder(StrEnum):
    """Order of the models of a fleet; those of one place are in the order of their ids."""

    HEALTH = "health"
    MODEL = "model"
    DRIFT = "drift"
    CHANGE = "change"


def judge_health(
    alerts: Sequence[Alert], answerer: Answerer, latest: QualityPoint | None, now: float, window_s: float
) -> tuple[ModelHealth, str]:
    """The health of a model and its reason, by its open alerts, and by whether it is watched."""
    worst = max(alerts, key=lambda alert: (alert.severity.rank, -alert.first_seen), default=None)
    if worst is not None and worst.severity is not Severity.INFO:
        more = f", and {len(alerts) - 1} more" if len(alerts) > 1 else ""
        health = ModelHealth.CRITICAL if worst.severity is Severity.CRITICAL else ModelHealth.WARNING
        return health, f"{worst.kind}: {worst.message}{more}"
    if latest is None:
        return (
            ModelHealth.UNKNOWN,
            "no window was analyzed yet" if answerer is not Answerer.NOTHING else "nothing answers",
        )
    if now - latest.window.end > _LATE_WINDOWS * window_s:
        return ModelHealth.UNKNOWN, "no request was analyzed lately"
    if latest.realised is None:
        return ModelHealth.GOOD, "no alert is open; the labels of its newest window have not come"
    return ModelHealth.GOOD, "no alert is open"


def sort_standings(standings: Sequence[ModelStanding], order: FleetOrder) -> list[ModelStanding]:
    """The models in an order: the worst health, the most drift, or the latest change of a process come first."""

    def place(standing: ModelStanding) -> tuple[float, str]:
        if order is FleetOrder.HEALTH:
            return standing.health.rank, standing.model_id
        if order is FleetOrder.DRIFT:
            drift = standing.latest.drift if standing.latest is not None else None
            return -(-1.0 if drift is None else drift), standing.model_id
        if order is FleetOrder.CHANGE:
            return -(0.0 if standing.process is None else standing.process.updated_at), standing.model_id
        return 0.0, standing.model_id

    return sorted(standings, key=place)


def matches(standing: ModelStanding, query: str) -> bool:
    """True where each word of a query is part of the id, or is the task, the health or what answers."""
    facts = {str(standing.task), str(standing.health), str(standing.answerer), standing.rollout_state}
    return all(word in standing.model_id.casefold() or word in facts for word in query.casefold().split())
