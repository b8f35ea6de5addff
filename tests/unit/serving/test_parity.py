"""Engine parity: the compiled engine serves only where it answers like the model itself, and sooner."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import CompiledEngine, compile_onnx
from optagent.serving.parity import (
    TOLERANCE,
    choose_engine,
    largest_difference,
    probe_rows,
    random_rows,
    score_answerable_rows,
)
from optagent.training.columns import Kind
from optagent.training.encoding import encode
from optagent.training.families.registry import FAMILIES
from optagent.training.predictor import Predictor

MakePredictor = Callable[..., Predictor]
MakeRows = Callable[[Task], pa.Table]
EVERY = [(family, task) for family in FAMILIES for task in Task]


class Off:
    """An engine that is wrong by `by`, or slow by `wait_s`."""

    name = "onnx"
    blocks = False

    def __init__(self, predictor: Predictor, by: float = 0.0, wait_s: float = 0.0) -> None:
        self._predictor, self._by, self._wait_s = predictor, by, wait_s

    def scores(self, x: Matrix) -> Prediction:
        time.sleep(self._wait_s)
        return self._predictor.scores(x) + self._by

    def close(self) -> None:
        pass


class Failing:
    name = "onnx"
    blocks = False

    def scores(self, x: Matrix) -> Prediction:
        raise RuntimeError("index out of range\nmore")

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("family", "task"), EVERY)
def test_every_family_compiles_to_the_same_answers(
    family: str, task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor(family, task)
    rows = encode(make_served_rows(task), predictor.schema)
    compiled = compile_onnx(predictor)
    assert compiled.engine is not None, compiled.reason
    probes, expected = score_answerable_rows(NativeEngine(predictor), probe_rows(predictor, rows, compiled.thresholds))
    assert np.isnan(probes).all(axis=1).any()
    assert len(probes) > 300 + 60  # the rows, and a row for each level of the texts
    assert largest_difference(expected, compiled.engine.scores(probes)) < TOLERANCE
    one_by_one = np.concatenate([compiled.engine.scores(row[None, :]) for row in probes[-5:]])
    np.testing.assert_allclose(one_by_one, compiled.engine.scores(probes[-5:]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "hist_gradient_boosting", "catboost"])
def test_a_model_of_a_quantile_compiles_to_the_same_answers(
    family: str, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor, table = make_predictor(family, Task.REGRESSION, metric="pinball_90"), make_served_rows(Task.REGRESSION)
    compiled = compile_onnx(predictor)
    assert compiled.engine is not None, compiled.reason
    rows = encode(table, predictor.schema)
    probes, expected = score_answerable_rows(NativeEngine(predictor), probe_rows(predictor, rows, compiled.thresholds))
    assert largest_difference(expected, compiled.engine.scores(probes)) < TOLERANCE
    assert predictor.scores(rows).mean() > make_predictor(family, Task.REGRESSION).scores(rows).mean() + 0.3


@pytest.mark.parametrize("family", ["random_forest", "xgboost"])
def test_the_faster_engine_is_chosen_and_both_are_measured(
    family: str, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor(family, Task.BINARY)
    choice = choose_engine(predictor, encode(make_served_rows(Task.BINARY), predictor.schema))
    assert choice.engine.name == "onnx", choice.reason
    assert choice.one_row_us["onnx"] < choice.one_row_us["native"]
    assert choice.max_difference is not None
    assert choice.max_difference < TOLERANCE


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "hist_gradient_boosting", "extra_trees", "catboost"])
def test_rows_at_and_beside_a_threshold_fall_on_the_same_side(
    family: str, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor(family, Task.REGRESSION)
    compiled = compile_onnx(predictor)
    assert compiled.engine is not None
    first = predictor.schema.names.index("a")
    at = compiled.thresholds[first].astype(np.float32)
    assert len(at)
    values = np.concatenate([np.nextafter(at, np.float32(-np.inf)), at, np.nextafter(at, np.float32(np.inf))])
    rows = encode(make_served_rows(Task.REGRESSION), predictor.schema)[np.arange(len(values)) % 300]
    rows[:, first] = values
    np.testing.assert_allclose(compiled.engine.scores(rows), predictor.scores(rows), rtol=1e-7)


def test_numbers_next_to_zero_are_zero_as_lightgbm_takes_them(
    make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("lightgbm", Task.REGRESSION, rounds=60)
    engine = compile_onnx(predictor).engine
    assert engine is not None
    tiny = np.array([-2e-35, -1e-35, -1e-38, -0.0, 0.0, 1e-38, 1e-35, 2e-35], dtype=np.float32)
    for column in range(4):
        rows = encode(make_served_rows(Task.REGRESSION), predictor.schema)[:8].copy()
        rows[:, column] = tiny if column < 3 else 0.0
        assert (engine.scores(rows) == predictor.scores(rows)).all()


def test_a_converter_that_is_off_by_a_thousandth_is_refused(
    make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("random_forest", Task.BINARY)
    rows = encode(make_served_rows(Task.BINARY), predictor.schema)
    choice = choose_engine(predictor, rows, CompiledEngine(Off(predictor, by=1e-3), "compiled"))
    assert choice.engine.name == "native"
    assert "differs by 1.0e-03" in choice.reason
    assert choice.max_difference == pytest.approx(1e-3)


def test_an_engine_that_is_slower_is_refused(make_predictor: MakePredictor, make_served_rows: MakeRows) -> None:
    predictor = make_predictor("lightgbm", Task.BINARY)
    rows = encode(make_served_rows(Task.BINARY), predictor.schema)
    with threadpool_limits(1):  # threads that wait for each other on a busy machine take longer than any engine
        choice = choose_engine(predictor, rows, CompiledEngine(Off(predictor, wait_s=0.02), "compiled"))
    assert choice.engine.name == "native"
    assert "not faster" in choice.reason


def test_an_engine_that_fails_is_refused_in_its_own_words(
    make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("lightgbm", Task.BINARY)
    rows = encode(make_served_rows(Task.BINARY), predictor.schema)
    choice = choose_engine(predictor, rows, CompiledEngine(Failing(), "compiled"))
    assert (choice.engine.name, choice.reason) == ("native", "onnx fails: index out of range")


def test_a_linear_model_on_quantiles_serves_itself(make_predictor: MakePredictor, make_served_rows: MakeRows) -> None:
    predictor = make_predictor("linear", Task.BINARY, rounds=81, scaling="quantile")
    choice = choose_engine(predictor, encode(make_served_rows(Task.BINARY), predictor.schema))
    assert isinstance(choice.engine, NativeEngine)
    assert "QuantileTransformer" in choice.reason
    assert list(choice.one_row_us) == ["native"]


def test_a_forest_that_is_too_large_serves_itself(
    make_predictor: MakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optagent.serving.onnx_compiler.MOST_NODES", 100)
    compiled = compile_onnx(make_predictor("extra_trees", Task.MULTICLASS))
    assert compiled.engine is None
    assert "nodes, the limit is 100" in compiled.reason


def test_a_family_without_an_onnx_form_serves_itself(make_predictor: MakePredictor, make_served_rows: MakeRows) -> None:
    lightgbm = make_predictor("lightgbm", Task.BINARY)
    predictor = Predictor(replace(lightgbm.manifest, family="mine:Family"), lightgbm.schema, lightgbm.model)
    choice = choose_engine(predictor, encode(make_served_rows(Task.BINARY), lightgbm.schema))
    assert choice.engine.name == "native"
    assert "mine:Family has no ONNX form" in choice.reason


def test_rows_that_the_model_itself_refuses_are_left_out() -> None:
    class Picky:
        name = "native"
        blocks = True

        def scores(self, x: Matrix) -> Prediction:
            if (x[:, 0] > 1e30).any():
                raise ValueError("too large")
            return np.where(x[:, 0] < 0, np.nan, x[:, 0]).astype(np.float64)

        def close(self) -> None:
            pass

    rows = np.array([[1.0], [3e38], [-1.0], [2.0], [3e38]], dtype=np.float32)
    answerable, scores = score_answerable_rows(Picky(), rows)
    assert (answerable[:, 0].tolist(), scores.tolist()) == ([1.0, 2.0], [1.0, 2.0])
    assert len(score_answerable_rows(Picky(), rows[1:2])[0]) == 0


def test_no_rows_prove_nothing(make_predictor: MakePredictor) -> None:
    predictor = make_predictor("lightgbm", Task.BINARY)
    with pytest.raises(InvalidData, match="rows are needed"):
        choose_engine(predictor, np.empty((0, 7), dtype=np.float32))


def test_a_difference_counts_relative_above_one_and_a_nan_counts_as_endless() -> None:
    assert largest_difference(np.array([1e6, 0.5]), np.array([1e6 + 1, 0.5])) == pytest.approx(1e-6)
    assert largest_difference(np.array([0.5]), np.array([np.nan])) == np.inf
    assert largest_difference(np.zeros(2), np.zeros((2, 1))) == np.inf


def test_rows_drawn_from_a_schema_are_of_its_levels_and_on_both_sides_of_its_thresholds(
    make_predictor: MakePredictor,
) -> None:
    predictor = make_predictor("xgboost", Task.BINARY)
    thresholds = compile_onnx(predictor).thresholds
    rows = random_rows(predictor.schema, thresholds)
    for index, column in enumerate(predictor.schema.columns):
        values = rows[~np.isnan(rows[:, index]), index]
        assert 0 < len(values) < len(rows)
        if column.levels:
            assert set(values) == set(range(column.levels))
        if index in thresholds and column.kind in (Kind.NUMERIC, Kind.DATETIME):
            assert values.min() < thresholds[index].min()
            assert values.max() > thresholds[index].max()


def test_what_it_costs_to_reach_the_model_itself_counts_as_its_time(
    make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("lightgbm", Task.BINARY)
    rows = encode(make_served_rows(Task.BINARY), predictor.schema)
    slow = CompiledEngine(Off(predictor, wait_s=0.002), "compiled")
    assert choose_engine(predictor, rows, slow, native_costs_us=1e6).engine.name == "onnx"
