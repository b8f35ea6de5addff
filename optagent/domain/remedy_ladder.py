"""The remedy ladder: retrain, re-tune, re-engineer, ensemble; a model's present trouble climbs past those that failed.

A trouble lasts from the first alert on lost quality until there is none for longer than a patience. A time at which the
world changed would be no beginning: a detector finds it in the window that it looks at, so that it moves on with each
window while the trouble is the same, and what was tried would be forgotten. What was tried before anybody saw the
trouble is no answer to it.

Past the last rung nothing is left to try on the same rows; the ladder is climbed anew once there are `GROWTH` times as
many labelled rows of the trouble as then. However long it lasts, the number of climbs grows as the logarithm of its
rows.
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
"""Times the labelled rows, after which remedies that failed are worth another try."""

_LEAST_ROWS = 50
_LOST_QUALITY = (AlertKind.PERFORMANCE, AlertKind.CONCEPT_DRIFT)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An optimization whose candidate was judged at the gates.

    It learned from rows known `at` (POSIX seconds), and its candidate is a `version` that was judged beside the
    `champion` of then, if there was one. `called_for` says that its own diagnosis asked for a remedy.
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
    """Since when a model is in trouble, and whether an alert told of it (POSIX seconds)."""

    since: float
    alerted: bool


def remedies_within(kind: OptimizationType, remedy: Remedy | None = None) -> tuple[Remedy, ...]:
    """The remedies that an optimization of a kind goes through, `auto` for a remedy. A search tries the champion's own
    parameters too, so that whoever re-tunes has retrained; to recalibrate is to retrain.

    >>> [str(one) for one in remedies_within(OptimizationType.AUTO, Remedy.RE_ENGINEER)]
    ['retrain', 're-tune', 're-engineer']
    >>> [str(one) for one in remedies_within(OptimizationType.FEATURES)]
    ['retrain']
    """
    stages = set(stages_of(kind, remedy))
    if Stage.TUNE in stages:
        stages.add(Stage.RETRAIN)
    rungs = tuple(one for one in LADDER if stages.issuperset(REMEDIES[one]))
    recalibrates = kind is OptimizationType.AUTO and remedy is Remedy.RECALIBRATE
    return (Remedy.RECALIBRATE, *rungs) if recalibrates else rungs


def attempts_of(processes: Iterable[Process]) -> tuple[Attempt, ...]:
    """The optimizations among a model's processes that came to a verdict of their own, the oldest first.

    One that failed, was cancelled, found no rows to learn from or could not be judged has tried nothing.
    """
    attempts = [attempt for process in processes if (attempt := _attempt(process)) is not None]
    return tuple(sorted(attempts, key=lambda attempt: attempt.at))


def trouble_of(alerts: Iterable[Alert], now: float, patience_s: float, made_at: float) -> Trouble:
    """The trouble that a model is in at `now`, if it is in any.

    Alerts less than `patience_s` apart are of one trouble, whichever champion answered: so a new champion that is as
    bad does not begin another. Where no alert reaches up to now, trouble can be as old as the last alert's end, and the
    champion, made at `made_at`.
    """
    lasted = sorted(
        ((one.resolved_at or now, one.first_seen) for one in alerts if one.kind in _LOST_QUALITY), reverse=True
    )
    since, alerted = now, False
    for end, start in lasted:
        if since - end > patience_s:
            break
        since, alerted = min(since, start), True
    if alerted:
        return Trouble(since, alerted)
    return Trouble(max([made_at, *(end for end, _ in lasted)]), alerted)


def failures_of(
    attempts: Sequence[Attempt],
    trouble: Trouble,
    champion: str | None,
    turned_back: Collection[str],
    answered_at: float | None,
) -> tuple[Attempt, ...]:
    """The attempts that did not end a trouble: the candidate did not pass its gates, or its rollout turned it back by
    itself (`turned_back` has their ids), or it became champion and the trouble is still there.

    The last is known once most of the labelled rows are younger than it: `answered_at` is their median time. A
    candidate that passed and waits for a person has not failed. Without an alert only attempts count that were called
    for by a diagnosis: the rejected retraining of a model that does well is no remedy tried.
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
    """The remedies that failed, which there is no reason to try again before those above them on the ladder.

    `rows_until` counts the labelled rows of the trouble that were known at a time; it is asked only where the last rung
    has been reached.
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
    """The rungs that are left, the next one first; to wait where none is.

    >>> [str(one) for one in next_remedies([Remedy.RETRAIN, Remedy.RE_TUNE])]
    ['re-engineer', 'ensemble']
    """
    return tuple(remedy for remedy in LADDER if remedy not in tried) or (Remedy.WAIT,)


def _attempt(process: Process) -> Attempt | None:
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
