"""Notices: what people are told by message. They are made of names, metric values and counts, never of data."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from optagent.domain.alert import Alert, Severity
from optagent.domain.gate import Verdict
from optagent.domain.instant import time_text
from optagent.domain.process import Process, Status
from optagent.domain.rollout import AUTOMATIC, Rollout, Transition
from optagent.domain.rollout_look import Look, RolloutState
from optagent.errors import InvalidRequest

TITLE_LIMIT = 150
TEXT_LIMIT = 1500
"""Characters of a text; what is longer is cut."""

_NAME_LIMIT = 80
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_EXCEPTION = re.compile(r"[A-Z]\w{0,60}(?:Error|Exception)(?=: )")
_BROKEN = (Status.FAILED, Status.INTERRUPTED)


class NoticeKind(StrEnum):
    """What a notice is about; a verdict is of a gate, or keeps a candidate on its way or off it."""

    ALERT = "alert"
    VERDICT = "verdict"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    ABORT = "abort"
    FAILURE = "failure"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that people are to be told, once a `key`. `at` is when it happened, a POSIX time.

    Title and text are made harmless to whatever shows them: see `harmless`.
    """

    kind: NoticeKind
    model_id: str
    title: str
    text: str
    severity: Severity
    at: float
    key: str

    def __post_init__(self) -> None:
        if not self.key:
            raise InvalidRequest(f"a notice needs a key, that of {self.title!r} is empty")
        if not 0 <= self.at < 1e11:
            raise InvalidRequest(f"at must be a POSIX time, got {self.at!r}")
        object.__setattr__(self, "title", harmless(self.title.replace("\n", " "), TITLE_LIMIT))
        object.__setattr__(self, "text", harmless(self.text, TEXT_LIMIT))


@dataclass(frozen=True, slots=True)
class Message:
    """Notices as they are sent: one title, one text, the worst severity."""

    title: str
    text: str
    severity: Severity


def of_alert(alert: Alert) -> Notice:
    """What was found wrong; told again, it is another notice."""
    at = alert.last_seen if alert.notified_at is None else alert.notified_at
    text = f"{alert.message}\nSeen since {_time(alert.first_seen)}."
    title = f"{alert.model_id}: {alert.kind} ({alert.severity})"
    return Notice(NoticeKind.ALERT, alert.model_id, title, text, alert.severity, at, f"alert:{alert.alert_id}:{at:.3f}")


def of_transition(rollout: Rollout, transition: Transition) -> Notice:
    """What was decided about a candidate. The reason is told where a look gave it, not the words of a person."""
    if transition not in rollout.transitions:
        raise InvalidRequest(f"rollout {rollout.rollout_id!r} has no transition to {transition.state} then")
    place = rollout.transitions.index(transition)
    replaced = rollout.transitions[place - 1].state in (RolloutState.BAKING, RolloutState.PROMOTED) if place else False
    kind, severity, said = _decided(rollout, transition, replaced)
    look = next((judged.look for judged in rollout.looks if judged.look.look_id == transition.look_id), None)
    lines = [] if transition.look_id is None else [transition.reason]
    lines += [] if look is None else [_evidence(look)]
    lines.append(f"By {_name(transition.by)}, {_time(transition.at)}, rollout {rollout.rollout_id}.")
    return Notice(
        kind,
        rollout.model_id,
        f"{rollout.model_id}: {said}",
        "\n".join(line for line in lines if line),
        severity,
        transition.at,
        f"transition:{rollout.rollout_id}:{place}",
    )


def of_proof(rollout: Rollout) -> Notice | None:
    """A candidate that has proved itself in shadow and stays there until somebody promotes it; None for any other."""
    if rollout.state is not RolloutState.SHADOW:
        return None
    for judged in rollout.looks:
        if judged.verdict is Verdict.PASS:
            look = judged.look
            text = f"{judged.reason}\n{_evidence(look)}\nIt waits to be promoted: rollout {rollout.rollout_id}."
            title = f"{rollout.model_id}: version {rollout.candidate} has proved itself in shadow"
            key = f"proof:{rollout.rollout_id}"
            return Notice(NoticeKind.VERDICT, rollout.model_id, title, text, Severity.INFO, look.at, key)
    return None


def of_failure(process: Process) -> Notice:
    """A process that failed or lost its runner. What its error says may quote data and stays with the process."""
    if process.status not in _BROKEN:
        raise InvalidRequest(
            f"process {process.process_id!r} is {process.status}, not one of {list(map(str, _BROKEN))}"
        )
    stage = f" in {_name(process.stage)}" if process.stage else ""
    exception = _EXCEPTION.match(process.error or "")
    kind = f", {exception.group()}" if exception else ""
    text = (
        f"Process {process.process_id} {process.status}{stage}{kind}, {_time(process.updated_at)}.\n"
        "Its error is kept with the process."
    )
    return Notice(
        NoticeKind.FAILURE,
        process.model_id,
        f"{process.model_id}: {process.kind} {process.status}",
        text,
        Severity.WARNING,
        process.updated_at,
        f"failure:{process.process_id}:{process.status}",
    )


def of_verdict(process: Process) -> Notice | None:
    """What a process that succeeded came to at the gate; None where it judged nothing."""
    result = process.result or {}
    verdict = str(result.get("verdict") or "")
    if process.status is not Status.SUCCEEDED or verdict not in set(Verdict):
        return None
    version = result.get("version")
    aliases = [_name(alias) for alias in result.get("aliases") or ()]
    lines = [f"Version {_name(version)}{' is ' + ', '.join(aliases) if aliases else ' is registered'}."] * bool(version)
    lines += [_improvement(result)]
    lines += [f"Process {process.process_id}, {_time(process.updated_at)}."]
    return Notice(
        NoticeKind.VERDICT,
        process.model_id,
        f"{process.model_id}: {process.kind}, verdict {verdict}",
        "\n".join(line for line in lines if line),
        Severity.WARNING if verdict == Verdict.ERROR else Severity.INFO,
        process.updated_at,
        f"verdict:{process.process_id}",
    )


def of_test(now: float) -> Notice:
    """A notice that only shows that notices arrive."""
    text = f"This is a test: notices of alerts, verdicts, rollouts and failures arrive here. {_time(now)}."
    return Notice(NoticeKind.TEST, "", "optagent: test", text, Severity.INFO, now, f"test:{now:.6f}")


def due(
    notices: Sequence[Notice], told: Mapping[str, float], now: float, cooldown_s: float
) -> tuple[tuple[tuple[Notice, ...], ...], dict[str, float]]:
    """The notices to send now, those of a model together, and when each key was told then.

    `told` are the times of the last telling, by key; a key that was told within the cool-down is not told again. The
    worst comes first, of groups and in them, then the oldest. Keys whose cool-down is over are dropped.
    """
    if not cooldown_s >= 0:
        raise InvalidRequest(f"cooldown_s must not be negative, got {cooldown_s!r}")
    kept = {key: at for key, at in told.items() if now - at < cooldown_s}
    fresh: dict[str, Notice] = {}
    for notice in notices:
        if notice.key not in kept:
            fresh.setdefault(notice.key, notice)
    groups: dict[str, list[Notice]] = {}
    for notice in sorted(fresh.values(), key=_order):
        groups.setdefault(notice.model_id, []).append(notice)
    return tuple(map(tuple, groups.values())), kept | dict.fromkeys(fresh, now)


def message_of(notices: Sequence[Notice]) -> Message:
    """Notices as one message of at most 1,500 characters, the worst first; those without room are counted."""
    if not notices:
        raise InvalidRequest("a message needs a notice")
    first, *others = sorted(notices, key=_order)
    if not others:
        return Message(first.title, first.text, first.severity)
    title = harmless(f"{first.title}, and {len(others)} more", TITLE_LIMIT)
    return Message(title, _joined([first, *others]), first.severity)


def harmless(text: str, limit: int) -> str:
    """Text without markup, mentions, links and characters that do not show, cut to `limit` characters.

    >>> harmless("<!channel> @here is [a](http://link)", 100)
    '‹!channel› ＠here is [a] (http: //link)'
    """
    shown = "".join(char if char == "\n" or not unicodedata.category(char).startswith("C") else " " for char in text)
    shown = shown.replace("<", "‹").replace(">", "›").replace("`", "'").replace("](", "] (").replace("://", ": //")
    shown = _MENTION.sub("＠", shown).strip()
    return shown if len(shown) <= limit else f"{shown[: limit - 1].rstrip()}…"


def _joined(notices: Sequence[Notice]) -> str:
    room, parts = TEXT_LIMIT - len("\n\nand 10000 more"), list[str]()
    for notice in notices:
        part = f"{notice.title}\n{notice.text}"
        if parts and room < len(part) + 2:
            break
        parts.append(part if len(part) <= room else f"{part[: room - 1].rstrip()}…")
        room -= len(parts[-1]) + 2
    left = len(notices) - len(parts)
    return "\n\n".join([*parts, f"and {left} more"] if left else parts)


def _order(notice: Notice) -> tuple[int, float, str]:
    return -notice.severity.rank, notice.at, notice.key


def _decided(rollout: Rollout, transition: Transition, replaced: bool) -> tuple[NoticeKind, Severity, str]:
    candidate, champion = f"version {rollout.candidate}", f"version {rollout.champion}"
    by_itself = transition.by == AUTOMATIC
    match transition.state:
        case RolloutState.SHADOW:
            return NoticeKind.VERDICT, Severity.INFO, f"{candidate} is compared with {champion} in shadow"
        case RolloutState.RAMP:
            share = rollout.policy.ramp[transition.step]
            return NoticeKind.VERDICT, Severity.INFO, f"{candidate} answers {share:.0%} of the requests"
        case RolloutState.BAKING:
            return NoticeKind.PROMOTION, Severity.INFO, f"{candidate} is promoted, and watched"
        case RolloutState.PROMOTED:
            return NoticeKind.PROMOTION, Severity.INFO, f"{candidate} is champion for good"
        case RolloutState.ROLLED_BACK:
            said = f"rolled back, {champion} answers again" if replaced else f"{candidate} is taken back for harm"
            return NoticeKind.ROLLBACK, Severity.CRITICAL if by_itself else Severity.WARNING, said
        case RolloutState.ABORTED:
            severity = Severity.WARNING if by_itself else Severity.INFO
            return NoticeKind.ABORT, severity, f"the rollout of {candidate} is aborted"
        case RolloutState.INCONCLUSIVE:
            return NoticeKind.VERDICT, Severity.INFO, f"nothing is proved about {candidate}, {champion} stays"


def _evidence(look: Look) -> str:
    found = look.of_numbers.improvement
    said = "" if found is None else f", improvement {found.estimate:.4g} ({found.low:.4g} to {found.high:.4g})"
    return f"{look.rows:,} rows{said}."


def _improvement(result: Mapping[str, Any]) -> str:
    found, baseline = result.get("improvement"), result.get("baseline_name")
    said = [found.get(name) for name in ("estimate", "low", "high")] if isinstance(found, Mapping) else []
    numbers = [float(number) for number in said if isinstance(number, int | float)]
    if len(numbers) < 3:
        return ""
    over = f" over {_name(baseline)}" if baseline else ""
    return f"Improvement{over} {numbers[0]:.4g} ({numbers[1]:.4g} to {numbers[2]:.4g})."


def _name(text: object) -> str:
    return harmless(str(text).replace("\n", " "), _NAME_LIMIT)


def _time(at: float) -> str:
    return f"{time_text(at)} UTC"
