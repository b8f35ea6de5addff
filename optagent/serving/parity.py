"""Which engine serves a version: the compiled one only where it answers the same, and sooner."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Matrix, Prediction, Vector
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.serving.engine import Engine
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import CompiledEngine, compile_onnx
from optagent.training.columns import Kind
from optagent.training.cost import one_row_times_s
from optagent.training.encoding import Schema
from optagent.training.predictor import Predictor

TOLERANCE = 1e-6
"""The largest difference, absolute below 1 and relative above."""

_MOST_ROWS = 2_000
_THRESHOLDS = 64
_EXTREMES = (-3e38, -1e9, -1.0, 0.0, 1e-37, 1.0, 1e9, 3e38)
_LIMIT_S = 0.1
_MISSING = 0.1
_THIS_CENTURY = (10_957.0, 20_000.0)  # in days since 1970


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine, why it is that one, and what was measured: None and no time for an engine that was not tried."""

    engine: Engine
    reason: str
    max_difference: float | None
    one_row_us: Mapping[str, float]


def choose_engine(
    predictor: Predictor, rows: Matrix, compiled: CompiledEngine | None = None, native_costs_us: float = 0.0
) -> EngineChoice:
    """ONNX if it answers as the model itself on `rows` and on what is derived from them, and is faster for one row.

    Derived are rows with missing values, with extremes, and right at and beside the thresholds of the trees. Where it
    takes `native_costs_us` to reach the model itself, in a process of its own, that counts as its time as well.
    """
    if not len(rows):
        raise InvalidData("parity: rows are needed to compare two engines on")
    native = NativeEngine(predictor)
    compiled = compile_onnx(predictor) if compiled is None else compiled
    if compiled.engine is None:
        return EngineChoice(native, compiled.reason, None, {native.name: one_row_us(native, rows)})
    probes, expected = answered(native, probe_rows(predictor, rows, compiled.thresholds))
    if not len(probes):
        raise InvalidData("parity: the model itself answers none of the rows")
    try:
        found = compiled.engine.scores(probes)
        alone = np.concatenate([compiled.engine.scores(row[None, :]) for row in probes[:16]])
    except Exception as error:  # An engine that fails on any row is no engine, whatever it raises.
        said = str(error).strip().splitlines() or [type(error).__name__]
        return EngineChoice(native, f"onnx fails: {said[0][:300]}", None, {native.name: one_row_us(native, rows)})
    worst = max(difference(expected, found), difference(expected[:16], alone))
    took = {
        native.name: one_row_us(native, rows) + native_costs_us,
        compiled.engine.name: one_row_us(compiled.engine, rows),
    }
    reason = _objection(predictor.manifest.task, expected, found, worst)
    if reason is None and took[compiled.engine.name] >= took[native.name]:
        reason = f"onnx is not faster: {took[compiled.engine.name]:.0f} us for one row, native {took[native.name]:.0f}"
    if reason is not None:
        return EngineChoice(native, reason, worst, took)
    speed = f"{took[compiled.engine.name]:.0f} us for one row, native {took[native.name]:.0f}"
    return EngineChoice(compiled.engine, f"onnx differs by {worst:.1e} on {len(probes):,} rows; {speed}", worst, took)


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


def drawn_rows(schema: Schema, thresholds: Mapping[int, Vector], count: int = 500, seed: int = 0) -> Matrix:
    """Rows to compare engines on where none are kept: of any level, and numbers from where the trees tell them apart.

    One value in ten is missing. Without thresholds, numbers are of all sizes, and dates of this century.
    """
    rng = np.random.default_rng(seed)
    rows = np.empty((count, len(schema.columns)), dtype=np.float32)
    for index, column in enumerate(schema.columns):
        known = thresholds.get(index, np.empty(0))
        if column.kind is Kind.BOOLEAN:
            rows[:, index] = rng.integers(0, 2, count)
        elif column.levels:
            rows[:, index] = rng.integers(0, column.levels, count)
        elif len(known):
            low, high = float(known.min()), float(known.max())
            beyond = max(high - low, abs(low), 1.0)
            rows[:, index] = rng.uniform(low - beyond, high + beyond, count)
        elif column.kind is Kind.DATETIME:
            rows[:, index] = rng.uniform(*_THIS_CENTURY, count)
        else:
            rows[:, index] = rng.normal(size=count) * 10.0 ** rng.integers(-3, 5, count)
    rows[rng.random(rows.shape) < _MISSING] = np.nan
    return rows


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
