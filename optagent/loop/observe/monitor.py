"""Monitor pass over a model: archives queued rows, analyzes each window once it has closed, and reconciles the
alerts."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from optagent.domain.alert import Alert, AlertKind, update_alerts
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.quality_point import QualityPoint, quality_point
from optagent.errors import OptAgentError
from optagent.ports import Observations, Store

_STEPS_BACK = range(30)  # windows
_NEED_LABELS = frozenset({AlertKind.PERFORMANCE, AlertKind.CONCEPT_DRIFT})
_OF_WINDOWS = frozenset(AlertKind) - {AlertKind.MIXTURE, AlertKind.INTERVALS}  # whose passes look after their alerts
_LATE_KINDS = _NEED_LABELS | {AlertKind.PIPELINE}  # missing labels become visible once they are due


@dataclass(frozen=True, slots=True)
class MonitorPass:
    """The outcome of one monitor pass over a model.

    `drained` rows were archived; `reports` are those of the analyzed windows, the latest first; `alerts` are those that
    were stored, and `notify` those among them to send. With an `error` nothing was decided: the next pass analyzes the
    same windows again.
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
    """Drains the queue, and analyzes the windows that have closed since the last pass; a failure is returned as an
    `error`.

    A window is analyzed when it closes, and again for the findings that need labels once its labels had time to come.
    The store remembers the analyzed windows after their alerts, so that an interrupted pass is repeated.
    """
    from optagent.loop.observe.label_history import awaited_delay  # what it imports takes a second

    monitor_pass = MonitorPass(spec.model_id)
    try:
        drained = await asyncio.to_thread(observations.drain, spec.model_id)
        monitor_pass = replace(monitor_pass, drained=drained)
        newest = await asyncio.to_thread(observations.latest_prediction_time, spec.model_id)
        late_s = await awaited_delay(spec, store)
        due = () if newest is None else due_windows(spec, monitoring, newest, now, late_s)
        mark = await store.watch_mark(spec.model_id)
        if not due or due == mark.due:
            return monitor_pass
        windows = await asyncio.to_thread(_windows_with_rows, spec.model_id, observations, due)
        if windows and windows != mark.analyzed:
            reports = tuple([await analyze(window) for window in windows])
            if errors := [report.error for report in reports if report.error is not None]:
                return replace(monitor_pass, error=errors[0])
            alerts, notify = await _reconcile_findings(spec.model_id, reports, store, monitoring, now)
            await store.save_alerts(alerts)
            await store.save_quality(spec.model_id, _quality_points(spec, reports))
            monitor_pass = replace(monitor_pass, reports=reports, alerts=alerts, notify=notify)
            mark = replace(mark, analyzed=windows)
        await store.save_watch_mark(spec.model_id, replace(mark, due=due))
        return monitor_pass
    except OptAgentError as error:
        return replace(monitor_pass, error=str(error))


def _quality_points(spec: ModelSpec, reports: Sequence[ModelReport]) -> list[QualityPoint]:
    from optagent.training.metrics import metric_named  # what it imports takes a second

    metric = metric_named(spec.metric, spec.task).name
    return [point for report in reports if (point := quality_point(report, metric)) is not None]


def due_windows(
    spec: ModelSpec, monitoring: Monitoring, newest: float, now: float, late_s: float | None = None
) -> tuple[Window, ...]:
    """The latest window that has closed, and the latest whose labels have come where that is another one.

    Windows start at multiples of their length since 1970. Where the newest prediction, of time `newest`, is older, its
    window is returned. Labels come `late_s` after it, by default after a label horizon that is a duration.
    """
    length = monitoring.window_s
    late_s = spec.label_delay_s if late_s is None else late_s
    starts = [math.floor((now - late) / length) - 1 for late in (0.0, late_s)]
    latest = sorted({min(start, math.floor(newest / length)) for start in starts}, reverse=True)
    return tuple(Window(start * length, (start + 1) * length) for start in latest)


def _windows_with_rows(model_id: str, observations: Observations, due: Sequence[Window]) -> tuple[Window, ...]:
    """The due windows, where each without rows is replaced by the nearest earlier one that has rows, at most 29 windows
    back. Reads the rows."""
    windows: dict[Window, None] = {}
    for window in due:
        candidates = (
            Window(window.start - step * window.length_s, window.end - step * window.length_s) for step in _STEPS_BACK
        )
        non_empty = (candidate for candidate in candidates if _has_rows(model_id, observations, candidate))
        windows |= dict.fromkeys(islice(non_empty, 1))
    return tuple(windows)


def _has_rows(model_id: str, observations: Observations, window: Window) -> bool:
    return any(table.num_rows for table in observations.predictions(model_id, window.start, window.end))


def has_judged_labels(report: ModelReport) -> bool:
    """True where labels of the window were compared with the reference: those that came too young are not."""
    performance = report.performance
    if report.quality is None or not report.quality.labelled or performance is None or performance.maturity is None:
        return report.quality is None or bool(report.quality.labelled)
    return not performance.maturity.provisional or any(one.drop is not None for one in performance.degradation)


async def _reconcile_findings(
    model_id: str, reports: Sequence[ModelReport], store: Store, monitoring: Monitoring, now: float
) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
    """The alerts to store and those to notify of. Alerts stay open where there were no rows or labels to judge them
    by. Where labels come late, the first ones of the latest window are no fair sample, and it is judged once, later."""
    latest, *older = reports
    early = [finding for finding in latest.findings if not older or finding.kind not in _NEED_LABELS]
    late = [finding for report in older for finding in report.findings if finding.kind in _LATE_KINDS]
    findings = [*early, *late]
    kinds = {finding.kind for finding in findings}
    if latest.quality is None or latest.quality.rows:
        kinds |= _OF_WINDOWS - _NEED_LABELS
    if any(has_judged_labels(report) for report in reports):
        kinds |= _NEED_LABELS
    alerts = [alert for alert in await store.alerts(model_id) if alert.kind in kinds]
    return update_alerts(model_id, alerts, findings, now, monitoring.alert_cooldown_minutes * 60)
