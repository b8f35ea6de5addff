import dataclasses
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.analysis.observed_rows import ObservedRows
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.quality import DataQuality, RowProblem
from optagent.errors import InvalidData
from optagent.loop.observe.reference import Reference, decode_reference, encode_reference, thin_rows
from optagent.loop.observe.window_rows import observe_window, observed_from_table
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from optagent.training.manifest import Manifest
from optagent.training.predictor import Predictor

START = 1_700_000_000
WINDOW = Window(START, START + 100)
SCHEMA = Schema(
    (FeatureColumn("amount", Kind.NUMERIC), FeatureColumn("region", Kind.CATEGORICAL, ("north", "south"))),
    "label",
    Task.BINARY,
    ("no", "yes"),
)
Row = dict[str, Any]


class Archive:
    """The reading half of `Observations`, of tables in memory."""

    def __init__(self, predictions: list[pa.Table], labels: list[pa.Table]) -> None:
        self._predictions, self._labels = predictions, labels

    def predictions(self, model_id: str, start: float, end: float) -> list[pa.Table]:
        return [_between(table, start, end) for table in self._predictions]

    def labels(self, model_id: str, since: float) -> list[pa.Table]:
        return [_between(table, since, 2e9) for table in self._labels]


def _between(table: pa.Table, start: float, end: float) -> pa.Table:
    seconds = pc.divide(pc.cast(pc.cast(table.column("time"), pa.int64()), pa.float64()), 1e6)
    return table.filter(pc.and_(pc.greater_equal(seconds, start), pc.less(seconds, end)))


def table_of(rows: list[Row], **types: pa.DataType) -> pa.Table:
    names = sorted({name for row in rows for name in row} | {"id", "time"})
    columns = {name: [row.get(name) for row in rows] for name in names if name not in ("id", "time")}
    arrays = {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    time = pa.array([int((START + row["time"]) * 1_000_000) for row in rows], pa.int64())
    ids = pa.array([row["id"] for row in rows], pa.string())
    return pa.table({"id": ids, "time": time.cast(pa.timestamp("us", "UTC")), **arrays})


def observe_rows(predictions: list[Row], labels: list[Row] = [], **options: Any) -> tuple[ObservedRows, DataQuality]:  # noqa: B006
    archive: Any = Archive([table_of(predictions)], [table_of(labels)])
    return observe_window(archive, "m", SCHEMA, WINDOW, **options)


def row(name: str, time: float = 1, **fields: Any) -> Row:
    return {"id": name, "time": time, "amount": 1.0, "region": "north", "probability": 0.5, **fields}


def same(one: ObservedRows, other: ObservedRows) -> None:
    for name in ("x", "prediction", "y", "time", "latency_ms"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    assert one.columns == other.columns
    assert one.outcome.keys() == other.outcome.keys()
    for name in one.outcome:
        np.testing.assert_array_equal(one.outcome[name], other.outcome[name])


def test_recorded_rows_become_what_analyses_look_at() -> None:
    predictions = [
        row("b", 2, probability=0.9, region="south", latency_ms=4.0),
        row("a", 2, amount=None, probability=0.1, latency_ms=-1.0),
        row("c", 1, amount=7.0, probability=0.3),
    ]
    observed, quality = observe_rows(predictions, [{"id": "b", "time": 50, "label": "yes", "profit": 12.5}])
    np.testing.assert_array_equal(observed.time, [START + 1, START + 2, START + 2])
    np.testing.assert_array_equal(observed.x, np.array([[7, 0], [np.nan, 0], [1, 1]], dtype=np.float32))
    np.testing.assert_array_equal(observed.prediction, [0.3, 0.1, 0.9])
    np.testing.assert_array_equal(observed.y, [np.nan, np.nan, 1])
    np.testing.assert_array_equal(observed.latency_ms, [np.nan, np.nan, 4])
    np.testing.assert_array_equal(observed.outcome["profit"], [np.nan, np.nan, 12.5])
    assert (quality.rows, quality.labelled) == (3, 1)
    assert quality.problems == {RowProblem.MISSING: 1}
    assert quality.columns == {"amount": {RowProblem.MISSING: 1}}


def test_a_window_without_rows_is_an_empty_answer() -> None:
    observed, quality = observe_rows([row("a", 500)], [{"id": "a", "time": 1, "label": "yes"}])
    assert (len(observed), observed.x.shape, quality.rows) == (0, (0, 2), 0)
    empty: Any = Archive([], [])
    assert observe_window(empty, "m", SCHEMA, WINDOW)[1] == DataQuality()


def test_what_is_wrong_is_counted_by_kind() -> None:
    predictions = [
        row("a", 5),
        row("a", 6),
        row("b", probability=2.0),
        row("c", 5, region="west"),
        row("d", 5),
        row("e", 5),
    ]
    labels = [
        {"id": "a", "time": 3, "label": "yes"},
        {"id": "c", "time": 9, "label": "no"},
        {"id": "c", "time": 9, "label": "no"},
        {"id": "d", "time": 9, "label": "no"},
        {"id": "d", "time": 9, "label": "yes"},
        {"id": "e", "time": 9, "label": "perhaps"},
        {"id": "zzz", "time": 9, "label": "no"},
    ]
    observed, quality = observe_rows(predictions, labels)
    assert quality.problems == {
        RowProblem.DUPLICATE: 1,
        RowProblem.UNUSABLE_PREDICTION: 1,
        RowProblem.UNSEEN: 1,
        RowProblem.SKEWED: 1,
        RowProblem.DUPLICATE_LABEL: 1,
        RowProblem.CONFLICTING: 1,
        RowProblem.UNUSABLE_LABEL: 1,
        RowProblem.ORPHAN: 1,
    }
    np.testing.assert_array_equal(observed.y, [1, 0, np.nan, np.nan])
    assert (quality.rows, quality.labelled) == (5, 2)


def test_a_label_of_a_day_before_the_window_is_still_joined() -> None:
    observed, quality = observe_rows([row("a")], [{"id": "a", "time": -86_000, "label": "yes"}])
    assert observed.y.tolist() == [1]
    assert quality.problems == {RowProblem.SKEWED: 1}


def test_only_rows_of_the_version_count_and_the_rest_are_no_orphans() -> None:
    predictions = [row("a", version="1"), row("b", version="2"), row("c", version=None), row("a", 2, version="2")]
    labels = [{"id": name, "time": 9, "label": "yes"} for name in "abc"]
    champion, quality = observe_rows(predictions, labels, version="1")
    assert (len(champion), quality.problems) == (2, {})
    other, quality = observe_rows(predictions, labels, version="2", unversioned=False)
    assert (len(other), other.time.tolist(), quality.problems) == (2, [START + 1, START + 2], {})


def test_rows_without_a_column_of_versions_are_the_champions() -> None:
    assert len(observe_rows([row("a")], version="1")[0]) == 1
    assert len(observe_rows([row("a")], version="1", unversioned=False)[0]) == 0


def test_of_too_many_rows_the_same_are_taken_in_any_order() -> None:
    rows = [row(f"id{index}", index % 90, amount=float(index)) for index in range(300)]
    few, quality = observe_rows(rows, most_rows=50)
    again, _ = observe_rows(rows[::-1], most_rows=50)
    assert (len(few), quality.rows) == (50, 300)
    same(few, again)


def test_tables_of_different_types_are_one_window() -> None:
    tables = [
        table_of([row("a", amount=1)], amount=pa.int64()),
        table_of([row("b", amount="2.5")]),
        table_of([{"id": "c", "time": 1, "prediction": "yes", "region": "south", "colour": "red"}]),
    ]
    archive: Any = Archive(tables, [])
    observed, quality = observe_window(archive, "m", SCHEMA, WINDOW)
    np.testing.assert_array_equal(observed.x[:, 0], np.array([1, 2.5, np.nan], dtype=np.float32))
    assert observed.prediction.tolist() == [0.5, 0.5, 1.0]
    assert quality.columns == {"amount": {RowProblem.ABSENT: 1}, "colour": {RowProblem.EXTRA: 1}}


def test_a_text_among_outcomes_is_no_outcome() -> None:
    observed, _ = observe_rows([row("a")], [{"id": "a", "time": 9, "label": "yes", "profit": "3.5", "note": "fine"}])
    assert {name: values.tolist() for name, values in observed.outcome.items()} == {"profit": [3.5]}


PREDICTIONS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "c", "d", "e"]),
        "time": st.integers(0, 2),
        "amount": st.sampled_from([None, 1.0, 2.0]),
        "region": st.sampled_from([None, "north", "west"]),
        "prediction": st.sampled_from(["yes", "no", "perhaps"]),
        "version": st.sampled_from([None, "1"]),
    }
)
LABELS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "c", "d", "x"]),
        "time": st.integers(-1, 3),
        "label": st.sampled_from([None, "yes", "no", "perhaps"]),
        "profit": st.sampled_from([None, 1.0]),
    }
)
COPIES = (RowProblem.DUPLICATE, RowProblem.DUPLICATE_LABEL)
PREDICTION_TYPES = {"amount": pa.float64(), "region": pa.string(), "prediction": pa.string(), "version": pa.string()}
LABEL_TYPES = {"label": pa.string(), "profit": pa.float64()}


def in_batches(rows: list[Row], types: dict[str, pa.DataType], dice: random.Random) -> list[pa.Table]:
    """The rows shuffled, in up to three tables, some of which come twice."""
    rows = dice.sample(rows, len(rows))
    cuts = sorted(dice.choices(range(len(rows) + 1), k=2))
    batches = [rows[: cuts[0]], rows[cuts[0] : cuts[1]], rows[cuts[1] :]]
    tables = [table_of(batch, **types) for batch in batches if batch]
    return [*tables, *dice.choices(tables, k=2)] if tables else []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(PREDICTIONS, min_size=1, max_size=10),
    st.lists(LABELS, min_size=1, max_size=10),
    st.randoms(use_true_random=False),
)
def test_neither_order_nor_batches_nor_copies_change_the_answer(
    predictions: list[Row], labels: list[Row], dice: random.Random
) -> None:
    once: Any = Archive([table_of(predictions, **PREDICTION_TYPES)], [table_of(labels, **LABEL_TYPES)])
    again: Any = Archive(in_batches(predictions, PREDICTION_TYPES, dice), in_batches(labels, LABEL_TYPES, dice))
    one, quality = observe_window(once, "m", SCHEMA, WINDOW)
    other, also = observe_window(again, "m", SCHEMA, WINDOW)
    same(one, other)
    assert dataclasses.replace(also, problems={}) == dataclasses.replace(quality, problems={})
    for problem in RowProblem:
        if problem in COPIES:
            assert also.problems.get(problem, 0) >= quality.problems.get(problem, 0)
        else:
            assert also.problems.get(problem, 0) == quality.problems.get(problem, 0)


class Sums:
    """A model whose answer is the first feature, a tenth more for every missing value."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(x[:, 0].astype(np.float64)) + 0.1 * np.isnan(x).sum(axis=1)


def reference_rows(count: int) -> tuple[pa.Table, np.ndarray, Predictor]:
    manifest = Manifest(1, "m", Task.BINARY, "lightgbm", {}, 1, SCHEMA.classes, SCHEMA.names, 0.0)
    model: Any = Sums()
    table = pa.table(
        {
            "amount": np.linspace(0, 0.8, count),
            "region": ["north", "south"] * (count // 2),
            "label": ["yes", "no"] * (count // 2),
        }
    )
    return table, START - np.arange(count, dtype=np.float64), Predictor(manifest, SCHEMA, model)


def reference(count: int = 40, **fields: Any) -> Reference:
    table, time, predictor = reference_rows(count)
    observed = observed_from_table(table, time, predictor)
    defaults = {
        "schema": SCHEMA,
        "importance": {"amount": 0.75, "region": 0.25},
        "version": "3",
        "rows": count,
        "digest": "d1",
    }
    return Reference(**{"observed": observed, **defaults, **fields})


def test_a_reference_is_in_the_order_of_time_with_the_models_answers() -> None:
    observed = reference().observed
    assert (np.diff(observed.time) > 0).all()
    np.testing.assert_allclose(observed.prediction, np.linspace(0.8, 0, 40), atol=1e-6)
    assert observed.y.tolist() == [0, 1] * 20


def test_rows_without_a_time_are_in_the_order_of_the_table() -> None:
    table, _, predictor = reference_rows(4)
    assert observed_from_table(table, None, predictor).time.tolist() == [0, 1, 2, 3]


def test_bad_values_do_not_poison_a_reference() -> None:
    table, time, predictor = reference_rows(2)
    table = table.set_column(0, "amount", pa.array([float("inf"), 0.5])).set_column(
        1, "region", pa.array(["west", None])
    )
    observed = observed_from_table(table, time, predictor)
    np.testing.assert_array_equal(observed.x, np.array([[0.5, np.nan], [np.nan, 2]], dtype=np.float32))
    np.testing.assert_allclose(observed.prediction, [0.6, 0.2])


def test_a_reference_needs_a_target_and_times() -> None:
    table, time, predictor = reference_rows(4)
    with pytest.raises(InvalidData, match="'label'"):
        observed_from_table(table.drop(["label"]), time, predictor)
    with pytest.raises(InvalidData, match="finite time"):
        observed_from_table(table, time[:2], predictor)


def test_a_reference_without_rows_is_refused() -> None:
    table, time, predictor = reference_rows(4)
    with pytest.raises(InvalidData, match="one row"):
        reference(observed=observed_from_table(table, time, predictor).where(np.zeros(4, dtype=bool)))


def test_a_reference_is_the_same_after_it_was_kept() -> None:
    original = reference(window=Window(1.0, 2.0), profile=b'{"bins": []}', notes=("from the holdout",))
    original = dataclasses.replace(
        original,
        observed=dataclasses.replace(original.observed, outcome={"pro fit": np.arange(40.0), "a": np.full(40, np.nan)}),
    )
    decoded = decode_reference(encode_reference(original))
    same(decoded.observed, original.observed)
    for field in dataclasses.fields(Reference):
        if field.name != "observed":
            assert getattr(decoded, field.name) == getattr(original, field.name)


@pytest.mark.parametrize(
    ("task", "classes", "shape"),
    [(Task.MULTICLASS, (1, 2, 3), (5, 3)), (Task.MULTICLASS, (1, 2), (5, 2)), (Task.REGRESSION, (), (5,))],
)
def test_references_of_other_tasks_are_kept_too(task: Task, classes: Any, shape: tuple[int, ...]) -> None:
    schema = dataclasses.replace(SCHEMA, task=task, classes=classes)
    five = dataclasses.replace(
        thin_rows(reference().observed, 5),
        task=task,
        n_classes=len(classes),
        prediction=np.random.default_rng(0).random(shape),
    )
    same(decode_reference(encode_reference(reference(schema=schema, observed=five))).observed, five)


def test_a_large_reference_is_thinned_evenly() -> None:
    thinned = thin_rows(reference(1000).observed, 100)
    assert np.diff(thinned.time).tolist() == [10.0] * 99


def test_a_reference_keeps_at_most_twenty_thousand_rows() -> None:
    decoded = decode_reference(encode_reference(reference(30_000)))
    assert (len(decoded.observed), decoded.rows) == (20_000, 30_000)


def test_damaged_bytes_are_refused() -> None:
    data = encode_reference(reference())
    dice = random.Random(0)
    damaged = [b"", b"nonsense", data[:100], data[: len(data) // 2], data[:-1], data + b"x"]
    positions = dice.sample(range(len(data)), 200)
    damaged += [data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :] for at in positions]
    accepted = 0
    for each in damaged:
        try:
            same(decode_reference(each).observed, reference().observed)
            accepted += 1
        except InvalidData:
            continue
    assert accepted < len(damaged) / 3, "only bytes that carry nothing (padding) may change unnoticed"
