"""Notices: messages to people, made of names, metric values and counts, never of data."""

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
from optagent.domain.rollout import Rollout, Transition
from optagent.domain.rollout_look import Look, RolloutState
from optagent.errors import InvalidRequest
from optagent.secret_text import hide_secrets

TITLE_LIMIT = 150
TEXT_LIMIT = 1500
"""Characters of a text; a longer one is cut."""

_NAME_LIMIT = 80
_MENTION = re.compile(r"(?<!\w)@(?=\w)")
_EXCEPTION = re.compile(r"[A-Z]\w{0,60}(?:Error|Exception)(?=: )")
_FAILURES = (Status.FAILED, Status.INTERRUPTED)


class NoticeKind(StrEnum):
    """The subject of a notice. A verdict is that of a gate, or a step of a rollout short of promotion."""

    ALERT = "alert"
    VERDICT = "verdict"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    ABORT = "abort"
    FAILURE = "failure"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """An event to notify people of, once per `key`. `at` is the POSIX time of the event.

    Title and text are sanitized for every channel that shows them: see `sanitize_text`.
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
        object.__setattr__(self, "title", sanitize_text(self.title.replace("\n", " "), TITLE_LIMIT))
        object.__setattr__(self, "text", sanitize_text(self.text, TEXT_LIMIT))


@dataclass(frozen=True, slots=True)
class Message:
    """One or several notices in the form in which they are sent: one title, one text, the worst severity."""

    title: str
    text: str
    severity: Severity


def notice_of_alert(alert: Alert) -> Notice:
    """The notice of an alert; each repeated notification of the alert has a key of its own."""
    at = alert.last_seen if alert.notified_at is None else alert.notified_at
    text = f"{alert.message}\nSeen since {_utc_text(alert.first_seen)}."
    title = f"{alert.model_id}: {alert.kind} ({alert.severity})"
    return Notice(NoticeKind.ALERT, alert.model_id, title, text, alert.severity, at, f"alert:{alert.alert_id}:{at:.3f}")


def notice_of_transition(rollout: Rollout, transition: Transition) -> Notice:
    """The notice of a decision about a candidate. It quotes the reason of a look, never the words of a person."""
    if transition not in rollout.transitions:
        raise InvalidRequest(f"rollout {rollout.rollout_id!r} has no transition to {transition.state} then")
    place = rollout.transitions.index(transition)
    replaced = rollout.transitions[place - 1].state in (RolloutState.BAKING, RolloutState.PROMOTED) if place else False
    kind, severity, summary = _describe_transition(rollout, transition, replaced)
    look = next((each.look for each in rollout.looks if each.look.look_id == transition.look_id), None)
    lines = [] if transition.look_id is None else [transition.reason]
    lines += [] if look is None else [_evidence_line(look)]
    lines.append(f"By {_short_name(transition.by)}, {_utc_text(transition.at)}, rollout {rollout.rollout_id}.")
    return Notice(
        kind,
        rollout.model_id,
        f"{rollout.model_id}: {summary}",
        "\n".join(line for line in lines if line),
        severity,
        transition.at,
        f"transition:{rollout.rollout_id}:{place}",
    )


def notice_of_proof(rollout: Rollout) -> Notice | None:
    """The notice of a candidate that has passed in shadow and waits there for its promotion; None for any other."""
    if rollout.state is not RolloutState.SHADOW:
        return None
    for each in rollout.looks:
        if each.verdict is Verdict.PASS:
            look = each.look
            text = f"{each.reason}\n{_evidence_line(look)}\nIt waits to be promoted: rollout {rollout.rollout_id}."
            title = f"{rollout.model_id}: version {rollout.candidate} has proved itself in shadow"
            key = f"proof:{rollout.rollout_id}"
            return Notice(NoticeKind.VERDICT, rollout.model_id, title, text, Severity.INFO, look.at, key)
    return None


def notice_of_failure(process: Process) -> Notice:
    """The notice of a process that failed or lost its runner. It omits the error message, which may quote data."""
    if process.status not in _FAILURES:
        raise InvalidRequest(
            f"process {process.process_id!r} is {process.status}, not one of {list(map(str, _FAILURES))}"
        )
    stage = f" in {_short_name(process.stage)}" if process.stage else ""
    exception = _EXCEPTION.match(process.error or "")
    kind = f", {exception.group()}" if exception else ""
    text = (
        f"Process {process.process_id} {process.status}{stage}{kind}, {_utc_text(process.updated_at)}.\n"
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


def notice_of_verdict(process: Process) -> Notice | None:
    """The notice of a successful process's verdict at the gate; None where it judged nothing."""
    result = process.result or {}
    verdict = str(result.get("verdict") or "")
    if process.status is not Status.SUCCEEDED or verdict not in set(Verdict):
        return None
    version = result.get("version")
    aliases = [_short_name(alias) for alias in result.get("aliases") or ()]
    place = ", ".join(aliases) or "registered"
    lines = [f"Version {_short_name(version)} is {place}."] if version else []
    lines += [_improvement_line(result)]
    lines += [f"Process {process.process_id}, {_utc_text(process.updated_at)}."]
    return Notice(
        NoticeKind.VERDICT,
        process.model_id,
        f"{process.model_id}: {process.kind}, verdict {verdict}",
        "\n".join(line for line in lines if line),
        Severity.WARNING if verdict == Verdict.ERROR else Severity.INFO,
        process.updated_at,
        f"verdict:{process.process_id}",
    )


def notice_of_test(now: float) -> Notice:
    """A test notice, which shows that notices arrive."""
    text = f"This is a test: notices of alerts, verdicts, rollouts and failures arrive here. {_utc_text(now)}."
    return Notice(NoticeKind.TEST, "", "optagent: test", text, Severity.INFO, now, f"test:{now:.6f}")


def due_messages(
    notices: Sequence[Notice], told: Mapping[str, float], now: float, cooldown_s: float
) -> tuple[tuple[tuple[Notice, ...], ...], dict[str, float]]:
    """The notices to send now, grouped by model into messages, and the updated times of sending by key.

    `told` are the times of the last sending, by key; a key that was sent within the cool-down is not sent again. The
    worst comes first, among groups and within them, then the oldest. Keys whose cool-down is over are dropped.
    """
    if not cooldown_s >= 0:
        raise InvalidRequest(f"cooldown_s must not be negative, got {cooldown_s!r}")
    recent = {key: at for key, at in told.items() if now - at < cooldown_s}
    fresh: dict[str, Notice] = {}
    for notice in notices:
        if notice.key not in recent:
            fresh.setdefault(notice.key, notice)
    groups: dict[str, list[Notice]] = {}
    for notice in sorted(fresh.values(), key=_sort_key):
        groups.setdefault(notice.model_id, []).append(notice)
    return tuple(map(tuple, groups.values())), recent | dict.fromkeys(fresh, now)


def message_of(notices: Sequence[Notice]) -> Message:
    """One message of several notices, at most 1,500 characters, the worst first; notices without room are counted."""
    if not notices:
        raise InvalidRequest("a message needs a notice")
    first, *others = sorted(notices, key=_sort_key)
    if not others:
        return Message(first.title, first.text, first.severity)
    title = sanitize_text(f"{first.title}, and {len(others)} more", TITLE_LIMIT)
    return Message(title, _join_texts([first, *others]), first.severity)


def sanitize_text(text: str, limit: int) -> str:
    """Text without secrets of URLs, markup, mentions, links and characters that do not show, cut to `limit` characters.

    >>> sanitize_text("<!channel> @here is [a](http://link)", 100)
    '‹!channel› ＠here is [a] (http: //link)'
    """
    text = hide_secrets(text)  # first: a URL that is taken apart is none any more
    plain = "".join(char if char == "\n" or not unicodedata.category(char).startswith("C") else " " for char in text)
    plain = plain.replace("<", "‹").replace(">", "›").replace("`", "'").replace("](", "] (").replace("://", ": //")
    plain = _MENTION.sub("＠", plain).strip()
    return plain if len(plain) <= limit else f"{plain[: limit - 1].rstrip()}…"


def _join_texts(notices: Sequence[Notice]) -> str:
    room, parts = TEXT_LIMIT - len("\n\nand 10000 more"), list[str]()
    for notice in notices:
        part = f"{notice.title}\n{notice.text}"
        if parts and room < len(part) + 2:
            break
        parts.append(part if len(part) <= room else f"{part[: room - 1].rstrip()}…")
        room -= len(parts[-1]) + 2
    left = len(notices) - len(parts)
    return "\n\n".join([*parts, f"and {left} more"] if left else parts)


def _sort_key(notice: Notice) -> tuple[int, float, str]:
    return -notice.severity.rank, notice.at, notice.key


def _describe_transition(rollout: Rollout, transition: Transition, replaced: bool) -> tuple[NoticeKind, Severity, str]:
    candidate, champion = f"version {rollout.candidate}", f"version {rollout.champion}"
    by_itself = transition.is_automatic
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
            summary = f"rolled back, {champion} answers again" if replaced else f"{candidate} is taken back for harm"
            return NoticeKind.ROLLBACK, Severity.CRITICAL if by_itself else Severity.WARNING, summary
        case RolloutState.ABORTED:
            severity = Severity.WARNING if by_itself else Severity.INFO
            return NoticeKind.ABORT, severity, f"the rollout of {candidate} is aborted"
        case RolloutState.INCONCLUSIVE:
            return NoticeKind.VERDICT, Severity.INFO, f"nothing is proved about {candidate}, {champion} stays"


def _evidence_line(look: Look) -> str:
    interval = look.without_invalid_numbers.improvement
    if interval is None:
        return f"{look.rows:,} rows."
    bounds = f"{interval.low:.4g} to {interval.high:.4g}"
    return f"{look.rows:,} rows, improvement {interval.estimate:.4g} ({bounds})."


def _improvement_line(result: Mapping[str, Any]) -> str:
    interval, baseline = result.get("improvement"), result.get("baseline_name")
    values = [interval.get(name) for name in ("estimate", "low", "high")] if isinstance(interval, Mapping) else []
    numbers = [float(number) for number in values if isinstance(number, int | float)]
    if len(numbers) < 3:
        return ""
    over = f" over {_short_name(baseline)}" if baseline else ""
    corrected = result.get("corrected_improvement")
    text = f"; corrected for having passed, {corrected:.4g}" if isinstance(corrected, int | float) else ""
    return f"Improvement{over} {numbers[0]:.4g} ({numbers[1]:.4g} to {numbers[2]:.4g}){text}."


def _short_name(text: object) -> str:
    return sanitize_text(str(text).replace("\n", " "), _NAME_LIMIT)


def _utc_text(at: float) -> str:
    return f"{time_text(at)} UTC"
