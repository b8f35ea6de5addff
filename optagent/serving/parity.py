"""Which engine serves a version: the compiled one only where it answers the same, and sooner."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.serving.engine import Engine
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_engine import Compiled, compile_onnx
from optagent.training.cost import one_row_times_s
from optagent.training.families.family import Prediction
from optagent.training.predictor import Predictor
from optagent.training.problem import Matrix, Vector

TOLERANCE = 1e-6
"""The largest difference, absolute below 1 and relative above."""

_MOST_ROWS = 2_000
_THRESHOLDS = 64
_EXTREMES = (-3e38, -1e9, -1.0, 0.0, 1e-37, 1.0, 1e9, 3e38)
_LIMIT_S = 0.1


@dataclass(frozen=True, slots=True)
class Chosen:
    """The engine, why it is that one, and what was measured: None and no time for an engine that was not tried."""

    engine: Engine
    reason: str
    max_difference: float | None
    one_row_us: Mapping[str, float]


def choose_engine(predictor: Predictor, rows: Matrix, compiled: Compiled | None = None) -> Chosen:
    """ONNX if it answers as the model itself on `rows` and on what is derived from them, and is faster for one row.

    Derived are rows with missing values, with extremes, and right at and beside the thresholds of the trees.
    """
    if not len(rows):
        raise InvalidData("parity: rows are needed to compare two engines on")
    native = NativeEngine(predictor)
    compiled = compile_onnx(predictor) if compiled is None else compiled
    if compiled.engine is None:
        return Chosen(native, compiled.reason, None, {native.name: one_row_us(native, rows)})
    probes, expected = answered(native, probe_rows(predictor, rows, compiled.thresholds))
    if not len(probes):
        raise InvalidData("parity: the model itself answers none of the rows")
    try:
        found = compiled.engine.scores(probes)
        alone = np.concatenate([compiled.engine.scores(row[None, :]) for row in probes[:16]])
    except Exception as error:  # An engine that fails on any row is no engine, whatever it raises.
        said = str(error).strip().splitlines() or [type(error).__name__]
        return Chosen(native, f"onnx fails: {said[0][:300]}", None, {native.name: one_row_us(native, rows)})
    worst = max(difference(expected, found), difference(expected[:16], alone))
    took = {engine.name: one_row_us(engine, rows) for engine in (native, compiled.engine)}
    reason = _objection(predictor.manifest.task, expected, found, worst)
    if reason is None and took[compiled.engine.name] >= took[native.name]:
        reason = f"onnx is not faster: {took[compiled.engine.name]:.0f} us for one row, native {took[native.name]:.0f}"
    if reason is not None:
        return Chosen(native, reason, worst, took)
    speed = f"{took[compiled.engine.name]:.0f} us for one row, native {took[native.name]:.0f}"
    return Chosen(compiled.engine, f"onnx differs by {worst:.1e} on {len(probes):,} rows; {speed}", worst, took)


def answered(engine: Engine, rows: Matrix) -> tuple[Matrix, Prediction]:
    """The rows that the engine has a finite answer for, and its answers: a linear model refuses 3e38, for example."""
    try:
        with np.errstate(all="ignore"):
            scores = engine.scores(rows)
    except Exception:  # Libraries refuse all rows for the sake of one: halves are tried, down to that one.
        if len(rows) < 2:
            return rows[:0], np.empty(0)
        parts = [answered(engine, half) for half in np.array_split(rows, 2)]
        kept = [part for part in parts if len(part[0])] or parts[:1]
        return np.concatenate([part[0] for part in kept]), np.concatenate([part[1] for part in kept])
    finite = np.isfinite(scores).reshape(len(rows), -1).all(axis=1)
    return rows[finite], scores[finite]


def difference(expected: Prediction, found: Prediction) -> float:
    """The largest difference, relative where the expected value is above 1; infinite for other shapes and for NaN."""
    if expected.shape != found.shape:
        return float("inf")
    apart = np.abs(expected - found) / np.maximum(1.0, np.abs(expected))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0))


def probe_rows(predictor: Predictor, rows: Matrix, thresholds: Mapping[int, Vector]) -> Matrix:
    """Up to 2,000 of `rows`, evenly spaced, and what is derived from them, one column at a time."""
    kept = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).astype(np.int64))]
    parts = [kept, np.full((1, rows.shape[1]), np.nan, dtype=np.float32)]
    for index, column in enumerate(predictor.schema.columns):
        values = [np.nan, *(range(column.levels) if column.levels else (*_EXTREMES, *_beside(thresholds, index)))]
        changed = kept[np.arange(len(values)) % len(kept)].copy()
        changed[:, index] = values
        parts.append(changed)
    return np.ascontiguousarray(np.concatenate(parts))


def one_row_us(engine: Engine, rows: Matrix) -> float:
    """The median time of one row in microseconds: of 200 calls, or as many as a tenth of a second allows."""
    return float(np.median(one_row_times_s(engine.scores, rows, _LIMIT_S)) * 1e6)


def _beside(thresholds: Mapping[int, Vector], column: int) -> list[float]:
    """Some thresholds of a column as 32-bit numbers, each with its two neighbours."""
    known = thresholds.get(column, np.empty(0))
    known = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), _THRESHOLDS)).astype(np.int64))]
    at = known[np.abs(known) < np.finfo(np.float32).max].astype(np.float32)
    ends = np.float32(-np.inf), np.float32(np.inf)
    beside = np.concatenate([np.nextafter(at, ends[0]), at, np.nextafter(at, ends[1])])
    return [float(value) for value in beside[np.isfinite(beside)]]


def _objection(task: Task, expected: Prediction, found: Prediction, worst: float) -> str | None:
    """Why the answers are not the same; None where they are. Labels may differ only within the tolerance of a tie."""
    if worst >= TOLERANCE:
        return f"onnx differs by {worst:.1e} from the model itself, the limit is {TOLERANCE:.0e}"
    if not task.classifies:
        return None
    if task is Task.BINARY:
        other = (expected >= 0.5) != (found >= 0.5)
        margin = np.abs(expected - 0.5)
    else:
        other = expected.argmax(axis=1) != found.argmax(axis=1)
        top = np.sort(expected, axis=1)[:, -2:]
        margin = top[:, 1] - top[:, 0]
    wrong = int((other & (margin > 2 * TOLERANCE)).sum())
    return f"onnx gives another label on {wrong} of {len(expected)} rows" if wrong else None
