"""Seeding: a routed version with a history gets the past that is in its model's data, once, and is scored by it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.histories import InMemoryHistories
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.agent import OptimizationAgent
from optagent.domain.dataset import FileSource
from optagent.domain.history import HistorySpec
from optagent.domain.model import CHAMPION, ModelSpec, Task
from optagent.domain.routing import RoutingTable
from optagent.training.encoding import Schema, fit_schema
from optagent.training.history.table import complete_history
from tests.fakes.loader import InMemoryLoader
from tests.fakes.routes import InMemoryRoutes
from tests.unit.loop.score.conftest import register_version

NOW = 1_700_000_000.0


def rows_of(count: int, first: int = 0) -> pa.Table:
    """Rows of two shops, an hour each; what is sold follows the price of the hour before."""
    price = np.random.default_rng(3).normal(size=first + count)[first:]
    hours = (np.arange(first, first + count) * 3_600_000_000).astype("datetime64[us]")
    shop = [f"shop {at % 2}" for at in range(first, first + count)]
    return pa.table({"hour": hours, "shop": shop, "price": price, "sold": np.r_[0.0, price[:-1]]})


class Served:
    """The model "sales", whose version 1 is routed."""

    def __init__(self, agent: OptimizationAgent, histories: InMemoryHistories, spec: ModelSpec, folder: Path) -> None:
        self.agent, self.histories, self.spec, self.folder = agent, histories, spec, folder

    @property
    def schema(self) -> Schema:
        return fit_schema(complete_history(rows_of(200), self.spec), self.spec)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    pq.write_table(rows_of(200), tmp_path / "rows.parquet")
    source = FileSource(str(tmp_path / "rows.parquet"))
    history = HistorySpec(key="shop", lags=(1,), rolling=(3,))
    spec = ModelSpec("sales", Task.REGRESSION, source, "sold", time_column="hour", history=history)
    clock = ManualClock(NOW)
    registry, routes, store = InMemoryRegistry(clock), InMemoryRoutes(clock), InMemoryStore(clock)
    histories = InMemoryHistories()
    agent = await create_optimization_agent(
        clock=clock, store=store, registry=registry, tracker=InMemoryTracker(), observations=InMemoryObservations(),
        tuner=SequentialTuner(), workers=SequentialWorkers(), routes=routes, loader=InMemoryLoader(registry),
        histories=histories, strict=True,
    )  # fmt: skip
    await store.save_model(spec)
    await store.save_model(replace(spec, model_id="other", history=None))
    register_version(registry, spec, complete_history(rows_of(200), spec), "linear", tmp_path / "bundle")
    registry.set_alias("sales", CHAMPION, "1")
    await routes.stage(RoutingTable("sales", 1, "1"))
    await routes.activate("sales", 1, NOW)
    async with agent:
        yield Served(agent, histories, spec, tmp_path)


async def test_a_routed_version_gets_the_past_that_is_in_its_data_once(served: Served) -> None:
    plan = served.schema.history
    assert plan is not None
    assert (await served.agent.seed_histories_once()).rows == {"sales": 38}
    (past,) = await served.histories.pasts("sales", plan, [("shop 1", NOW)])
    np.testing.assert_array_equal(past.values[:, 0], rows_of(200)["price"].to_numpy()[[199, 197, 195]])
    assert (await served.agent.seed_histories_once()).rows == {}


async def test_data_that_cannot_be_read_is_said_and_tried_again(served: Served) -> None:
    path = served.folder / "rows.parquet"
    path.rename(served.folder / "away.parquet")
    errors = (await served.agent.seed_histories_once()).errors
    assert "its served rows have no past yet" in errors["sales"]
    (served.folder / "away.parquet").rename(path)
    assert (await served.agent.seed_histories_once()).rows == {"sales": 38}


async def test_a_file_is_scored_by_the_models_rows_and_its_own_earlier_ones(served: Served) -> None:
    new = rows_of(30, first=200).drop_columns(["sold"])
    pq.write_table(new, served.folder / "new.parquet")
    await served.agent.score("sales", served.folder / "new.parquet", served.folder / "out.parquet")
    answers = pq.read_table(served.folder / "out.parquet")
    whole = complete_history(pa.concat_tables([rows_of(200).drop_columns(["sold"]), new]), served.spec).slice(200)
    pq.write_table(whole, served.folder / "whole.parquet")
    await served.agent.score("sales", served.folder / "whole.parquet", served.folder / "expected.parquet")
    assert answers.equals(pq.read_table(served.folder / "expected.parquet"))
    assert len(set(answers["prediction"].to_pylist())) > 20


@pytest.mark.parametrize(("left_out", "message"), [("shop", "'shop'"), ("hour", "'hour'")])
async def test_a_file_without_the_key_or_the_time_is_refused_by_name(
    served: Served, left_out: str, message: Any
) -> None:
    pq.write_table(rows_of(30, first=200).drop_columns([left_out]), served.folder / "new.parquet")
    with pytest.raises(Exception, match=f"the model needs columns that are missing: {message}"):
        await served.agent.score("sales", served.folder / "new.parquet", served.folder / "out.parquet")
