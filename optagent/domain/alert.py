"""Alerts: what was found wrong, since when, whether someone was told, and whether it is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from optagent.errors import InvalidRequest


class AlertKind(StrEnum):
    PERFORMANCE = "performance"
    DATA_DRIFT = "data drift"
    PREDICTION_DRIFT = "prediction drift"
    CONCEPT_DRIFT = "concept drift"
    CONFIDENCE = "confidence"
    DATA_QUALITY = "data quality"
    LATENCY = "latency"
    PIPELINE = "pipeline"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The higher, the worse."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong that one analysis found; `evidence` are plain values."""

    kind: AlertKind
    severity: Severity
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """A finding that lasts. Times are POSIX seconds; severity, message and evidence are those of the last time seen."""

    alert_id: str
    model_id: str
    kind: AlertKind
    severity: Severity
    message: str
    evidence: Mapping[str, Any]
    first_seen: float
    last_seen: float
    notified_at: float | None = None
    resolved_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None


def reconcile(
    model_id: str, alerts: Sequence[Alert], findings: Sequence[Finding], now: float, cooldown_s: float
) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
    """The alerts to store after an analysis at `now`, and those among them that someone is to be told of.

    `alerts` are the model's open ones and those resolved within the cool-down, others do no harm. There is one open
    alert a kind: a finding again moves its last_seen, and is told again only once the cool-down has passed since it was
    last told. An alert whose kind is no longer found is resolved; found again within the cool-down it opens again
    instead of a new one. Told means `notified_at` is `now`.
    """
    if not cooldown_s >= 0:
        raise InvalidRequest(f"cooldown_s must not be negative, got {cooldown_s!r}")
    mine = [alert for alert in alerts if alert.model_id == model_id]
    stored, told, continued = [], [], set()
    for kind in AlertKind:
        finding = _worst([finding for finding in findings if finding.kind is kind])
        if finding is None:
            continue
        known = _continuing([alert for alert in mine if alert.kind is kind], now, cooldown_s)
        alert = _opened(model_id, finding, now) if known is None else _seen_again(known, finding, now)
        if alert.notified_at is None or now - alert.notified_at >= cooldown_s:
            alert = replace(alert, notified_at=now)
            told.append(alert)
        stored.append(alert)
        continued.add(alert.alert_id)
    over = [replace(alert, resolved_at=now) for alert in mine if alert.is_open and alert.alert_id not in continued]
    return (*stored, *over), tuple(told)


def _opened(model_id: str, finding: Finding, now: float) -> Alert:
    return Alert(
        alert_id=f"{model_id}:{finding.kind.name.lower()}:{now:.6f}",
        model_id=model_id,
        kind=finding.kind,
        severity=finding.severity,
        message=finding.message,
        evidence=finding.evidence,
        first_seen=now,
        last_seen=now,
    )


def _seen_again(alert: Alert, finding: Finding, now: float) -> Alert:
    return replace(
        alert,
        severity=finding.severity,
        message=finding.message,
        evidence=finding.evidence,
        last_seen=max(alert.last_seen, now),
        resolved_at=None,
    )


def _continuing(alerts: Sequence[Alert], now: float, cooldown_s: float) -> Alert | None:
    """The oldest open alert, or else the one resolved last, if that was within the cool-down."""
    opened = [alert for alert in alerts if alert.resolved_at is None]
    if opened:
        return min(opened, key=lambda alert: (alert.first_seen, alert.alert_id))
    recent = [
        (alert.resolved_at, alert.alert_id, alert)
        for alert in alerts
        if alert.resolved_at is not None and now - alert.resolved_at < cooldown_s
    ]
    return max(recent)[2] if recent else None


def _worst(findings: Sequence[Finding]) -> Finding | None:
    """Findings of one kind as one: the worst first, their messages in a row, the evidence of the worse one kept."""
    if len(findings) < 2:
        return findings[0] if findings else None
    ranked = sorted(findings, key=lambda finding: -finding.severity.rank)
    evidence: dict[str, Any] = {}
    for finding in reversed(ranked):
        evidence.update(finding.evidence)
    return replace(ranked[0], message="; ".join(finding.message for finding in ranked), evidence=evidence)
