"""Monitor: archives what waits, looks at each window once it has closed, and says what is to be told."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from optagent.domain.alert import Alert, AlertKind, reconcile
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, Window
from optagent.errors import OptAgentError
from optagent.ports import Observations, Store

_BACK = range(30)  # windows
_NEED_LABELS = frozenset({AlertKind.PERFORMANCE, AlertKind.CONCEPT_DRIFT})
_SEEN_LATE = _NEED_LABELS | {AlertKind.PIPELINE}  # labels that do not come show when they are due


@dataclass(frozen=True, slots=True)
class MonitorPass:
    """What one look at a model found.

    `drained` rows were archived; `reports` are of the windows that were looked at, the latest first; `alerts` are those
    that were stored, and of `notify` among them someone is to be told. With an `error` nothing was decided: the same is
    looked at the next time.
    """

    model_id: str
    drained: int = 0
    reports: tuple[ModelReport, ...] = ()
    alerts: tuple[Alert, ...] = ()
    notify: tuple[Alert, ...] = ()
    error: str | None = None


async def watch_once(
    spec: ModelSpec,
    analyze: Callable[[Window], Awaitable[ModelReport]],
    observations: Observations,
    store: Store,
    monitoring: Monitoring,
    now: float,
) -> MonitorPass:
    """Drains the queue, and analyzes what has closed since the last look; a failure is an answer, with an `error`.

    A window is looked at when it closes, and for what needs labels again once its labels had time to come. What was
    looked at is remembered in the store, after the alerts: a look that is cut short is taken again.
    """
    watched = MonitorPass(spec.model_id)
    try:
        moved = await asyncio.to_thread(observations.drain, spec.model_id)
        watched = replace(watched, drained=moved)
        newest = await asyncio.to_thread(observations.newest, spec.model_id)
        due = () if newest is None else due_windows(spec, monitoring, newest, now)
        mark = await store.watch_mark(spec.model_id)
        if not due or due == mark.due:
            return watched
        windows = await asyncio.to_thread(_with_rows, spec.model_id, observations, due)
        if windows and windows != mark.analyzed:
            reports = tuple([await analyze(window) for window in windows])
            if errors := [report.error for report in reports if report.error is not None]:
                return replace(watched, error=errors[0])
            alerts, notify = await _judged(spec.model_id, reports, store, monitoring, now)
            await store.save_alerts(alerts)
            watched = replace(watched, reports=reports, alerts=alerts, notify=notify)
            mark = replace(mark, analyzed=windows)
        await store.save_watch_mark(spec.model_id, replace(mark, due=due))
        return watched
    except OptAgentError as error:
        return replace(watched, error=str(error))


def due_windows(spec: ModelSpec, monitoring: Monitoring, newest: float, now: float) -> tuple[Window, ...]:
    """The latest window that has closed, and the latest whose labels have come where that is another one.

    Windows start at multiples of their length since 1970. Where the newest prediction, of time `newest`, is older, it
    is the window of that one. Only a label horizon that is a duration says when labels come.
    """
    length = monitoring.window_s
    horizon = spec.horizon if isinstance(spec.label_horizon, str) else 0.0
    starts = [math.floor((now - late) / length) - 1 for late in (0.0, horizon)]
    latest = sorted({min(start, math.floor(newest / length)) for start in starts}, reverse=True)
    return tuple(Window(start * length, (start + 1) * length) for start in latest)


def _with_rows(model_id: str, observations: Observations, due: Sequence[Window]) -> tuple[Window, ...]:
    """The due windows; instead of one without rows the first before it that has, not too far back. Reads the rows."""
    found: dict[Window, None] = {}
    for window in due:
        back = (Window(window.start - step * window.length_s, window.end - step * window.length_s) for step in _BACK)
        filled = (one for one in back if _has_rows(model_id, observations, one))
        found |= dict.fromkeys(islice(filled, 1))
    return tuple(found)


def _has_rows(model_id: str, observations: Observations, window: Window) -> bool:
    return any(table.num_rows for table in observations.predictions(model_id, window.start, window.end))


async def _judged(
    model_id: str, reports: Sequence[ModelReport], store: Store, monitoring: Monitoring, now: float
) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
    """The alerts to store and those to tell. What there were no rows or labels to speak of is not over."""
    latest, *older = reports
    late = [finding for report in older for finding in report.findings if finding.kind in _SEEN_LATE]
    findings = [*latest.findings, *late]
    kinds = {finding.kind for finding in findings}
    if latest.quality is None or latest.quality.rows:
        kinds |= set(AlertKind) - _NEED_LABELS
    if any(report.quality is None or report.quality.labelled for report in reports):
        kinds |= _NEED_LABELS
    known = [alert for alert in await store.alerts(model_id) if alert.kind in kinds]
    return reconcile(model_id, known, findings, now, monitoring.alert_cooldown_minutes * 60)
