"""A version in the shadow: asked in batches from behind, and its failures are its own."""

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
from serve_app.data_plane.metrics import ModelMetrics
from serve_app.data_plane.shadow import Shadow, ShadowRequest

SCHEMA = Schema((FeatureColumn("a", Kind.NUMERIC),), "value", Task.REGRESSION)


class Echo:
    """Answers each row with its number; fails for negative ones; is slow if told to; waits until it is free."""

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


class Told(list[EvidenceRecord]):
    """The evidence, in its order."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.free.set()


@pytest.fixture
def figures() -> ModelMetrics:
    return ModelMetrics()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def shadow(echo: Echo, figures: ModelMetrics, told: Told) -> Iterator[Shadow]:
    model = ServedModel(SCHEMA, echo, "2")
    shadow = Shadow(model, 500, figures, ManualClock(10.0), told.append, budget_ms=20.0)
    yield shadow
    shadow.close()


def asked(*values: float, rows: Any = None) -> ShadowRequest:
    def compared(scores: Prediction | None, took_ms: float) -> EvidenceRecord:
        ids = [str(value) for value in values]
        failed = scores is None
        return EvidenceRecord(ids, 9.0, "r", "shadow", 0, "champion", 0.0, "u", "1", failed, took_ms, None, scores)

    return ShadowRequest([{"a": value} for value in values] if rows is None else rows, len(values), 9.0, compared)


def test_each_request_gets_its_own_scores_out_of_a_batch(shadow: Shadow, echo: Echo, told: Told) -> None:
    echo.free.clear()
    requests = [asked(float(number), float(number) + 0.5) for number in range(50)]
    requests.append(asked(1.0, 2.0, rows={"a": [1.0, 2.0]}))  # columns, which are read alone
    assert all(shadow.offer(request) for request in requests)
    echo.free.set()
    until(lambda: len(told) == 51)
    assert len(echo.sizes) < 15
    for evidence in told:
        assert evidence.candidate is not None
        assert evidence.candidate.tolist() == [float(name) for name in evidence.ids]
        assert not evidence.failed


def test_one_request_that_fails_does_not_fail_those_beside_it(
    shadow: Shadow, echo: Echo, told: Told, figures: ModelMetrics
) -> None:
    echo.free.clear()
    for value in (1.0, -1.0, 2.0, 3.0):
        shadow.offer(asked(value))
    echo.free.set()
    until(lambda: len(told) == 4)
    assert [evidence.failed for evidence in told] == [False, True, False, False]
    assert (figures.shadow_rows, figures.shadow_failed) == (4, 1)


def test_what_does_not_fit_is_dropped_and_counted_and_room_comes_back(
    shadow: Shadow, echo: Echo, told: Told, figures: ModelMetrics
) -> None:
    echo.free.clear()
    taken = sum(shadow.offer(asked(1.0, 2.0)) for _ in range(300))
    assert (taken, figures.shadow_dropped) == (250, 100)
    echo.free.set()
    until(lambda: len(told) == 250)
    assert shadow.offer(asked(1.0))
    assert figures.shadow_lag_s == 1.0


def test_a_slow_version_is_asked_in_batches_that_do_not_make_it_look_late(
    shadow: Shadow, echo: Echo, told: Told
) -> None:
    echo.row_s = 0.002  # a row is well within the budget of 20 ms, a batch of 256 would not be
    for number in range(100):
        shadow.offer(asked(float(number)))
    until(lambda: len(told) == 100)
    late = [evidence for evidence in told if evidence.latency_ms is None or evidence.latency_ms > 20]
    assert len(late) <= 10  # where this machine was busy with something else
    assert 2 < max(echo.sizes) <= 16


def test_a_request_that_alone_takes_too_long_is_told_so(shadow: Shadow, echo: Echo, told: Told) -> None:
    echo.row_s = 0.03
    shadow.offer(asked(1.0))
    until(lambda: len(told) == 1)
    assert told[0].latency_ms is not None
    assert told[0].latency_ms > 30


def test_a_closed_shadow_asks_nothing_more(shadow: Shadow, echo: Echo, told: Told) -> None:
    shadow.close()
    shadow.offer(asked(1.0))
    time.sleep(0.03)
    assert not echo.sizes


def until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.002)
