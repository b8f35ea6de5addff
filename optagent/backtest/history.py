"""History of a model for a backtest: its rows in time order, cut at the beginning of the simulation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.analysis.expression import Column, answer_columns, compile_expression
from optagent.arrays import Prediction
from optagent.domain.backtest import BacktestAsk, parse_date
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.columns import Kind, kind_of, require_columns
from optagent.training.encoding import Schema, columns_of, encode_target, target_schema
from optagent.training.history.table import complete_history, plan_history
from optagent.training.predictor import Predictor
from optagent.training.row_times import instants
from optagent.training.target import Label

Texts = npt.NDArray[np.object_]
"""(rows,) texts, such as the version that answered each row."""

SOURCE = FileSource("history")
_RECORDED = ("id", "time", "prediction", "probability", "latency_ms", "version", "arm")


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Rows in time order.

    `time` (rows,) are POSIX seconds; the simulation begins and ends on a multiple of the step. The labels of the first
    `learned` rows were known at the beginning; the rows from there up to `first` had no label yet: they are predicted,
    and not scored. `labelled` (rows,) is true for rows that have a label at all. `spec` learns from the rows before the
    beginning, and its label horizon is the delay.
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
        """The rows that are known when the simulation begins."""
        return self.table.slice(0, self.learned)

    def scores(self, predictor: Predictor, start: int, end: int) -> Prediction:
        """The scores of a version for rows, in the order of its own classes."""
        return predictor.probabilities(self.table.slice(start, end - start))

    def in_order(self, scores: Prediction, classes: Sequence[Label]) -> Prediction:
        """The scores in the order of the classes of the whole history, from that of a version's `classes`."""
        if scores.ndim == 1 or tuple(classes) == tuple(self.schema.classes):
            return scores
        place = {label: index for index, label in enumerate(self.schema.classes)}
        arranged = np.zeros((len(scores), len(place)))
        for index, label in enumerate(classes):
            arranged[:, place[label]] = scores[:, index]
        return arranged

    def timestamps(self, start: int, end: int) -> pa.ChunkedArray:
        """The times of rows, in microseconds of UTC."""
        assert self.spec.time_column is not None
        return self.table.slice(start, end - start).column(self.spec.time_column)


def history_of(table: pa.Table, spec: ModelSpec, ask: BacktestAsk) -> History:
    """The history, sorted and cut. Raises InvalidRequest for what cannot be simulated, and InvalidData for unusable
    rows."""
    if spec.time_column is None:
        raise InvalidRequest(
            f"{spec.model_id}: a backtest needs a time_column of dates, the model names none: add it"
            " to its model.yaml and optagent register that; optagent init names candidates"
        )
    if not table.num_rows:
        raise InvalidData("history: no rows")
    required = [spec.target, spec.time_column, *(columns_of(spec) or ())]
    require_columns(list(dict.fromkeys(required)), table.schema.names, "history")
    kind = kind_of(table.schema.field(spec.time_column).type)
    if kind is Kind.NUMERIC:
        raise InvalidRequest(f"time_column {spec.time_column!r} holds numbers; a backtest needs dates or timestamps")
    spec = replace(spec, data=SOURCE, label_horizon=ask.label_delay)
    time = instants(table, spec)
    assert time is not None
    order = np.argsort(time, kind="stable")
    table, time = table.take(pa.array(order)), time[order]
    timestamps = pa.array(np.round(time * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC"))
    table = table.set_column(table.schema.names.index(spec.time_column), spec.time_column, timestamps)
    reserved = sorted(set(_RECORDED) & (set(table.schema.names) - {spec.target, spec.time_column, *spec.ignore}))
    if reserved:
        raise InvalidRequest(
            f"history: {', '.join(reserved)} are names of what is recorded; ignore or rename the columns"
        )
    table = complete_history(table, spec)
    schema = target_schema(table, spec)
    values, labelled = encode_target(table, schema)
    y = np.full(len(time), np.nan)
    y[labelled] = values
    begins = _begin_time(time, ask)
    first = int(np.searchsorted(time, begins, side="left"))
    learned = min(first, int(np.searchsorted(time, begins - ask.delay_s, side="right")))
    if not learned:
        raise InvalidRequest(
            f"label_delay {ask.label_delay!r}: no label is known when the replay begins, which is after"
            f" {(begins - time[0]) / 86_400:.4g} days of {(time[-1] - time[0]) / 86_400:.4g}; start later"
        )
    ends = begins + np.ceil((time[-1] - begins + 1e-6) / ask.step_s) * ask.step_s
    return History(spec, table, time, labelled, y, schema, begins, float(ends), learned, first)


def _begin_time(time: npt.NDArray[np.float64], ask: BacktestAsk) -> float:
    at = parse_date(ask.start) if isinstance(ask.start, str) else float(time[int(len(time) * ask.start)])
    begins = float(np.ceil(at / ask.step_s) * ask.step_s)
    if not time[0] < at or not begins <= time[-1]:
        bounds = [str(np.datetime64(int(bound), "s")) for bound in (time[0], time[-1])]
        raise InvalidRequest(f"start {ask.start!r}: no step is left of a history of {bounds[0]} to {bounds[1]}")
    return begins


def recorded_columns(history: History) -> list[str]:
    """The columns that are recorded with a prediction."""
    spec = history.spec
    out = {spec.target, spec.time_column, *spec.ignore, *spec.sensitive_columns}
    if spec.features:
        plan = plan_history(history.table, spec)
        named = [name for name in (spec.entity, plan and plan.key) if name]
        return list(dict.fromkeys([*spec.features, *named, *(plan.names if plan else ())]))
    return [name for name in history.table.schema.names if name not in out]


def labels_known(history: History, start: int, now: float, delay_s: float) -> int:
    """The first row from `start` on whose label has not come by `now`."""
    return max(start, int(np.searchsorted(history.time, now - delay_s, side="right")))


def label_rows(history: History, start: int, end: int, delay_s: float) -> pa.Table:
    """Labels of rows as they are recorded, with the times at which they came."""
    labelled = np.flatnonzero(history.labelled[start:end]) + start
    times = np.round((history.time[labelled] + delay_s) * 1e6).astype(np.int64)
    return pa.table(
        {
            "id": pc.cast(pa.array(labelled), pa.large_string()),
            "time": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "label": history.table.column(history.spec.target).take(pa.array(labelled)),
        }
    )


def prediction_rows(history: History, start: int, prediction: Prediction, version: Texts, arm: Texts) -> pa.Table:
    """Predictions of the rows from `start` on as they are recorded, with the version and the arm of each."""
    end = start + len(prediction)
    table = history.table.slice(start, end - start)
    answers: dict[str, pa.Array] = {}
    if not history.spec.task.classifies:
        answers["prediction"] = pa.array(prediction)
    elif prediction.ndim == 1:
        answers["probability"] = pa.array(prediction)
    else:
        for index, label in enumerate(history.schema.classes):
            answers[f"probability_{label}"] = pa.array(np.ascontiguousarray(prediction[:, index]))
    return pa.table(
        {
            "id": pc.cast(pa.array(np.arange(start, end)), pa.large_string()),
            "time": history.timestamps(start, end),
            **answers,
            "version": pa.array(version, pa.large_string()),
            "arm": pa.array(arm, pa.large_string()),
            **{name: table.column(name) for name in recorded_columns(history)},
        }
    )


def check_business(history: History) -> None:
    """Raises InvalidRequest for a business metric that reads a column missing from the history."""
    monitoring = history.spec.monitoring
    classes = max(1, len(history.schema.classes))
    none = np.zeros(1) if classes < 3 else np.full((1, classes), 1 / classes)
    business_of(
        replace(history, table=history.table.slice(0, 1), first=0), none, monitoring.business if monitoring else {}
    )


def business_of(history: History, prediction: Prediction, metrics: Mapping[str, str]) -> dict[str, float | None]:
    """The mean of each business metric over the rows from `first` on, for which `prediction` holds the predictions. A
    metric may read the numeric columns of the history beside `prediction`, `label` and `probability`; it is None where
    no row has what it needs."""
    if not metrics:
        return {}
    columns, y = expression_columns(history, prediction), _y_of(history, prediction)
    means = {}
    for name, text in metrics.items():
        values = compile_expression(text)(columns)
        usable = values[~np.isnan(values) & ~np.isnan(y)]
        means[name] = float(usable.mean()) if len(usable) else None
    return means


def expression_columns(history: History, prediction: Prediction) -> dict[str, Column]:
    """The columns that an expression may read, for the rows that are predicted: numbers, answers and labels."""
    table = history.table.slice(history.first, len(prediction))
    columns: dict[str, Column] = {}
    for name, values in zip(table.schema.names, table.columns, strict=True):
        if kind_of(values.type) in (Kind.NUMERIC, Kind.BOOLEAN):
            columns[name] = pc.cast(values, pa.float64(), safe=False).to_numpy()
    labels = _y_of(history, prediction)
    return columns | answer_columns(history.spec.task, history.schema.classes, prediction, labels)


def _y_of(history: History, prediction: Prediction) -> npt.NDArray[np.float64]:
    return history.y[history.first :][: len(prediction)]
