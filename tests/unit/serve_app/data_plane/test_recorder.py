"""Recorder: a request never waits for it, and the rows that it drops are counted."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.arrays import Matrix
from optagent.domain.model import Task
from optagent.errors import Busy, InvalidData, Unavailable
from optagent.ports import RecordKind
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import EvidenceRecord
from optagent.serving.prediction_record import PredictionRecord
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.data_plane.metrics import GatewayMetrics
from serve_app.data_plane.recorder import Recorder

SCHEMA = Schema((FeatureColumn("a", Kind.NUMERIC),), "value", Task.REGRESSION)
NOW = 1_700_000_000.0


class Zero:
    name = "zero"
    blocks = False

    def scores(self, x: Matrix) -> Any:
        return np.zeros(len(x))

    def close(self) -> None:
        pass


MODELS = {version: ServedModel(SCHEMA, Zero(), version) for version in ("1", "2")}


class Moody(InMemoryObservations):
    """Observations that refuse while they are in a mood, and can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.mood: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.calls = 0

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        self.calls += 1
        self.free.wait(10)
        if self.mood is not None:
            raise self.mood
        super().record(model_id, kind, rows)


def prediction_record(number: int, version: str = "1", rows: Any = None) -> PredictionRecord:
    rows = rows or [{"a": float(number)}]
    return PredictionRecord(
        MODELS[version], [f"{number}.{at}" for at in range(len(rows))], NOW, rows, np.zeros(len(rows)), 1.0, "champion"
    )


def evidence_record(number: int) -> EvidenceRecord:
    scores = np.zeros(1)
    return EvidenceRecord([str(number)], NOW, "r", "ramp", 0, "champion", 0.5, "u", "1", False, 1.0, scores, None)


@pytest.fixture
def observations() -> Moody:
    return Moody()


@pytest.fixture
def metrics() -> GatewayMetrics:
    return GatewayMetrics()


@pytest.fixture
def recorder(observations: Moody, metrics: GatewayMetrics) -> Iterator[Recorder]:
    recorder = Recorder(observations, metrics, most_rows=100, every_s=0.01, patience_s=0.1)
    recorder.start()
    yield recorder
    observations.free.set()
    recorder.close()


def test_what_was_answered_is_recorded_by_the_end_in_few_batches(
    recorder: Recorder, observations: Moody, metrics: GatewayMetrics
) -> None:
    for number in range(40):
        recorder.record_predictions("m", prediction_record(number, version="1" if number < 20 else "2"), 100)
        recorder.record_evidence("m", 1, evidence_record(number))
    recorder.close()
    observations.drain("m")
    rows = [row for table in observations.predictions("m", 0, NOW + 1) for row in table.to_pylist()]
    assert [row["id"] for row in rows] == [f"{number}.0" for number in range(40)]
    assert [row["version"] for row in rows] == ["1"] * 20 + ["2"] * 20
    assert sum(table.num_rows for table in observations.evidence("m", 0)) == 40
    assert (metrics.recorded, metrics.record_dropped, metrics.record_waiting) == (80, 0, 0)
    assert observations.calls < 20


def test_whoever_answers_does_not_wait_for_observations_that_hang(
    recorder: Recorder, observations: Moody, metrics: GatewayMetrics
) -> None:
    observations.free.clear()
    recorder.record_predictions("m", prediction_record(0), 100)
    until(lambda: observations.calls == 1)
    started_at = time.perf_counter()
    for number in range(1, 300):
        recorder.record_predictions("m", prediction_record(number), 100)
    assert time.perf_counter() - started_at < 0.5
    assert metrics.record_dropped == 200
    observations.free.set()
    recorder.close()
    assert metrics.recorded == 100


def test_rows_beyond_the_bytes_that_may_wait_are_dropped_and_counted(
    recorder: Recorder, observations: Moody, metrics: GatewayMetrics
) -> None:
    observations.free.clear()
    for number in range(40):
        recorder.record_predictions("m", prediction_record(number), 9_000_000)
    assert metrics.record_dropped == 40 - 128_000_000 // 9_000_000
    observations.free.set()
    until(lambda: metrics.recorded == 40 - metrics.record_dropped)
    recorder.record_predictions("m", prediction_record(40), 9_000_000)  # there is room again
    until(lambda: metrics.recorded == 41 - metrics.record_dropped)


@pytest.mark.parametrize("mood", [Busy("too many rows wait"), Unavailable("Redis does not answer")])
def test_what_cannot_be_taken_is_tried_again(
    recorder: Recorder, observations: Moody, metrics: GatewayMetrics, mood: Exception
) -> None:
    observations.mood = mood
    recorder.record_predictions("m", prediction_record(0), 100)
    until(lambda: observations.calls >= 3)
    observations.mood = None
    until(lambda: metrics.recorded == 1)
    assert metrics.record_dropped == 0


@pytest.mark.parametrize("mood", [Unavailable("away"), InvalidData("never"), RuntimeError("a bug")])
def test_what_cannot_be_taken_for_long_is_dropped_and_counted_and_all_else_goes_on(
    recorder: Recorder, observations: Moody, metrics: GatewayMetrics, mood: Exception
) -> None:
    observations.mood = mood
    recorder.record_predictions("m", prediction_record(0), 100)
    until(lambda: metrics.record_dropped == 1)
    observations.mood = None
    recorder.record_predictions("m", prediction_record(1), 100)
    until(lambda: metrics.recorded == 1)


def test_rows_that_make_no_table_are_dropped_alone(recorder: Recorder, metrics: GatewayMetrics) -> None:
    recorder.record_predictions("m", prediction_record(0, rows=[{"b": 1.0}]), 100)
    recorder.record_evidence("m", 1, evidence_record(1))
    until(lambda: metrics.record_dropped == 1 and metrics.recorded == 1)


def test_one_model_that_is_busy_does_not_hold_up_the_others(observations: Moody, metrics: GatewayMetrics) -> None:
    class BusyWithOne(Moody):
        def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
            if model_id == "full":
                raise Busy("full")
            super().record(model_id, kind, rows)

    recorder = Recorder(BusyWithOne(), metrics, 100, every_s=0.01, patience_s=0.5)
    recorder.start()
    recorder.record_predictions("full", prediction_record(0), 100)
    recorder.record_predictions("other", prediction_record(1), 100)
    until(lambda: metrics.recorded == 1 and metrics.record_dropped == 0)
    until(lambda: metrics.record_dropped == 1)
    recorder.close()


def until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.002)
