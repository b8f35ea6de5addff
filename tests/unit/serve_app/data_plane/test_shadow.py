"""Shadow versions: they are asked in batches, no request waits for them, and their failures are their own."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import EvidenceRecord
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.data_plane.backlog_room import BacklogRoom
from serve_app.data_plane.metrics import ModelMetrics
from serve_app.data_plane.shadow import Shadow, ShadowRequest

SCHEMA = Schema((FeatureColumn("a", Kind.NUMERIC),), "value", Task.REGRESSION)


class Echo:
    """An engine that answers each row with its number, fails for negative ones, and can be slow or not free."""

    name = "echo"
    blocks = False

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.row_s = 0.0
        self.free = threading.Event()
        self.free.set()

    def scores(self, x: Matrix) -> Prediction:
        self.free.wait(10)
        self.sizes.append(len(x))
        time.sleep(self.row_s * len(x))
        if (x < 0).any():
            raise RuntimeError("negative")
        return x[:, 0].astype(np.float64)

    def close(self) -> None:
        pass


class EvidenceList(list[EvidenceRecord]):
    """The evidence in order."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.free.set()


@pytest.fixture
def metrics() -> ModelMetrics:
    return ModelMetrics()


@pytest.fixture
def evidence_list() -> EvidenceList:
    return EvidenceList()


@pytest.fixture
def shadow(echo: Echo, metrics: ModelMetrics, evidence_list: EvidenceList) -> Iterator[Shadow]:
    model = ServedModel(SCHEMA, echo, "2")
    room = BacklogRoom(500, 1_000_000)
    shadow = Shadow(model, room, metrics, ManualClock(10.0), evidence_list.append, budget_ms=20.0)
    yield shadow
    shadow.close()


def make_request(*values: float, rows: Any = None, memory: int = 100) -> ShadowRequest:
    def compared(scores: Prediction | None, took_ms: float) -> EvidenceRecord:
        ids = [str(value) for value in values]
        failed = scores is None
        return EvidenceRecord(ids, 9.0, "r", "shadow", 0, "champion", 0.0, "u", "1", failed, took_ms, None, scores)

    rows = [{"a": value} for value in values] if rows is None else rows
    return ShadowRequest(rows, len(values), 9.0, compared, memory)


def test_each_request_gets_its_own_scores_out_of_a_batch(
    shadow: Shadow, echo: Echo, evidence_list: EvidenceList
) -> None:
    echo.free.clear()
    requests = [make_request(float(number), float(number) + 0.5) for number in range(50)]
    requests.append(make_request(1.0, 2.0, rows={"a": [1.0, 2.0]}))  # columns, which are read alone
    assert all(shadow.offer(request) for request in requests)
    echo.free.set()
    until(lambda: len(evidence_list) == 51)
    assert len(echo.sizes) < 15
    for evidence in evidence_list:
        assert evidence.candidate is not None
        assert evidence.candidate.tolist() == [float(name) for name in evidence.ids]
        assert not evidence.failed


def test_one_request_that_fails_does_not_fail_those_beside_it(
    shadow: Shadow, echo: Echo, evidence_list: EvidenceList, metrics: ModelMetrics
) -> None:
    echo.free.clear()
    for value in (1.0, -1.0, 2.0, 3.0):
        shadow.offer(make_request(value))
    echo.free.set()
    until(lambda: len(evidence_list) == 4)
    assert [evidence.failed for evidence in evidence_list] == [False, True, False, False]
    assert (metrics.shadow_rows, metrics.shadow_failed) == (4, 1)


def test_what_does_not_fit_is_dropped_and_counted_and_room_comes_back(
    shadow: Shadow, echo: Echo, evidence_list: EvidenceList, metrics: ModelMetrics
) -> None:
    echo.free.clear()
    accepted = sum(shadow.offer(make_request(1.0, 2.0)) for _ in range(300))
    assert (accepted, metrics.shadow_dropped) == (250, 100)
    echo.free.set()
    until(lambda: len(evidence_list) == 250)
    assert shadow.offer(make_request(1.0))
    assert metrics.shadow_lag_s == 1.0


def test_rows_beyond_the_bytes_that_may_wait_are_dropped_and_counted(
    shadow: Shadow, echo: Echo, evidence_list: EvidenceList, metrics: ModelMetrics
) -> None:
    echo.free.clear()
    accepted = sum(shadow.offer(make_request(1.0, memory=400_000)) for _ in range(10))
    assert (accepted, metrics.shadow_dropped) == (2, 8)
    echo.free.set()
    until(lambda: len(evidence_list) == 2)
    until(lambda: shadow.offer(make_request(1.0, memory=1_000_000)))


def test_a_shadow_whose_evidence_cannot_be_taken_goes_on(
    echo: Echo, evidence_list: EvidenceList, metrics: ModelMetrics
) -> None:
    def record_evidence(evidence: EvidenceRecord) -> None:
        if evidence.ids == ["-7.0"]:
            raise RuntimeError("no such luck")
        evidence_list.append(evidence)

    model = ServedModel(SCHEMA, echo, "2")
    shadow = Shadow(model, BacklogRoom(1, 1_000_000), metrics, ManualClock(10.0), record_evidence)
    assert shadow.offer(make_request(-7.0))
    until(lambda: shadow.offer(make_request(1.0)))  # there is room again
    until(lambda: len(evidence_list) == 1)
    shadow.close()


def test_a_slow_version_is_asked_in_batches_that_do_not_make_it_look_late(
    shadow: Shadow, echo: Echo, evidence_list: EvidenceList
) -> None:
    echo.row_s = 0.002  # a row is well within the budget of 20 ms, a batch of 256 would not be
    for number in range(100):
        shadow.offer(make_request(float(number)))
    until(lambda: len(evidence_list) == 100)
    late = [evidence for evidence in evidence_list if evidence.latency_ms is None or evidence.latency_ms > 20]
    assert len(late) <= 10  # where this machine was busy with something else
    assert 2 < max(echo.sizes) <= 16


def test_a_request_that_alone_takes_too_long_is_told_so(
    shadow: Shadow, echo: Echo, evidence_list: EvidenceList
) -> None:
    echo.row_s = 0.03
    shadow.offer(make_request(1.0))
    until(lambda: len(evidence_list) == 1)
    assert evidence_list[0].latency_ms is not None
    assert evidence_list[0].latency_ms > 30


def test_a_closed_shadow_asks_nothing_more(shadow: Shadow, echo: Echo, evidence_list: EvidenceList) -> None:
    shadow.close()
    shadow.offer(make_request(1.0))
    time.sleep(0.03)
    assert not echo.sizes


def test_evidence_that_counts_without_a_shadow_is_recorded_where_the_shadow_ends(
    shadow: Shadow, echo: Echo, evidence_list: EvidenceList
) -> None:
    echo.free.clear()
    alone = EvidenceRecord(["alone"], 9.0, "r", "ramp", 0, "champion", 0.5, "u", "1", False, None, None, None)
    shadow.offer(make_request(1.0))
    until(lambda: not shadow._waiting)
    shadow.offer(make_request(2.0)._replace(alone=alone))
    shadow.close()
    echo.free.set()
    shadow.join(5.0)
    assert [evidence.ids for evidence in evidence_list] == [["1.0"], ["alone"]]


def until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.002)
