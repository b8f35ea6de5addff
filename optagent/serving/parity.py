"""Engine parity: the compiled engine serves a version only where it gives the same answers, and sooner."""

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
    """The engine, the reason for it, and the measurements: None and no time for an engine that was not tried."""

    engine: Engine
    reason: str
    max_difference: float | None
    one_row_us: Mapping[str, float]


def choose_engine(
    predictor: Predictor, rows: Matrix, compiled: CompiledEngine | None = None, native_costs_us: float = 0.0
) -> EngineChoice:
    """ONNX if it answers like the model itself on `rows` and on rows derived from them, and is faster for one row.

    The derived rows have missing values, extremes, and values at and next to the thresholds of the trees. If the model
    itself runs in a process of its own, the `native_costs_us` to reach it count as part of its time.
    """
    if not len(rows):
        raise InvalidData("parity: rows are needed to compare two engines on")
    native = NativeEngine(predictor)
    compiled = compile_onnx(predictor) if compiled is None else compiled
    if compiled.engine is None:
        return EngineChoice(native, compiled.reason, None, {native.name: one_row_us(native, rows)})
    probes, expected = score_answerable_rows(native, probe_rows(predictor, rows, compiled.thresholds))
    if not len(probes):
        raise InvalidData("parity: the model itself answers none of the rows")
    try:
        scores = compiled.engine.scores(probes)
        scores_alone = np.concatenate([compiled.engine.scores(row[None, :]) for row in probes[:16]])
    except Exception as error:  # An engine that fails on any row is not used, whatever it raises.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return EngineChoice(native, f"onnx fails: {lines[0][:300]}", None, {native.name: one_row_us(native, rows)})
    worst = max(largest_difference(expected, scores), largest_difference(expected[:16], scores_alone))
    times_us = {
        native.name: one_row_us(native, rows) + native_costs_us,
        compiled.engine.name: one_row_us(compiled.engine, rows),
    }
    speed = f"{times_us[compiled.engine.name]:.0f} us for one row, native {times_us[native.name]:.0f}"
    reason = _objection(predictor.manifest.task, expected, scores, worst)
    if reason is None and times_us[compiled.engine.name] >= times_us[native.name]:
        reason = f"onnx is not faster: {speed}"
    if reason is not None:
        return EngineChoice(native, reason, worst, times_us)
    return EngineChoice(
        compiled.engine, f"onnx differs by {worst:.1e} on {len(probes):,} rows; {speed}", worst, times_us
    )


def score_answerable_rows(engine: Engine, rows: Matrix) -> tuple[Matrix, Prediction]:
    """The rows with a finite answer of the engine, and these answers: a linear model refuses 3e38, for example."""
    try:
        with np.errstate(all="ignore"):
            scores = engine.scores(rows)
    except Exception:  # Libraries refuse all rows because of one: halves are tried, down to that row.
        if len(rows) < 2:
            return rows[:0], np.empty(0)
        parts = [score_answerable_rows(engine, half) for half in np.array_split(rows, 2)]
        scored_parts = [part for part in parts if len(part[0])] or parts[:1]
        return np.concatenate([part[0] for part in scored_parts]), np.concatenate([part[1] for part in scored_parts])
    finite = np.isfinite(scores).reshape(len(rows), -1).all(axis=1)
    return rows[finite], scores[finite]


def largest_difference(expected: Prediction, scores: Prediction) -> float:
    """The largest difference, relative where the expected value is above 1; infinite for other shapes and for NaN."""
    if expected.shape != scores.shape:
        return float("inf")
    apart = np.abs(expected - scores) / np.maximum(1.0, np.abs(expected))
    return float(np.max(np.where(np.isnan(apart), np.inf, apart), initial=0.0))


def probe_rows(predictor: Predictor, rows: Matrix, thresholds: Mapping[int, Vector]) -> Matrix:
    """Up to 2,000 of `rows`, evenly spaced, and rows derived from them by changing one column at a time."""
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).astype(np.int64))]
    parts = [sample, np.full((1, rows.shape[1]), np.nan, dtype=np.float32)]
    for index, column in enumerate(predictor.schema.columns):
        values = [
            np.nan,
            *(range(column.levels) if column.levels else (*_EXTREMES, *_values_near_thresholds(thresholds, index))),
        ]
        changed_rows = sample[np.arange(len(values)) % len(sample)].copy()
        changed_rows[:, index] = values
        parts.append(changed_rows)
    return np.ascontiguousarray(np.concatenate(parts))


def random_rows(schema: Schema, thresholds: Mapping[int, Vector], count: int = 500, seed: int = 0) -> Matrix:
    """Random rows to compare engines on where no rows are stored: any level, and numbers around the trees' thresholds.

    One value in ten is missing. Without thresholds, numbers are of all sizes, and dates of this century.
    """
    rng = np.random.default_rng(seed)
    rows = np.empty((count, len(schema.columns)), dtype=np.float32)
    for index, column in enumerate(schema.columns):
        column_thresholds = thresholds.get(index, np.empty(0))
        if column.kind is Kind.BOOLEAN:
            rows[:, index] = rng.integers(0, 2, count)
        elif column.levels:
            rows[:, index] = rng.integers(0, column.levels, count)
        elif len(column_thresholds):
            low, high = float(column_thresholds.min()), float(column_thresholds.max())
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


def _values_near_thresholds(thresholds: Mapping[int, Vector], column: int) -> list[float]:
    """Some thresholds of a column as 32-bit numbers, each with its two neighbours."""
    values = thresholds.get(column, np.empty(0))
    values = values[np.unique(np.linspace(0, len(values) - 1, min(len(values), _THRESHOLDS)).astype(np.int64))]
    at = values[np.abs(values) < np.finfo(np.float32).max].astype(np.float32)
    ends = np.float32(-np.inf), np.float32(np.inf)
    beside = np.concatenate([np.nextafter(at, ends[0]), at, np.nextafter(at, ends[1])])
    return [float(value) for value in beside[np.isfinite(beside)]]


def _objection(task: Task, expected: Prediction, scores: Prediction, worst: float) -> str | None:
    """The reason why answers differ, None where they agree. Labels may differ only within the tolerance of a tie."""
    if worst >= TOLERANCE:
        return f"onnx differs by {worst:.1e} from the model itself, the limit is {TOLERANCE:.0e}"
    if not task.classifies:
        return None
    if task is Task.BINARY:
        differs = (expected >= 0.5) != (scores >= 0.5)
        margin = np.abs(expected - 0.5)
    else:
        differs = expected.argmax(axis=1) != scores.argmax(axis=1)
        top = np.sort(expected, axis=1)[:, -2:]
        margin = top[:, 1] - top[:, 0]
    wrong = int((differs & (margin > 2 * TOLERANCE)).sum())
    return f"onnx gives another label on {wrong} of {len(expected)} rows" if wrong else None
