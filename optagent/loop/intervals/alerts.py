"""Interval alerts: a coverage that is below its level by more than chance allows."""

from collections.abc import Sequence

from optagent.analysis.fall_test import alarm_level
from optagent.conformal.coverage import WATCHED, WINDOW_DAYS, measure_coverage
from optagent.domain.alert import Alert, AlertKind, Finding, Severity, update_alerts
from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Monitoring
from optagent.domain.prediction_interval import LEVELS, IntervalRecord
from optagent.loop.mixture.alerts import is_news
from optagent.ports import Store

_DAY_S = 86_400.0


def findings_of_intervals(record: IntervalRecord, monitoring: Monitoring) -> tuple[Finding, ...]:
    """The finding of too low a coverage; empty where nothing is wrong, or too little is known."""
    coverage = measure_coverage(record.covered)
    if coverage is None or coverage.p_value is None:
        return ()
    risk = alarm_level(_DAY_S, monitoring.false_alarm_every_s, 1)
    if coverage.p_value >= risk:
        return ()
    share, level = coverage.shares[WATCHED], LEVELS[WATCHED]
    message = (
        f"intervals of {level:.0%} covered {share:.1%} of the {coverage.rows:,} outcomes of the newest {WINDOW_DAYS}"
        " days with any: their thresholds follow, later where labels come late"
    )
    evidence = {"level": level, "coverage": share, "rows": coverage.rows, "p_value": coverage.p_value, "risk": risk}
    return (Finding(AlertKind.INTERVALS, Severity.WARNING, message, evidence),)


async def reconcile_interval_alerts(
    record: IntervalRecord, spec: ModelSpec, alerts: Sequence[Alert], store: Store, now: float
) -> None:
    """Opens, renews or resolves the alert of a model's intervals; `alerts` are those of the model.

    One that says the same as at the last pass is stored again once in a while only.
    """
    monitoring = spec.monitoring or Monitoring()
    before = [alert for alert in alerts if alert.kind is AlertKind.INTERVALS]
    findings = findings_of_intervals(record, monitoring)
    if not findings and not any(alert.is_open for alert in before):
        return
    current, _ = update_alerts(spec.model_id, before, findings, now, monitoring.alert_cooldown_minutes * 60)
    known = {alert.alert_id: alert for alert in before}
    changed = [alert for alert in current if is_news(alert, known.get(alert.alert_id))]
    if changed:
        await store.save_alerts(changed)
