"""Replayed gateway: who answers a row by the routing table, and the evidence that is recorded of it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from optagent.backtest.gateway import ReplayedGateway
from optagent.backtest.history import History, history_of
from optagent.codec import model_from
from optagent.domain.backtest import BacktestAsk
from optagent.domain.model import Task
from optagent.domain.rollout import Rollout, begin
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.routing import table_of
from optagent.loop.rollout.evidence import read_rollout_rows
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema

ROWS, ANSWERS = 600, {"1": 0.25, "2": 0.75}
RAMP = (0.25, 0.5, 0.6)


@dataclass
class Constant:
    """A predictor that answers the same for each row; `classes` in its own order."""

    answer: float
    classes: tuple[str, ...] = ("no", "yes")

    @property
    def schema(self) -> Schema:
        task = Task.BINARY if len(self.classes) == 2 else Task.MULTICLASS
        return Schema((FeatureColumn("a", Kind.NUMERIC),), "label", task, self.classes)

    def probabilities(self, table: pa.Table) -> np.ndarray:
        if len(self.classes) == 2:
            return np.full(table.num_rows, self.answer)
        rest = (1 - self.answer) / (len(self.classes) - 1)
        return np.tile([self.answer, *[rest] * (len(self.classes) - 1)], (table.num_rows, 1))


def history(task: str = "binary") -> History:
    rng = np.random.default_rng(0)
    labels = ["no", "yes"] if task == "binary" else ["no", "perhaps", "yes"]
    at = np.datetime64("2024-01-01", "s") + np.arange(ROWS).astype("timedelta64[h]")
    table = pa.table({"at": at, "a": rng.normal(size=ROWS), "label": rng.choice(labels, ROWS)})
    spec = {"id": "m", "task": task, "data": "h.parquet", "target": "label", "time_column": "at"}
    return history_of(table, model_from(spec), BacktestAsk((), "1d"))


def rollout_in(state: RolloutState, step: int = 0) -> Rollout:
    started = begin("r1", "m", "1", "2", RolloutPolicy(ramp=RAMP), 0.0, "ana")
    return Rollout(**{**{name: getattr(started, name) for name in started.__slots__}, "state": state, "step": step})


def answer(rollout: Rollout | None, start: int = 0, end: int = ROWS, seed: int = 0):
    gateway = ReplayedGateway(history(), lambda version: Constant(ANSWERS[version]), seed)
    holder = "1" if rollout is None else rollout.holder
    return gateway.answer(table_of("m", 1, holder, rollout), start, end)


def test_without_a_rollout_the_champion_answers_and_nothing_is_evidence() -> None:
    rows = answer(None, 10, 20)
    assert rows.evidence is None
    assert (rows.start, rows.version.tolist(), rows.prediction.tolist()) == (10, ["1"] * 10, [0.25] * 10)


@pytest.mark.parametrize(("state", "answers"), [(RolloutState.SHADOW, "1"), (RolloutState.BAKING, "2")])
def test_in_shadow_and_while_baking_one_answers_and_both_are_evidence(state: RolloutState, answers: str) -> None:
    rows = answer(rollout_in(state))
    assert set(rows.version) == {answers}
    assert set(rows.prediction) == {ANSWERS[answers]}
    evidence = read_rollout_rows([rows.evidence], "r1", 1)
    assert set(evidence.state) == {state}
    assert evidence.drawn.all() == (state is RolloutState.BAKING)
    assert set(evidence.champion[:, 0]) == {0.25}
    assert set(evidence.candidate[:, 0]) == {0.75}
    assert not evidence.failed.any()


@pytest.mark.parametrize("step", [0, 1, 2])
def test_in_the_ramp_the_arm_that_was_drawn_answers_and_only_it_is_evidence(step: int) -> None:
    rows = answer(rollout_in(RolloutState.RAMP, step))
    candidate = rows.version == "2"
    assert candidate.mean() == pytest.approx(RAMP[step], abs=0.07)
    assert np.array_equal(rows.prediction, np.where(candidate, 0.75, 0.25))
    evidence = read_rollout_rows([rows.evidence], "r1", 1)
    order = np.argsort(np.array(evidence.ids.to_pylist()).astype(int))
    assert np.array_equal(evidence.drawn[order], candidate)
    assert np.array_equal(np.isnan(evidence.champion[order, 0]), candidate)
    assert np.array_equal(np.isnan(evidence.candidate[order, 0]), ~candidate)
    assert set(evidence.share) == {RAMP[step]}


def test_a_row_keeps_its_arm_when_the_share_grows_and_whatever_the_step_of_the_replay() -> None:
    small = answer(rollout_in(RolloutState.RAMP, 0)).version == "2"
    large = answer(rollout_in(RolloutState.RAMP, 1)).version == "2"
    assert large[small].all()
    parts = [answer(rollout_in(RolloutState.RAMP), start, start + 200).version for start in (0, 200, 400)]
    assert np.array_equal(np.concatenate(parts) == "2", small)
    assert not np.array_equal(answer(rollout_in(RolloutState.RAMP), seed=1).version == "2", small)


def test_a_version_that_knows_the_classes_in_another_order_is_answered_for_in_that_of_the_history() -> None:
    order = ("yes", "no", "perhaps")
    gateway = ReplayedGateway(history("multiclass"), lambda version: Constant(ANSWERS[version], order), 0)
    rows = gateway.answer(table_of("m", 1, "1", rollout_in(RolloutState.SHADOW)), 0, 5)
    assert rows.prediction[0].tolist() == [0.375, 0.375, 0.25]
    evidence = read_rollout_rows([rows.evidence], "r1", 3)
    assert evidence.candidate[0].tolist() == [0.75, 0.125, 0.125]
