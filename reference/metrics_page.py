"""Reference page of metrics: the names, kinds, tags and meanings of what gateways and the supervisor export."""

from collections.abc import Iterable

from reference.page import ReferencePage, code, codes, sentence
from serve_app.data_plane.metrics import BOUNDS_MS, METRICS, ROLLOUT_STATE, MetricDefinition
from serve_app.model_metrics import MODEL_METRICS

_INTRODUCTION = """
Gateways count, and export once a second as Ray metrics; the supervisor exports the figures of models and of the system
every 15 seconds. Ray's own exporter gives them to Prometheus on each node, with `ray_` before each name, and `_total`
behind that of a counter. A counter only grows, since its process was started; a gauge without a value any more, as that
of a slot that has retired, becomes `NaN`. [Watching with Prometheus and Grafana](../operate/metrics.md) has a dashboard
and rules.
"""


def metrics_page() -> ReferencePage:
    page = ReferencePage("Metrics", _INTRODUCTION.strip())
    page.add_heading("Models and the system")
    _add_metrics(page, (*MODEL_METRICS, ROLLOUT_STATE))
    page.add_heading("Gateways")
    _add_metrics(page, METRICS)
    bounds = ", ".join(f"{bound:g}" for bound in BOUNDS_MS)
    page.add_text(f"Bounds of `le`, in milliseconds: {bounds} and `+Inf`.")
    return page


def _add_metrics(page: ReferencePage, definitions: Iterable[MetricDefinition]) -> None:
    rows = [
        [code(each.name), each.kind, codes(each.tags), sentence(page.describe(f"metric {each.name}", each.description))]
        for each in definitions
    ]
    page.add_table(["metric", "kind", "tags", "meaning"], rows)
