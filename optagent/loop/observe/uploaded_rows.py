"""Uploaded rows of a file, analyzed like recorded ones without being recorded."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optagent.domain.model import ModelSpec
from optagent.domain.monitoring import Window
from optagent.errors import InvalidData, ModelNotFound
from optagent.loop.observe.record import checked_labels, checked_predictions
from optagent.loop.train.load import load_version
from optagent.ports import Observations, RecordKind, Registry

_ANSWERS = ("prediction", "probability")


class UploadedRows:
    """Observations held in tables; references are read from and written to the underlying `observations`."""

    def __init__(self, predictions: pa.Table, labels: pa.Table | None, observations: Observations) -> None:
        self._predictions = predictions
        self._labels = labels
        self._observations = observations

    def check(self) -> None:
        self._observations.check()

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        self._observations.record(model_id, kind, rows)

    def backlog(self, model_id: str) -> int:
        return 0

    def drain(self, model_id: str, most: int = 1_000_000) -> int:
        return 0

    def predictions(self, model_id: str, start: float, end: float) -> list[pa.Table]:
        return [_between(self._predictions, start, end)]

    def labels(self, model_id: str, since: float) -> list[pa.Table]:
        return [] if self._labels is None else [_between(self._labels, since, np.inf)]

    def learned_rows(self, model_id: str, since: float) -> list[pa.Table]:
        return []

    def evidence(self, model_id: str, since: float) -> list[pa.Table]:
        return []

    def latest_prediction_time(self, model_id: str) -> float | None:
        return self.span.end

    @property
    def span(self) -> Window:
        """The whole seconds from the first prediction to the last."""
        bounds = pc.min_max(self._predictions.column("time").cast(pa.int64()))
        return Window(math.floor(bounds["min"].as_py() / 1e6), math.floor(bounds["max"].as_py() / 1e6) + 1)

    def save_reference(self, model_id: str, version: str, reference: bytes) -> None:
        self._observations.save_reference(model_id, version, reference)

    def reference(self, model_id: str, version: str) -> bytes:
        return self._observations.reference(model_id, version)

    def save_matured(self, model_id: str, day: str, rows: pa.Table) -> None:
        self._observations.save_matured(model_id, day, rows)

    def matured(self, model_id: str, since: str = "") -> list[pa.Table]:
        return self._observations.matured(model_id, since)

    def prune(
        self, model_id: str, before: float, training_before: float | None = None, dry_run: bool = False
    ) -> Mapping[str, int]:
        return {}

    def erase(self, model_id: str, ids: Sequence[str]) -> Mapping[str, int]:
        return {}

    def drop_reference(self, model_id: str, version: str) -> None:
        self._observations.drop_reference(model_id, version)

    def close(self) -> None:
        """Does nothing: the owner of the underlying observations closes them."""


def prepare_uploaded_rows(
    predictions: pa.Table,
    labels: pa.Table | None,
    spec: ModelSpec,
    version: str,
    registry: Registry,
    observations: Observations,
    now: float,
) -> UploadedRows:
    """Uploaded rows with ids, predictions and labels: missing ids are numbers, missing predictions come from the
    version, and without `labels` a column of the target is used.

    Raises InvalidData in the same cases as recording does.
    """
    if not predictions.num_rows:
        raise InvalidData("there are no rows")
    if "id" not in predictions.schema.names:
        predictions = predictions.append_column("id", pa.array(np.arange(predictions.num_rows)))
    target_columns = [spec.target] if spec.target in predictions.schema.names else []
    if labels is None and target_columns:
        names = ["id", spec.target, *(name for name in (spec.time_column, "time") if name in predictions.schema.names)]
        labelled = predictions.select(list(dict.fromkeys(names)))
        non_null = labelled.filter(pc.invert(pc.is_null(labelled.column(spec.target), nan_is_null=True)))
        labels = non_null if non_null.num_rows else None
    rows = _with_predictions(predictions, spec, version, registry).drop_columns(target_columns)
    checked = None if labels is None else checked_labels(labels, spec, now)
    return UploadedRows(checked_predictions(rows, spec, now), checked, observations)


def _with_predictions(rows: pa.Table, spec: ModelSpec, version: str, registry: Registry) -> pa.Table:
    if any(name.startswith(_ANSWERS) for name in rows.schema.names):
        return rows
    try:
        model_version = registry.version(spec.model_id, version)
    except ModelNotFound:
        raise InvalidData(
            f"the rows have no predictions, and model {spec.model_id!r} has no version {version!r} to make them"
        ) from None
    answers = load_version(model_version, registry).predict(rows)
    columns: Sequence[str] = answers.schema.names
    for name in columns:
        rows = rows.append_column(name, answers.column(name))
    return rows


def _between(rows: pa.Table, start: float, end: float) -> pa.Table:
    times = rows.column("time").cast(pa.int64())
    first, stop = (float(np.clip(instant * 1e6, -9e18, 9e18)) for instant in (start, end))
    return rows.filter(pc.and_(pc.greater_equal(times, int(first)), pc.less(times, int(stop))))
