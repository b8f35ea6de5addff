"""Mixture alerts: faults that learning waits for, and what people must hear of a mixture itself."""

from collections.abc import Sequence
from dataclasses import replace

from optagent.domain.alert import Alert, AlertKind, Finding, Severity, update_alerts
from optagent.domain.mixture import MixtureRecord
from optagent.loop.mixture.answered_rows import MOST_ROWS
from optagent.loop.mixture.harm import harm_event
from optagent.loop.mixture.learn import version_of
from optagent.loop.mixture.status import certificate_of
from optagent.ports import Store

_FAULTS = (AlertKind.PIPELINE, AlertKind.LABELS)
_AGAIN_AFTER_S = 86_400.0
_REFRESH_S = 3600.0


def fault_of(alerts: Sequence[Alert]) -> str:
    """The open faults of labels or the pipeline in words, for whose end learning waits; "" for none."""
    faults = [alert for alert in alerts if alert.is_open and alert.kind in _FAULTS]
    return "; ".join(f"{alert.kind}: {alert.message}" for alert in sorted(faults, key=lambda each: each.kind))


def findings_of_mixture(record: MixtureRecord) -> tuple[Finding, ...]:
    """The findings that people are told of; empty where nothing is wrong."""
    findings = []
    certificate = certificate_of(record)
    if not certificate.holds:
        message = "the answers are further behind a slot than the certificate allows, which is a defect of this program"
        evidence = {"behind": certificate.behind, "bound_with_delay": certificate.bound_with_delay}
        findings.append(Finding(AlertKind.MIXTURE, Severity.CRITICAL, message, evidence))
    harm = harm_event(record)
    if harm is not None:
        message = f"the champion answers alone until the mixture is thawed: {harm.detail['why']}"
        findings.append(Finding(AlertKind.MIXTURE, Severity.CRITICAL, message, harm.detail))
    if record.waits_for:
        message = (
            "learning waits until the fault of its labels or pipeline is over; the labels of this time are learned "
            "then, unless they are forgotten"
        )
        findings.append(Finding(AlertKind.MIXTURE, Severity.WARNING, message, {"fault": record.waits_for}))
    if record.given_up:
        message = (
            f"more than {MOST_ROWS:,} answered rows wait for their labels, the most that a pass reads: "
            f"{record.given_up:,} older ones are given up, and will not be learned"
        )
        findings.append(Finding(AlertKind.MIXTURE, Severity.WARNING, message, {"rows": record.given_up}))
    missing = [f"{slot} (version {version})" for slot, version in _missing_versions(record)]
    if missing:
        message = f"the champion stands in for slots whose version has left the registry: {', '.join(missing)}"
        findings.append(Finding(AlertKind.MIXTURE, Severity.WARNING, message, {"slots": missing}))
    return tuple(findings)


def _missing_versions(record: MixtureRecord) -> list[tuple[str, str]]:
    """The slots, each with the version of its own, for which another one answers."""
    published = record.published
    standing = {} if published is None else dict(zip(published.slots, published.versions, strict=True))
    own = {slot: version_of(slot, record) for slot in standing}
    return [(slot, version) for slot, version in own.items() if version and version != standing[slot]]


async def reconcile_alerts(record: MixtureRecord, alerts: Sequence[Alert], store: Store, now: float) -> None:
    """Opens, renews or resolves the alert of a mixture; `alerts` are those of its model.

    People are told once a day while it lasts, and at once where it becomes more severe.
    """
    findings = findings_of_mixture(record)
    before = [alert for alert in alerts if alert.kind is AlertKind.MIXTURE]
    worst = max((finding.severity.rank for finding in findings), default=0)
    untold = [replace(alert, notified_at=None) if worst > alert.severity.rank else alert for alert in before]
    current, _ = update_alerts(record.model_id, untold, findings, now, _AGAIN_AFTER_S)
    known = {alert.alert_id: alert for alert in before}
    changed = [alert for alert in current if is_news(alert, known.get(alert.alert_id))]
    if changed:
        await store.save_alerts(changed)


def is_news(alert: Alert, before: Alert | None) -> bool:
    """True for an alert that differs from the stored one by more than the time at which it was seen last."""
    if before is None or alert.last_seen - before.last_seen >= _REFRESH_S:
        return True
    return alert != replace(before, last_seen=alert.last_seen, evidence=alert.evidence)
