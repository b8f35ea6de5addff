"""Alerts: findings that last, with when each was first and last seen, notified and resolved."""

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
    LABELS = "labels"
    MIXTURE = "mixture"
    INTERVALS = "intervals"


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
    """Something wrong that one analysis found; `evidence` holds plain values."""

    kind: AlertKind
    severity: Severity
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """A finding that lasts. Times are POSIX seconds; severity, message and evidence are those of the latest finding."""

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


def update_alerts(
    model_id: str, alerts: Sequence[Alert], findings: Sequence[Finding], now: float, cooldown_s: float
) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
    """The alerts to store after an analysis at `now`, and those among them to notify people of.

    `alerts` are the model's open alerts and those resolved within the cool-down; further ones are ignored. There is one
    open alert of each kind: a repeated finding moves its last_seen, and people are notified again only once the
    cool-down has passed since the last notification. An alert whose kind is no longer found is resolved; if it is found
    again within the cool-down, the same alert opens again instead of a new one. A notified alert has `now` as its
    `notified_at`.
    """
    if not cooldown_s >= 0:
        raise InvalidRequest(f"cooldown_s must not be negative, got {cooldown_s!r}")
    own = [alert for alert in alerts if alert.model_id == model_id]
    current, to_notify, current_ids = [], [], set()
    for kind in AlertKind:
        finding = _merge_findings([finding for finding in findings if finding.kind is kind])
        if finding is None:
            continue
        previous = _alert_to_continue([alert for alert in own if alert.kind is kind], now, cooldown_s)
        alert = _open_alert(model_id, finding, now) if previous is None else _continue_alert(previous, finding, now)
        if alert.notified_at is None or now - alert.notified_at >= cooldown_s:
            alert = replace(alert, notified_at=now)
            to_notify.append(alert)
        current.append(alert)
        current_ids.add(alert.alert_id)
    resolved = [replace(alert, resolved_at=now) for alert in own if alert.is_open and alert.alert_id not in current_ids]
    return (*current, *resolved), tuple(to_notify)


def _open_alert(model_id: str, finding: Finding, now: float) -> Alert:
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


def _continue_alert(alert: Alert, finding: Finding, now: float) -> Alert:
    return replace(
        alert,
        severity=finding.severity,
        message=finding.message,
        evidence=finding.evidence,
        last_seen=max(alert.last_seen, now),
        resolved_at=None,
    )


def _alert_to_continue(alerts: Sequence[Alert], now: float, cooldown_s: float) -> Alert | None:
    """The oldest open alert, or else the alert resolved last, if that was within the cool-down."""
    open_alerts = [alert for alert in alerts if alert.resolved_at is None]
    if open_alerts:
        return min(open_alerts, key=lambda alert: (alert.first_seen, alert.alert_id))
    recent = [
        (alert.resolved_at, alert.alert_id, alert)
        for alert in alerts
        if alert.resolved_at is not None and now - alert.resolved_at < cooldown_s
    ]
    return max(recent)[2] if recent else None


def _merge_findings(findings: Sequence[Finding]) -> Finding | None:
    """One finding for several of a kind: the worst comes first in the message, and its evidence wins."""
    if len(findings) < 2:
        return findings[0] if findings else None
    ranked = sorted(findings, key=lambda finding: -finding.severity.rank)
    evidence: dict[str, Any] = {}
    for finding in reversed(ranked):
        evidence.update(finding.evidence)
    return replace(ranked[0], message="; ".join(finding.message for finding in ranked), evidence=evidence)
