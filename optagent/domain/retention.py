"""Retention: the rows, versions, processes and rollouts of a model that may go, and the reasons.

Nothing goes that an active rollout, the champion, its predecessor, an alias, a routing table or a process that has not
ended may still need. A rollout stays as long as its candidate, so that decisions about versions that are kept can be
replayed. Training rows stay for ever unless the rules say otherwise, since the replay of every later decision reads
them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optagent.domain.duration import seconds
from optagent.domain.model import CHAMPION, MEASURED_AS, ModelVersion
from optagent.domain.process import Process
from optagent.domain.rollout import Rollout
from optagent.errors import InvalidRequest

PRUNED, ERASED = "retention.pruned", "retention.erased"
"""The actions of the audit entries."""

MOST_AT_ONCE = 100
"""Versions and rollouts of a model that go in one pass, since the audit entry names them."""

DAY_S = 86_400.0
_YEAR_S = 366 * DAY_S  # policies count the optimizations of a year
_WINDOWS = 3  # a window, the one before it, and the time in which labels of both may come


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """Times in seconds that recorded rows, ended processes and rollouts, and training rows are kept (None: for ever),
    and the number of a model's newest versions that are."""

    observations_s: float = 365 * DAY_S
    processes_s: float = 365 * DAY_S
    versions: int = 100
    training_rows_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("observations_s", "processes_s", "training_rows_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= DAY_S):
                raise InvalidRequest(f"{name} must be at least a day, {DAY_S:g} s, got {value!r}")
        if self.versions < 2:
            raise InvalidRequest(f"versions must be at least 2, a champion and its predecessor, got {self.versions!r}")


@dataclass(frozen=True, slots=True)
class RetentionFacts:
    """The present state of a model. `versions` and `rollouts` are the newest first, `processes` some of the oldest.

    `routed` are the versions of routing tables, `is_busy` is True while a process has not ended, `window_s` is the
    length of its window and the delay of its labels.
    """

    model_id: str
    now: float
    versions: Sequence[ModelVersion] = ()
    rollouts: Sequence[Rollout] = ()
    processes: Sequence[Process] = ()
    routed: frozenset[str] = frozenset()
    is_busy: bool = False
    window_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """The things of a model that go: rows that were recorded before a time (POSIX seconds), and others by their ids."""

    model_id: str
    rows_before: float
    training_before: float | None = None
    versions: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    rollouts: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pruning:
    """A model's plan, the numbers of its rows by kind that went (or would go, in a dry run), and the error, if any."""

    plan: RetentionPlan
    rows: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False
    error: str = ""

    @property
    def is_empty(self) -> bool:
        plan = self.plan
        return not (any(self.rows.values()) or plan.versions or plan.processes or plan.rollouts)


def retention_rules(observations: str, processes: str, versions: int, training_rows: str | None) -> RetentionRules:
    """The rules of settings, which write times as durations."""
    longest = None if training_rows is None else seconds(training_rows)
    return RetentionRules(seconds(observations), seconds(processes), versions, longest)


def plan_retention(facts: RetentionFacts, rules: RetentionRules) -> RetentionPlan:
    """The plan of a model by the rules."""
    stays = _versions_that_stay(facts, rules)
    surplus = [version.version for version in facts.versions if version.version not in stays]
    versions = tuple(surplus[-MOST_AT_ONCE:])  # the oldest ones
    rollouts = tuple(_old_rollouts(facts, rules, stays))[-MOST_AT_ONCE:]
    needed = {version.tags.get("process_id", "") for version in facts.versions if version.version in stays}
    processes = tuple(process.process_id for process in facts.processes if _is_old(process, facts, rules, needed))
    rows_before, why_rows = _rows_before(facts, rules)
    days_before = None if rules.training_rows_s is None else _start_of_day(facts.now - rules.training_rows_s)
    reasons = [
        why_rows,
        f"versions beyond the newest {rules.versions} that nothing refers to" if versions else "",
        f"processes that ended more than {_days(rules.processes_s)} ago" if processes else "",
        f"rollouts that ended more than {_days(rules.processes_s)} ago, of versions that are gone" if rollouts else "",
    ]
    return RetentionPlan(
        facts.model_id, rows_before, days_before, versions, processes, rollouts, tuple(filter(None, reasons))
    )


def _rows_before(facts: RetentionFacts, rules: RetentionRules) -> tuple[float, str]:
    """The time before which recorded rows go, and the reason."""
    limits = [
        (facts.now - rules.observations_s, f"rows that came more than {_days(rules.observations_s)} ago"),
        (facts.now - _WINDOWS * facts.window_s, "rows before those that windows of the model still read"),
    ]
    limits += [
        (rollout.started_at - DAY_S, f"rows before those of rollout {rollout.rollout_id}")
        for rollout in facts.rollouts
        if rollout.state.is_active
    ]
    return min(limits)


def _versions_that_stay(facts: RetentionFacts, rules: RetentionRules) -> frozenset[str]:
    if facts.is_busy:  # its command may name any version
        return frozenset(version.version for version in facts.versions)
    newest = {version.version for version in facts.versions[: rules.versions]}
    aliased = {version.version for version in facts.versions if version.aliases}
    active = {name for each in facts.rollouts if each.state.is_active for name in (each.champion, each.candidate)}
    stays = {*newest, *aliased, *active, *facts.routed, *_predecessors(facts)}
    measured = {each.tags[MEASURED_AS] for each in facts.versions if each.version in stays and MEASURED_AS in each.tags}
    return frozenset(stays | measured)  # a later candidate is compared with the measured version


def _predecessors(facts: RetentionFacts) -> Iterator[str]:
    """The champion before the present one, by the rollouts; without any, the newest version that is older."""
    champion = next((version for version in facts.versions if CHAMPION in version.aliases), None)
    if champion is None:
        return
    before = [each.champion for each in facts.rollouts if each.candidate == champion.version]
    older = [version.version for version in facts.versions if version.created_at < champion.created_at]
    yield from (before or older)[:1]


def _old_rollouts(facts: RetentionFacts, rules: RetentionRules, stays: frozenset[str]) -> Iterator[str]:
    """The rollouts that go: never the newest one, by which the supervisor knows a model's state."""
    for rollout in facts.rollouts[1:]:
        old = rollout.changed_at < facts.now - rules.processes_s
        if old and rollout.is_settled and not rollout.state.is_active and rollout.candidate not in stays:
            yield rollout.rollout_id


def _is_old(process: Process, facts: RetentionFacts, rules: RetentionRules, needed: set[str]) -> bool:
    least_s = max(rules.processes_s, _YEAR_S) if process.kind == "optimize" else rules.processes_s
    is_past = max(process.updated_at, process.created_at) < facts.now - least_s
    return is_past and process.status.has_ended and process.process_id not in needed


def _start_of_day(instant: float) -> float:
    return instant // DAY_S * DAY_S


def _days(duration_s: float) -> str:
    return f"{duration_s / DAY_S:g} days"
