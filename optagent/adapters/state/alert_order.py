"""Alert order: how every store sorts its alerts, and when it drops those that are resolved."""

from collections.abc import Iterable, Sequence

from optagent.adapters.state.process_lease import checked_limit
from optagent.domain.alert import Alert

_RETENTION_S = 90 * 86_400.0


def sort_alerts(alerts: Iterable[Alert], limit: int) -> list[Alert]:
    """The first `limit` alerts: first the open ones by last sighting, then the resolved ones by time, newest first."""
    return sorted(alerts, key=_rank)[: checked_limit(limit)]


def retention_cutoff(saved: Sequence[Alert]) -> float:
    """The time before which resolved alerts are dropped: 90 days before the newest time in `saved`."""
    return max(_time(alert) for alert in saved) - _RETENTION_S


def _rank(alert: Alert) -> tuple[bool, float, str]:
    return not alert.is_open, -_time(alert), alert.alert_id


def _time(alert: Alert) -> float:
    return alert.last_seen if alert.resolved_at is None else alert.resolved_at
