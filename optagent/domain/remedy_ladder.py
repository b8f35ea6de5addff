"""Remedy ladder: retrain, re-tune, re-engineer, ensemble; each remedy is tried after the cheaper ones have failed.

A trouble lasts from the first alert on lost quality until there has been no such alert for longer than a patience. It
does not begin at the time at which a detector sees a change: the detector finds that time in its current window, so it
would move on with each window during the same trouble, and the attempts would be forgotten. Attempts before the first
alert do not count as answers to the trouble.

Past the last rung nothing is left to try on the same rows; the climb starts again once the trouble has `GROWTH` times
as many labelled rows as then. So the number of climbs grows as the logarithm of the trouble's rows, however long it
lasts.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from optagent.domain.alert import Alert, AlertKind
from optagent.domain.diagnosis import Remedy
from optagent.domain.gate import Verdict
from optagent.domain.optimization import REJECTED, SUCCESS
from optagent.domain.policy import REMEDIES, OptimizationType, Stage, stages_of
from optagent.domain.process import Process

LADDER = (Remedy.RETRAIN, Remedy.RE_TUNE, Remedy.RE_ENGINEER, Remedy.ENSEMBLE)
"""From the cheapest to the dearest."""

GROWTH = 1.5
"""Growth of the labelled rows, as a factor, after which failed remedies are worth another try."""

_LEAST_ROWS = 50
_LOST_QUALITY = (AlertKind.PERFORMANCE, AlertKind.CONCEPT_DRIFT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An optimization whose candidate was judged at the gates.

    It learned from rows known `at` (POSIX seconds), and its candidate is a `version` that was compared with the
    `champion` of that time, if there was one. `called_for` is True where its own diagnosis asked for a remedy.
    """

    at: float
    remedies: tuple[Remedy, ...]
    version: str | None
    passed: bool
    champion: str | None = None
    rollout_id: str | None = None
    called_for: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """The beginning of a model's trouble (POSIX seconds); `alerted` is True where an alert marks it."""

    since: float
    alerted: bool


def remedies_within(kind: OptimizationType, remedy: Remedy | None = None) -> tuple[Remedy, ...]:
    """The remedies that an optimization of a kind tries; those of `auto` depend on the diagnosed remedy.

    A search tries the champion's own parameters too, so re-tuning includes retraining. Recalibration is done by
    retraining.

    >>> [str(remedy) for remedy in remedies_within(OptimizationType.AUTO, Remedy.RE_ENGINEER)]
    ['retrain', 're-tune', 're-engineer']
    >>> [str(remedy) for remedy in remedies_within(OptimizationType.FEATURES)]
    ['retrain']
    """
    stages = set(stages_of(kind, remedy))
    if Stage.TUNE in stages:
        stages.add(Stage.RETRAIN)
    rungs = tuple(rung for rung in LADDER if stages.issuperset(REMEDIES[rung]))
    recalibrates = kind is OptimizationType.AUTO and remedy is Remedy.RECALIBRATE
    return (Remedy.RECALIBRATE, *rungs) if recalibrates else rungs


def attempts_of(processes: Iterable[Process]) -> tuple[Attempt, ...]:
    """The optimizations among a model's processes that reached a verdict, the oldest first.

    A process that failed, was cancelled, found no rows to learn from or could not be judged is no attempt.
    """
    attempts = [attempt for process in processes if (attempt := _read_attempt(process)) is not None]
    return tuple(sorted(attempts, key=lambda attempt: attempt.at))


def trouble_of(alerts: Iterable[Alert], now: float, patience_s: float, made_at: float) -> Trouble:
    """The trouble of a model at `now`.

    Alerts less than `patience_s` apart belong to one trouble, across champions: a new champion that is as bad does not
    begin another one. Where no alert reaches up to now, a trouble can only be as old as the end of the last alert and
    as the champion, which was trained at `made_at`.
    """
    spans = sorted(
        ((alert.resolved_at or now, alert.first_seen) for alert in alerts if alert.kind in _LOST_QUALITY), reverse=True
    )
    since, alerted = now, False
    for end, start in spans:
        if since - end > patience_s:
            break
        since, alerted = min(since, start), True
    if alerted:
        return Trouble(since, alerted)
    return Trouble(max([made_at, *(end for end, _ in spans)]), alerted)


def failures_of(
    attempts: Sequence[Attempt],
    trouble: Trouble,
    champion: str | None,
    turned_back: Collection[str],
    answered_at: float | None,
) -> tuple[Attempt, ...]:
    """The attempts that did not end a trouble.

    The candidate did not pass its gates, or its rollout turned it back automatically (`turned_back` has the ids of such
    rollouts), or it became champion and the trouble is still there. The last case is known once most of the labelled
    rows are younger than the attempt: `answered_at` is their median time. A candidate that passed and waits for a
    person has not failed. Without an alert, only attempts that a diagnosis called for count: the rejected retraining of
    a model that does well is no failed remedy.
    """
    champions = {champion, *(attempt.champion for attempt in attempts)}

    def has_failed(attempt: Attempt) -> bool:
        if attempt.at < trouble.since or not (trouble.alerted or attempt.called_for):
            return False
        if not attempt.passed or attempt.rollout_id in turned_back:
            return True
        is_judged = trouble.alerted and answered_at is not None and answered_at >= attempt.at
        return is_judged and attempt.version in champions

    return tuple(attempt for attempt in attempts if has_failed(attempt))


def remedies_of(failures: Sequence[Attempt], now: float, rows_until: Callable[[float], int]) -> tuple[Remedy, ...]:
    """The failed remedies, which are not worth another try before those above them on the ladder.

    `rows_until` counts the labelled rows of the trouble that were known at a time; it is called only where the last
    rung has been reached.
    """
    failed, spent_at = set[Remedy](), math.nan
    for attempt in (*failures, Attempt(now, (), None, passed=False)):
        if failed.issuperset(LADDER):
            if rows_until(attempt.at) < GROWTH * max(_LEAST_ROWS, rows_until(spent_at)):
                continue
            failed = set()
        failed |= set(attempt.remedies)
        spent_at = attempt.at
    return tuple(remedy for remedy in Remedy if remedy in failed)


def next_remedies(tried: Collection[Remedy]) -> tuple[Remedy, ...]:
    """The remaining rungs, the next one first; `Remedy.WAIT` where none remains.

    >>> [str(remedy) for remedy in next_remedies([Remedy.RETRAIN, Remedy.RE_TUNE])]
    ['re-engineer', 'ensemble']
    """
    return tuple(remedy for remedy in LADDER if remedy not in tried) or (Remedy.WAIT,)


def _read_attempt(process: Process) -> Attempt | None:
    result, stages = process.result or {}, process.kept
    if process.kind != "optimize" or result.get("status") not in (SUCCESS, REJECTED):
        return None
    if result.get("verdict") == Verdict.ERROR:
        return None
    name = (result.get("diagnosis") or {}).get("remedy")
    remedy = None if name is None else Remedy(name)
    return Attempt(
        at=(stages.get("rows") or {}).get("until", process.created_at),
        remedies=remedies_within(OptimizationType(result["optimization_type"]), remedy),
        version=result.get("version"),
        passed=result["status"] == SUCCESS,
        champion=((stages.get("gate") or {}).get("evidence") or {}).get("champion_version"),
        rollout_id=result.get("rollout_id"),
        called_for=remedy in REMEDIES,
    )
