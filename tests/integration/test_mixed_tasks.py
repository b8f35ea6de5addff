"""A mixture of a model of several classes, and of a regression, through the whole loop in memory."""

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.backtest import simulate as replay
from optagent.backtest.ports_in_memory import ports_in_memory
from optagent.codec import model_from
from optagent.domain.backtest import BacktestAsk, Contender
from optagent.domain.mixture import MixtureRecord
from optagent.domain.policy import Action, OptimizationType, RetrainingPolicy, Trigger
from optagent.loop.context import Ports
from optagent.loop.mixture.advance import PUBLISHED
from optagent.loop.mixture.relearn import replay_mixture
from optagent.loop.mixture.status import certificate_of
from optagent.training.metrics import metric_named

ROWS, CHANGE = 1_600, 800
POLICY = RetrainingPolicy(
    (Trigger.GROWTH,), Action.FULL, "balanced", OptimizationType.RETRAIN, answer="mixture", slots=("champion", "1/4")
)


def history(task: str) -> pa.Table:
    """Ten rows a day; half way the effect of a column turns round, which the newest quarter knows first."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(ROWS, 3))
    effect = np.where(np.arange(ROWS) < CHANGE, 2.0, -2.0)
    value = effect * x[:, 0] + x[:, 1] + rng.normal(scale=0.5, size=ROWS)
    y = np.array(["low", "middle", "high"])[np.digitize(value, [-1, 1])] if task == "multiclass" else value
    at = np.datetime64("2020-01-01", "us") + (np.arange(ROWS) * 8_640).astype("timedelta64[s]")
    return pa.table({"at": at, **{f"x{place}": x[:, place] for place in range(3)}, "label": y})


@dataclass
class MixedReplay:
    """A replay under a mixture, and the champion's alone: what was predicted, and what is in the ports afterwards."""

    mixed: replay.SimulatedPolicy
    alone: replay.SimulatedPolicy
    ports: Ports
    y: np.ndarray

    @property
    def record(self) -> MixtureRecord:
        record = asyncio.run(self.ports.store.mixture("m"))
        assert record is not None
        return record


@pytest.fixture(scope="module", params=["multiclass", "regression"])
def replayed(request: Any) -> MixedReplay:
    task, rows, ports = request.param, history(request.param), []
    fields = {"task": task, "data": "rows.parquet", "target": "label", "time_column": "at"}
    model = model_from({"id": "m", **fields, "folds": 2, "families": ["linear"]})
    ask = BacktestAsk((), "2d", start=0.3, step="2d")

    def in_memory(*arguments: Any) -> Ports:
        ports.append(ports_in_memory(*arguments))
        return ports[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "ports_in_memory", in_memory)
        mixed = replay.simulate(model, rows, Contender("mixed", POLICY), ask)
    alone = replay.simulate(model, rows, Contender("never", None), ask)
    label = rows["label"].to_numpy(zero_copy_only=False)[-len(mixed.prediction) :]
    y = np.searchsorted(["high", "low", "middle"], label) if task == "multiclass" else label
    return MixedReplay(mixed, alone, ports[0], np.asarray(y, dtype=np.float64))


def test_the_rows_that_were_answered_are_learned_and_the_archive_gives_the_state_again(replayed):
    record, entries = replayed.record, asyncio.run(replayed.ports.store.audit(1_000))
    assert record.state["rows"] >= 0.9 * len(replayed.y)
    logged = [entry for entry in entries if entry.action == PUBLISHED]
    again = replay_mixture(record, replayed.ports.require("observations"), logged)
    assert (again.difference, again.rows) == ("", record.state["rows"])
    assert again.digests == len(logged) > 10


def test_weights_are_published_and_the_newer_model_has_a_part_of_the_answers(replayed):
    record = replayed.record
    weights = record.published
    assert weights is not None
    assert weights.versions[1] == record.versions["1/4"] != weights.versions[0]
    assert any(run.slots for run in replayed.mixed.run.runs)
    assert record.history[-1].weights[1] > 0.5


def test_the_certificate_holds_and_the_answers_lose_less_than_the_champion_alone(replayed):
    record = replayed.record
    certificate = certificate_of(record)
    assert certificate.holds
    assert certificate.behind_champion < 0
    task = replayed.alone.prediction.ndim
    metric = metric_named("log_loss", "multiclass") if task == 2 else metric_named("rmse", "regression")
    mixed, alone = (metric.score(replayed.y, each.prediction) for each in (replayed.mixed, replayed.alone))
    assert mixed < 0.9 * alone
