"""Reference page of formats: the files and records that optagent keeps, with the names and types of their fields."""

from collections.abc import Mapping

import pyarrow as pa

from optagent.adapters.state.archive.manifest import ArchiveManifest, DataFile
from optagent.domain.audit import AuditEntry, AuditLink
from optagent.domain.mixture import MixtureEvent, MixturePoint, MixtureRecord, MixtureWeights, SlotTraining
from optagent.domain.prediction_interval import IntervalRecord, IntervalThresholds, ServedThresholds
from optagent.domain.routing import RoutingTable
from optagent.serving.evidence_record import evidence_schema
from optagent.training.manifest import FileEntry, Manifest
from reference.nouns import add_shape
from reference.page import ReferencePage, code

_INTRODUCTION = """
Names and types of what is kept; they do not change between versions without a way to read the earlier ones. Times are
POSIX seconds unless a type says otherwise.
"""
_BUNDLE = """
A version is a folder in the registry: `manifest.json`, `schema.json` (features, their kinds and categories), the
model's native files and, where it could be compiled, an ONNX graph. No file is a pickle. The SHA-256 of the manifest is
the digest of the bundle.
"""
_ARCHIVE = """
Recorded rows are Parquet files below `OPT_AGENT_OBSERVATIONS`, a folder a model, a day and a kind; the newest manifest
names the files that count. Columns of the kinds:
"""
_TEXT, _TIME = "large_string", "timestamp[us, tz=UTC]"
PREDICTION_COLUMNS = {
    "id": (_TEXT, "the name of the row, by which its label comes"),
    "time": (_TIME, "arrival of the request"),
    "*features*": ("double, bool, large_string or timestamp", "the row as it came"),
    "prediction": ("large_string or double", "the label, or the value of a regression"),
    "probability_*label*": ("double", "for classifiers, one column a class"),
    "latency_ms": ("double", "time that the request took"),
    "version": (_TEXT, "the version that answered, or `mixture`"),
    "arm": (_TEXT, "the arm that was drawn: champion or candidate"),
    "mixture_slots": (_TEXT, "the slots that were asked, joined by a bar; only where a mixture answered"),
    "mixture_digest": (_TEXT, "the digest of the mixture's weights"),
    "said_*number*": ("double", "what each slot and layer said"),
}
LABEL_COLUMNS = {
    "id": (_TEXT, "the id of the prediction"),
    "time": (_TIME, "when the label was known"),
    "label": ("large_string or double", "what came true; the latest one counts"),
    "*outcomes*": ("double", "further columns, for metrics of your own"),
}


def formats_page() -> ReferencePage:
    page = ReferencePage("Formats", _INTRODUCTION.strip())
    page.add_heading("Model bundle")
    page.add_text(_BUNDLE)
    add_shape(page, Manifest)
    add_shape(page, FileEntry)
    page.add_heading("Archive of recorded rows")
    page.add_text(_ARCHIVE)
    _add_columns(page, "Predictions", PREDICTION_COLUMNS)
    _add_columns(page, "Labels", LABEL_COLUMNS)
    page.add_heading("Evidence of a rollout", 3)
    _add_schema(page, evidence_schema(1))
    add_shape(page, ArchiveManifest)
    add_shape(page, DataFile)
    page.add_heading("Routing")
    add_shape(page, RoutingTable)
    page.add_heading("Audit log")
    add_shape(page, AuditEntry)
    add_shape(page, AuditLink)
    page.add_heading("Journal of a mixture")
    for noun in (MixtureRecord, MixtureWeights, MixtureEvent, MixturePoint, SlotTraining):
        add_shape(page, noun)
    page.add_heading("Journal of intervals")
    for kept in (IntervalRecord, IntervalThresholds, ServedThresholds):
        add_shape(page, kept)
    return page


def _add_columns(page: ReferencePage, title: str, columns: Mapping[str, tuple[str, str]]) -> None:
    page.add_heading(title, 3)
    rows = [[name if "*" in name else code(name), code(kind), meaning] for name, (kind, meaning) in columns.items()]
    page.add_table(["column", "type", "meaning"], rows)


def _add_schema(page: ReferencePage, schema: pa.Schema) -> None:
    page.add_table(["column", "type"], [[code(column.name), code(column.type)] for column in schema])
