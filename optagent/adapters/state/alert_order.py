"""What every store says about alerts."""

from collections.abc import Iterable, Sequence

from optagent.adapters.state.process_lease import checked_limit
from optagent.domain.alert import Alert

_KEPT_S = 90 * 86_400.0


def in_order(alerts: Iterable[Alert], limit: int) -> list[Alert]:
    """The first `limit`: the open ones, those seen last first, then the others, those resolved last first."""
    return sorted(alerts, key=_rank)[: checked_limit(limit)]


def forgotten_before(saved: Sequence[Alert]) -> float:
    """An alert that was resolved before is forgotten: 90 days before the newest time in `saved`."""
    return max(_time(alert) for alert in saved) - _KEPT_S


def _rank(alert: Alert) -> tuple[bool, float, str]:
    return not alert.is_open, -_time(alert), alert.alert_id


def _time(alert: Alert) -> float:
    return alert.last_seen if alert.resolved_at is None else alert.resolved_at
