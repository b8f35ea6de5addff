"""Model metrics: the names of the gauges about models and the system, and their values by vital signs."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from optagent.domain.alert import Severity
from optagent.domain.fleet import ModelHealth, ModelStanding
from optagent.domain.gate import Verdict
from optagent.domain.mixture_status import MixtureStatus
from optagent.domain.quality_point import QualityPoint
from optagent.domain.vital_signs import VitalSigns
from serve_app.data_plane.metrics import MetricDefinition


def _gauge(name: str, description: str, *tags: str) -> MetricDefinition:
    return MetricDefinition(f"optagent_{name}", "gauge", description, tags)


MODEL_METRICS = (
    _gauge("model_health", "1 for the health that a model is in, 0 for the others", "model", "health"),
    _gauge("model_metric", "the model's own metric in its newest window with labels", "model", "metric"),
    _gauge("model_metric_low", "the lower end of the metric's interval", "model", "metric"),
    _gauge("model_metric_high", "the upper end of the metric's interval", "model", "metric"),
    _gauge("model_metric_estimate", "the metric of the newest window, estimated without labels", "model", "metric"),
    _gauge("model_calibration_error", "the expected calibration error of the newest window with labels", "model"),
    _gauge("model_drift_score", "the importance-weighted drift of the features in the newest window", "model"),
    _gauge("model_window_rows", "requests of the newest window", "model"),
    _gauge("model_window_labelled_rows", "requests of the newest window whose labels have come", "model"),
    _gauge("model_window_end_seconds", "the POSIX time at which the newest analyzed window ended", "model"),
    _gauge("model_open_alerts", "open alerts", "model", "severity"),
    _gauge("model_gates", "gates of the newest process of the model, by their verdicts", "model", "verdict"),
    _gauge("mixture_weight", "the part of a slot in the answers", "model", "slot"),
    _gauge("mixture_nats_ahead", "nats by which the answers are ahead of a slot alone, summed up", "model", "slot"),
    _gauge("mixture_bound_nats", "nats by which the answers can be behind any slot, labels being late", "model"),
    _gauge("mixture_bound_holds", "1 while the answers are within that bound, otherwise 0", "model"),
    _gauge("running_processes", "processes that run, by kind and stage", "kind", "stage"),
    _gauge("queued_processes", "processes that wait for a runner"),
    _gauge("audit_entries", "the number of the newest entry of the audit log"),
    _gauge("redis_used_bytes", "memory that Redis uses"),
    _gauge("redis_limit_bytes", "memory that Redis may use, 0 for no limit"),
    _gauge("part_up", "1 for a part that answers, 0 for one that does not", "part"),
)
"""The gauges that the supervisor exports."""


@dataclass(frozen=True, slots=True)
class MetricSample:
    """The value of a gauge for some values of its tags."""

    name: str
    tags: tuple[str, ...]
    value: float


def samples_of(signs: VitalSigns, parts: Mapping[str, str]) -> Iterator[MetricSample]:
    """The value of each gauge that has one; `parts` are the states of the parts, "ok" or an error."""
    for standing in signs.models:
        yield from _of_model(standing)
    for model_id, status in signs.mixtures.items():
        yield from _of_mixture(model_id, status)
    by_stage = Counter((process.kind, process.stage or "starting") for process in signs.running)
    for (kind, stage), count in by_stage.items():
        yield MetricSample("optagent_running_processes", (kind, stage), count)
    yield MetricSample("optagent_queued_processes", (), signs.waiting)
    yield MetricSample("optagent_audit_entries", (), signs.audit_entries)
    yield MetricSample("optagent_redis_used_bytes", (), signs.memory.used)
    yield MetricSample("optagent_redis_limit_bytes", (), signs.memory.limit)
    for part, state in parts.items():
        yield MetricSample("optagent_part_up", (part,), state == "ok")


def _of_model(standing: ModelStanding) -> Iterator[MetricSample]:
    model_id = standing.model_id
    for health in ModelHealth:
        yield MetricSample("optagent_model_health", (model_id, str(health)), standing.health is health)
    severities = Counter(standing.alerts.values())
    for severity in Severity:
        yield MetricSample("optagent_model_open_alerts", (model_id, str(severity)), severities[str(severity)])
    if standing.process is not None and standing.process.gates:
        for verdict in Verdict:
            yield MetricSample(
                "optagent_model_gates", (model_id, str(verdict)), standing.process.gates.get(str(verdict), 0)
            )
    if standing.latest is not None:
        yield from _of_point(model_id, standing.latest)


def _of_point(model_id: str, point: QualityPoint) -> Iterator[MetricSample]:
    named, own = (model_id, point.metric), (model_id,)
    realised, estimated = point.realised, point.estimated
    values = {
        ("model_metric", named): None if realised is None else realised.estimate,
        ("model_metric_low", named): None if realised is None else realised.low,
        ("model_metric_high", named): None if realised is None else realised.high,
        ("model_metric_estimate", named): None if estimated is None else estimated.estimate,
        ("model_calibration_error", own): point.calibration_error,
        ("model_drift_score", own): point.drift,
        ("model_window_rows", own): point.rows,
        ("model_window_labelled_rows", own): point.labelled,
        ("model_window_end_seconds", own): point.window.end,
    }
    for (name, tags), value in values.items():
        if value is not None:
            yield MetricSample(f"optagent_{name}", tags, value)


def _of_mixture(model_id: str, status: MixtureStatus) -> Iterator[MetricSample]:
    for slot in status.slots:
        yield MetricSample("optagent_mixture_weight", (model_id, slot.name), slot.weight)
        yield MetricSample("optagent_mixture_nats_ahead", (model_id, slot.name), slot.ahead)
    yield MetricSample("optagent_mixture_bound_nats", (model_id,), status.certificate.bound_with_delay)
    yield MetricSample("optagent_mixture_bound_holds", (model_id,), status.certificate.holds)
