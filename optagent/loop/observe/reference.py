"""Reference of a model version: the rows, importances and profile that live data is compared with, stored as bytes."""

import hashlib
import json
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.analysis.concept_drift import LossBaseline, loss_baseline
from optagent.analysis.label_join import deduplicate_rows, microseconds
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.profile import make_profile
from optagent.arrays import Vector
from optagent.codec import decode, encode, plain
from optagent.domain.model import ModelSpec, Task
from optagent.domain.monitoring import Window
from optagent.domain.quality import RowProblem
from optagent.errors import InvalidData
from optagent.loop.observe.record import checked_predictions
from optagent.loop.observe.window_rows import observed_columns, observed_from_table
from optagent.training.columns import Kind, kind_of
from optagent.training.contributions import contributions
from optagent.training.encoding import Schema, fit_schema
from optagent.training.live_answers import encode_live_labels, encode_predictions
from optagent.training.live_rows import BOOKKEEPING, encode_live, model_matrix
from optagent.training.live_values import read_numbers
from optagent.training.metrics import metric_named
from optagent.training.predictor import Predictor

LOGGED = "logged"
"""The version name of a model that is served elsewhere."""

LABEL = "label"
MOST_REFERENCE_ROWS = 20_000
_LEAST_NUMBERS = 0.9
_CACHE_SIZE = 8  # decoded references, of models that are analyzed in turn
_META, _PROFILE, _DIGEST = b"optagent.reference", b"optagent.profile", b"optagent.sha256"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The basis of comparison of a version.

    `observed` are at most 20,000 of `rows` rows; `importance` is that of each column, by name; `digest` identifies
    these rows; `window` is None for rows without a time. `profile` is the JSON against which drift is measured,
    `baseline` are the losses of all rows, before any were left out; None for too few labels, and in a reference of an
    older version.
    """

    schema: Schema
    observed: ObservedRows
    importance: Mapping[str, float]
    version: str
    rows: int
    digest: str = ""
    window: Window | None = None
    profile: bytes = b""
    notes: tuple[str, ...] = ()
    baseline: LossBaseline | None = None

    def __post_init__(self) -> None:
        if not len(self.observed):
            raise InvalidData("a reference needs at least one row")
        if self.observed.columns != observed_columns(self.schema):
            raise InvalidData("a reference's rows must have the columns of its schema")


def make_reference(
    rows: pa.Table, time: Vector | None, predictor: Predictor, version: str, digest: str = "", seed: int = 0
) -> Reference:
    """The reference of a version, from rows with known labels that it was not trained on.

    `time` (rows,) are POSIX seconds, None for rows without an order.
    """
    observed = observed_from_table(rows, time, predictor)
    metric = metric_named("", predictor.schema.task)
    x = model_matrix(observed.x, predictor.schema)
    importance = contributions(predictor.model, x, observed.y, metric, seed)
    return _with_profile(observed, predictor.schema, version, len(observed), importance, digest, time is not None)


def logged_reference(rows: Any, spec: ModelSpec, now: float) -> Reference:
    """The reference of a model that is served elsewhere: recorded predictions, with the column `label` or the target.

    The schema is learned from these rows, each id once. The importance of features is unknown without the model, so all
    features count the same. Raises InvalidData.
    """
    rows = checked_predictions(rows, spec, now)
    rows = rows.take(pa.array(deduplicate_rows([rows]).row))
    if LABEL in rows.schema.names and spec.target not in rows.schema.names:
        rows = rows.rename_columns([spec.target if name == LABEL else name for name in rows.schema.names])
    probabilities = (name for name in rows.schema.names if name.startswith("probability"))
    not_features = {*BOOKKEEPING, *probabilities} - {spec.target}
    rows, notes = _keep_number_columns(rows, not_features | {spec.target})
    schema = fit_schema(rows.drop_columns([name for name in rows.schema.names if name in not_features]), spec)
    x, counts = encode_live(rows, schema)
    notes += [
        f"reference: {name} is {problem} in {problems[problem]:,} rows, which count as missing"
        for name, problems in counts.items()
        for problem in (RowProblem.INFINITE, RowProblem.WRONG_TYPE)
        if problem in problems
    ]
    prediction, usable = encode_predictions(rows, schema)
    y, _ = encode_live_labels(rows.column(spec.target), schema)
    time = microseconds(rows.column("time")) / 1e6
    observed = ObservedRows(
        task=schema.task,
        columns=observed_columns(schema),
        x=x,
        prediction=prediction,
        y=y,
        time=time,
        latency_ms=np.full(len(y), np.nan),
        n_classes=len(schema.classes),
    )
    if not usable.all():
        notes.append(f"reference: {int((~usable).sum()):,} rows without a usable prediction were left out")
    observed = observed.where(usable)
    if not observed.has_label.any():
        raise InvalidData(f"a reference needs labels: no row has one in {spec.target!r}")
    no_importance = np.zeros(len(schema.columns))
    reference = _with_profile(observed, schema, LOGGED, len(observed), no_importance, _digest_of(observed), True)
    return replace(reference, notes=(*schema.notes, *notes))


def _keep_number_columns(rows: pa.Table, skipped: Container[str]) -> tuple[pa.Table, list[str]]:
    """The rows, in which a column of numbers with a few texts stays numeric: those texts become missing values. The
    notes name such columns."""
    notes = []
    for place, name in enumerate(rows.schema.names):
        if name in skipped or kind_of(rows.schema.field(place).type) is not Kind.CATEGORICAL:
            continue
        parsed = read_numbers(rows.column(place))
        numbers, texts = int(np.isfinite(parsed.numbers).sum()), int(parsed.problems[RowProblem.NOT_A_NUMBER].sum())
        if texts and numbers >= _LEAST_NUMBERS * (numbers + texts):
            values = pa.chunked_array([pa.array(parsed.numbers, from_pandas=True)])
            rows = rows.set_column(place, name, values)
            notes.append(f"reference: {name}: {texts:,} texts among {numbers:,} numbers count as missing")
    return rows, notes


def _digest_of(observed: ObservedRows) -> str:
    digest = hashlib.sha256()
    for values in (observed.x, observed.prediction, observed.y, observed.time):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _with_profile(
    observed: ObservedRows, schema: Schema, version: str, rows: int, importance: Vector, digest: str, timed: bool
) -> Reference:
    total = float(importance.sum())
    shares = importance / total if total > 0 else importance
    window = Window(float(observed.time[0]), math.nextafter(float(observed.time[-1]), math.inf)) if timed else None
    return Reference(
        schema=schema,
        observed=observed,
        importance=dict(zip(schema.names, shares.tolist(), strict=True)),
        version=version,
        rows=rows,
        digest=digest,
        window=window,
        profile=encode(make_profile(observed)),
        baseline=loss_baseline(observed, timed),
    )


@lru_cache(maxsize=_CACHE_SIZE)
def baseline_of_reference(reference: Reference) -> LossBaseline | None:
    """The losses of a reference: as stored, or by the rows that an older version kept; None for too few labels."""
    if reference.baseline is not None:
        return reference.baseline
    every = reference.rows / len(reference.observed)
    return loss_baseline(reference.observed, reference.window is not None, every)


def thin_rows(observed: ObservedRows, most: int = MOST_REFERENCE_ROWS) -> ObservedRows:
    """At most `most` rows, evenly spread over time."""
    if len(observed) <= most:
        return observed
    mask = np.zeros(len(observed), dtype=np.bool_)
    mask[np.arange(most) * len(observed) // most] = True
    return observed.where(mask)


def encode_reference(reference: Reference) -> bytes:
    """An Arrow IPC file, with its metadata as JSON and a digest of everything; thinned where it holds more rows."""
    observed = thin_rows(reference.observed)
    window = reference.window
    meta = {
        "schema": json.loads(encode(reference.schema)),
        "importance": dict(reference.importance),
        "version": reference.version,
        "rows": reference.rows,
        "digest": reference.digest,
        "window": None if window is None else [window.start, window.end],
        "notes": list(reference.notes),
        "outcome": sorted(observed.outcome),
        "baseline": None if reference.baseline is None else plain(reference.baseline),
    }
    table = pa.table(_flat_columns(observed))
    text = json.dumps(meta, allow_nan=False).encode()
    digest = _sha256(table, text, reference.profile)
    table = table.replace_schema_metadata({_META: text, _PROFILE: reference.profile, _DIGEST: digest})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@lru_cache(maxsize=_CACHE_SIZE)
def decode_reference(data: bytes) -> Reference:
    """The reference that `encode_reference` wrote, the same object for the same bytes; raises InvalidData for anything
    else."""
    try:
        with pa.ipc.open_file(data) as reader:
            table = reader.read_all()
        table.validate(full=True)
        metadata = table.schema.metadata or {}
        text, profile = metadata[_META], metadata[_PROFILE]
        if _sha256(table, text, profile) != metadata[_DIGEST]:
            raise InvalidData("a reference is damaged: its digest is another")
        return _reference_from(table, json.loads(text), profile)
    except InvalidData:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise InvalidData(f"not a reference, or a damaged one: {type(error).__name__}: {str(error)[:200]}") from None


def _flat_columns(observed: ObservedRows) -> dict[str, npt.NDArray[Any]]:
    """One-dimensional columns by names that cannot clash."""
    columns: dict[str, npt.NDArray[Any]] = {"time": observed.time, "y": observed.y, "latency_ms": observed.latency_ms}
    for index in range(observed.x.shape[1]):
        columns[f"x{index}"] = np.ascontiguousarray(observed.x[:, index])
    for index, column in enumerate(observed.prediction.reshape(len(observed), -1).T):
        columns[f"prediction{index}"] = np.ascontiguousarray(column)
    for index, name in enumerate(sorted(observed.outcome)):
        columns[f"outcome{index}"] = observed.outcome[name]
    return columns


def _reference_from(table: pa.Table, meta: Mapping[str, Any], profile: bytes) -> Reference:
    schema = decode(Schema, json.dumps(meta["schema"]))
    columns = {name: values.to_numpy() for name, values in zip(table.schema.names, table.columns, strict=True)}
    multiclass = schema.task is Task.MULTICLASS
    width = len(schema.classes) if multiclass else 1
    prediction = np.column_stack([columns[f"prediction{index}"] for index in range(width)])
    observed = ObservedRows(
        task=schema.task,
        columns=observed_columns(schema),
        x=np.column_stack([columns[f"x{index}"] for index in range(len(schema.columns))]),
        prediction=prediction if multiclass else prediction[:, 0],
        y=columns["y"],
        time=columns["time"],
        latency_ms=columns["latency_ms"],
        n_classes=len(schema.classes),
        outcome={name: columns[f"outcome{index}"] for index, name in enumerate(meta["outcome"])},
    )
    window = meta["window"]
    return Reference(
        schema=schema,
        observed=observed,
        importance=meta["importance"],
        version=meta["version"],
        rows=meta["rows"],
        digest=meta["digest"],
        window=None if window is None else Window(*window),
        profile=profile,
        notes=tuple(meta["notes"]),
        baseline=decode(LossBaseline, json.dumps(meta["baseline"])) if meta.get("baseline") else None,
    )


def _sha256(table: pa.Table, meta: bytes, profile: bytes) -> bytes:
    digest = hashlib.sha256(meta)
    digest.update(len(profile).to_bytes(8, "little"))
    digest.update(profile)
    for name, values in zip(table.schema.names, table.columns, strict=True):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values.to_numpy()).data)
    return digest.hexdigest().encode()
