"""Reference page of metrics: the names, kinds, tags and meanings of what gateways and the supervisor export."""

from reference.page import ReferencePage, code, codes, sentence
from serve_app.data_plane.metrics import BOUNDS_MS, METRICS, ROLLOUT_STATE

_INTRODUCTION = """
Gateways count, and export once a second as Ray metrics; Ray's own exporter gives them to Prometheus on each node, with
the prefix `ray_`. A counter only grows, since its process was started. Metrics of models, such as accuracy, are not
here: they are in reports, on the dashboard, and in [model.yaml](model-yaml.md#metric).
"""


def metrics_page() -> ReferencePage:
    page = ReferencePage("Metrics", _INTRODUCTION.strip())
    rows = [
        [code(each.name), each.kind, codes(each.tags), sentence(page.describe(f"metric {each.name}", each.description))]
        for each in (*METRICS, ROLLOUT_STATE)
    ]
    page.add_table(["metric", "kind", "tags", "meaning"], rows)
    bounds = ", ".join(f"{bound:g}" for bound in BOUNDS_MS)
    page.add_text(f"Bounds of `le`, in milliseconds: {bounds} and `+Inf`.")
    return page
