"""A year of one champion's rows, judged window by window with the functions that the monitor and the policies call.

Nothing retrains: a run that a trigger starts ends at once without a new champion, which is what a false one should do.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, ndtr

from optagent.analysis.concept_drift import loss_baseline, row_losses
from optagent.analysis.findings import findings_of
from optagent.analysis.loss_watch import started_watch
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import metric_values
from optagent.domain.alert import AlertKind, Finding, Severity, update_alerts
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.performance import Certainty, ModelConfidence, Performance
from optagent.domain.policy import PolicyFacts, Trigger, due_trigger, policy_named
from optagent.loop.observe.falls import falls_since_reference, uncertain_rise, watched_names
from optagent.loop.observe.reference import Reference
from optagent.loop.observe.window_rows import observed_columns
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from optagent.training.metrics import METRICS
from tests.simulation.streams import DAY_S, Series, autoregressive, request_times

SPEC = ModelSpec("quiet", Task.BINARY, FileSource("rows.parquet"), "label", time_column="day", label_horizon="1d")
SCHEMA = Schema((FeatureColumn("x", Kind.NUMERIC),), "label", Task.BINARY, ("no", "yes"))
TRIGGERS = (Trigger.DEGRADATION, Trigger.CONCEPT_DRIFT, Trigger.CONFIDENCE)
EVERY_DAYS = 90


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows of a classifier whose probabilities fit: `memory` is that of scores and labels from row to row."""

    rows_a_day: int = 40
    reference_days: int = 60
    live_days: int = 365
    memory: float = 0.0

    def rows(self, seed: int) -> ObservedRows:
        rng = np.random.default_rng([seed, 18])
        count = self.rows_a_day * (self.reference_days + self.live_days)
        time = request_times(count, self.rows_a_day)
        score = expit(1.3 * autoregressive(rng, count, self.memory))
        return answered_rows(score, ndtr(autoregressive(rng, count, self.memory)) < score, time)


def answered_rows(probability: Series, label: np.ndarray, time: Series) -> ObservedRows:
    """Rows of a classifier with one feature, which is not looked at."""
    return ObservedRows(
        task=Task.BINARY,
        columns=observed_columns(SCHEMA),
        x=np.zeros((len(time), 1), dtype=np.float32),
        prediction=probability,
        y=label.astype(np.float64),
        time=time,
        latency_ms=np.full(len(time), np.nan),
        n_classes=2,
    )


def reference_of(observed: ObservedRows, timed: bool = True) -> Reference:
    """The reference of these rows, without a profile of features."""
    window = Window(float(observed.time[0]), float(observed.time[-1]) + 1.0)
    return Reference(
        schema=SCHEMA,
        observed=observed,
        importance={},
        version="1",
        rows=len(observed),
        window=window,
        baseline=loss_baseline(observed, timed),
    )


def count_runs(stream: Stream, window_hours: float, seed: int) -> tuple[Counter[Trigger], Counter[Trigger], int]:
    """Runs by the trigger that started them, windows in which each trigger's alert was new, and all windows."""
    rows = stream.rows(seed)
    monitoring = Monitoring(performance_window_hours=window_hours, false_alarm_every=f"{EVERY_DAYS}d")
    policy = replace(policy_named("balanced"), triggers=TRIGGERS)
    start = stream.reference_days * DAY_S
    reference = reference_of(rows.within(Window(0.0, start)))
    assert reference.baseline is not None
    watch, alerts, runs = started_watch(reference.baseline.blocks, start), (), []
    by_trigger, opened, windows = Counter(), Counter(), 0
    while start + monitoring.window_s <= DAY_S * (stream.reference_days + stream.live_days):
        window = Window(start, start + monitoring.window_s)
        now = start = window.end
        part = rows.within(window)
        answered = bool(runs) and watch.alarmed_at is not None and runs[-1] >= watch.alarmed_at
        watch = watch.renew(answered)
        watch = watch.after(row_losses(part), part.time, now, monitoring.false_alarm_every_s)
        findings = [*window_findings(part, reference, monitoring)]
        if watch.alarmed_at is not None:
            findings.append(Finding(AlertKind.CONCEPT_DRIFT, Severity.CRITICAL, "the loss has grown"))
        alerts, _ = update_alerts(SPEC.model_id, alerts, findings, now, monitoring.alert_cooldown_minutes * 60)
        windows += 1
        for trigger in TRIGGERS:
            alone = due_trigger(replace(policy, triggers=(trigger,), cooldown="1s"), PolicyFacts(now, 0.0, alerts), 1)
            opened[trigger] += alone is not None and any(a.is_open and a.first_seen == now for a in alerts)
        due = due_trigger(policy, PolicyFacts(now, 0.0, alerts, runs), 1)
        if due is not None:
            by_trigger[due.trigger] += 1
            runs.append(now)
    return by_trigger, opened, windows


def window_findings(part: ObservedRows, reference: Reference, monitoring: Monitoring) -> tuple[Finding, ...]:
    """What the monitor finds in a window of the metrics that alarm, and of the confidence."""
    measures = [METRICS[name] for name in sorted(watched_names(SPEC))]
    falls = falls_since_reference(part, metric_values(part, measures), reference, SPEC, monitoring)
    shares = [np.mean(np.maximum(one.prediction, 1 - one.prediction) < 0.8) for one in (reference.observed, part)]
    then, now = (Certainty(1, 1, uncertain=float(share)) for share in shares)
    enough = now.uncertain - then.uncertain >= 0.1  # without it there is no finding, whatever the interval
    rise = uncertain_rise(part, reference, monitoring) if enough else None
    report = ModelReport(
        SPEC.model_id,
        performance=Performance(len(part), len(part), degradation=falls),
        confidence=ModelConfidence(0.8, now, then, rise=rise),
    )
    return findings_of(report, monitoring)
