"""History: the rows of a model in the order of time, cut where a replay begins."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.expression import Column, answer_columns, compile_expression
from optagent.arrays import Prediction
from optagent.domain.backtest import BacktestAsk, instant_of
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.columns import Kind, kind_of, require_columns
from optagent.training.encoding import Schema, columns_of, encode_target, target_schema
from optagent.training.predictor import Predictor
from optagent.training.row_times import instants

SOURCE = FileSource("history")
_RECORDED = ("id", "time", "prediction", "probability", "latency_ms", "version", "arm")


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Rows in time order: `time` (rows,) are POSIX seconds; the replay begins and ends on a multiple of the step.

    The first `learned` rows have labels that were known then; those up to `first` had not: they are answered, and not
    scored. `labelled` (rows,) says which rows have a label at all. `spec` learns from the first, and its label horizon
    is the delay.
    """

    spec: ModelSpec
    table: pa.Table
    time: npt.NDArray[np.float64]
    labelled: npt.NDArray[np.bool_]
    y: npt.NDArray[np.float64]
    schema: Schema
    begins: float
    ends: float
    learned: int
    first: int

    @property
    def base(self) -> pa.Table:
        """What is known when the replay begins."""
        return self.table.slice(0, self.learned)

    def answers(self, predictor: Predictor, start: int, end: int) -> Prediction:
        """What a version says of rows, in the order of the classes of the whole history."""
        found = predictor.probabilities(self.table.slice(start, end - start))
        classes = tuple(predictor.schema.classes)
        if found.ndim == 1 or classes == tuple(self.schema.classes):
            return found
        place = {label: index for index, label in enumerate(self.schema.classes)}
        arranged = np.zeros((len(found), len(place)))
        for index, label in enumerate(classes):
            arranged[:, place[label]] = found[:, index]
        return arranged


def history_of(table: pa.Table, spec: ModelSpec, ask: BacktestAsk) -> History:
    """Sorts and cuts. InvalidRequest for what cannot be replayed, InvalidData for rows that cannot be used."""
    if spec.time_column is None:
        raise InvalidRequest(f"{spec.model_id}: a backtest needs a time_column of dates, the model names none")
    if not table.num_rows:
        raise InvalidData("history: no rows")
    named = [spec.target, spec.time_column, *(columns_of(spec) or ())]
    require_columns(list(dict.fromkeys(named)), table.schema.names, "history")
    kind = kind_of(table.schema.field(spec.time_column).type)
    if kind is Kind.NUMERIC:
        raise InvalidRequest(f"time_column {spec.time_column!r} holds numbers; a backtest needs dates or timestamps")
    spec = replace(spec, data=SOURCE, label_horizon=ask.label_delay)
    time = instants(table, spec)
    assert time is not None
    order = np.argsort(time, kind="stable")
    table, time = table.take(pa.array(order)), time[order]
    stamps = pa.array(np.round(time * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC"))
    table = table.set_column(table.schema.names.index(spec.time_column), spec.time_column, stamps)
    taken = sorted(set(_RECORDED) & (set(table.schema.names) - {spec.target, spec.time_column, *spec.ignore}))
    if taken:
        raise InvalidRequest(f"history: {', '.join(taken)} are names of what is recorded; ignore or rename the columns")
    schema = target_schema(table, spec)
    values, labelled = encode_target(table, schema)
    y = np.full(len(time), np.nan)
    y[labelled] = values
    begins = _begins(time, ask)
    first = int(np.searchsorted(time, begins, side="left"))
    learned = min(first, int(np.searchsorted(time, begins - ask.delay_s, side="right")))
    if not learned:
        raise InvalidRequest(
            f"label_delay {ask.label_delay!r}: no label is known when the replay begins, which is after"
            f" {(begins - time[0]) / 86_400:.4g} days of {(time[-1] - time[0]) / 86_400:.4g}; start later"
        )
    ends = begins + np.ceil((time[-1] - begins + 1e-6) / ask.step_s) * ask.step_s
    return History(spec, table, time, labelled, y, schema, begins, float(ends), learned, first)


def _begins(time: npt.NDArray[np.float64], ask: BacktestAsk) -> float:
    at = instant_of(ask.start) if isinstance(ask.start, str) else float(time[int(len(time) * ask.start)])
    begins = float(np.ceil(at / ask.step_s) * ask.step_s)
    if not time[0] < at or not begins <= time[-1]:
        shown = [str(np.datetime64(int(one), "s")) for one in (time[0], time[-1])]
        raise InvalidRequest(f"start {ask.start!r}: no step is left of a history of {shown[0]} to {shown[1]}")
    return begins


def recorded_columns(history: History) -> list[str]:
    """The columns that are recorded with an answer."""
    spec = history.spec
    out = {spec.target, spec.time_column, *spec.ignore, *spec.sensitive_columns}
    return list(spec.features) or [name for name in history.table.schema.names if name not in out]


def labels_known(history: History, start: int, now: float, delay_s: float) -> int:
    """The row before which every label that `now` has come lies, from `start` on."""
    return max(start, int(np.searchsorted(history.time, now - delay_s, side="right")))


def label_rows(history: History, start: int, end: int, delay_s: float) -> pa.Table:
    """Labels of rows as they are recorded, at the times at which they came."""
    kept = np.flatnonzero(history.labelled[start:end]) + start
    times = np.round((history.time[kept] + delay_s) * 1e6).astype(np.int64)
    return pa.table(
        {
            "id": pc.cast(pa.array(kept), pa.large_string()),
            "time": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "label": history.table.column(history.spec.target).take(pa.array(kept)),
        }
    )


def prediction_rows(history: History, start: int, end: int, found: Prediction, version: str) -> pa.Table:
    """Answers as they are recorded."""
    table = history.table.slice(start, end - start)
    answers: dict[str, pa.Array] = {}
    if not history.spec.task.classifies:
        answers["prediction"] = pa.array(found)
    elif found.ndim == 1:
        answers["probability"] = pa.array(found)
    else:
        for index, label in enumerate(history.schema.classes):
            answers[f"probability_{label}"] = pa.array(np.ascontiguousarray(found[:, index]))
    assert history.spec.time_column is not None
    return pa.table(
        {
            "id": pc.cast(pa.array(np.arange(start, end)), pa.large_string()),
            "time": table.column(history.spec.time_column),
            **answers,
            "version": pa.array([version] * (end - start), pa.large_string()),
            **{name: table.column(name) for name in recorded_columns(history)},
        }
    )


def check_business(history: History) -> None:
    """InvalidRequest for a metric of the model's own that reads what the history does not have."""
    monitoring = history.spec.monitoring
    classes = max(1, len(history.schema.classes))
    none = np.zeros(1) if classes < 3 else np.full((1, classes), 1 / classes)
    business_of(
        replace(history, table=history.table.slice(0, 1), first=0), none, monitoring.business if monitoring else {}
    )


def business_of(history: History, prediction: Prediction, metrics: Mapping[str, str]) -> dict[str, float | None]:
    """The mean of each over the rows from `first` on, of which `prediction` are the answers; it may read the numbers of
    the history beside `prediction`, `label` and `probability`. None where no row has what it needs."""
    if not metrics:
        return {}
    table, y = history.table.slice(history.first), history.y[history.first :][: len(prediction)]
    columns: dict[str, Column] = {}
    for name, values in zip(table.schema.names, table.columns, strict=True):
        if kind_of(values.type) in (Kind.NUMERIC, Kind.BOOLEAN):
            columns[name] = pc.cast(values, pa.float64(), safe=False).to_numpy()
    columns |= answer_columns(history.spec.task, history.schema.classes, prediction, y)
    found = {}
    for name, text in metrics.items():
        values = compile_expression(text)(columns)
        known = values[~np.isnan(values) & ~np.isnan(y)]
        found[name] = float(known.mean()) if len(known) else None
    return found
