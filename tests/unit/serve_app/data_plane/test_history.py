"""History of served rows: each row gets the past that the table of earlier rows gives, or an answer without it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from fastapi import FastAPI

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.histories import InMemoryHistories
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.routing import RoutingTable
from optagent.errors import Unavailable
from optagent.ports import Histories
from optagent.serving.engine import ServedModel
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.state import Past
from optagent.training.history.table import with_history
from serve_app.asgi import Application
from serve_app.data_plane.arrow_bodies import table_bytes
from serve_app.data_plane.gateway import DataPlane
from tests.fakes.data_plane import OneToken
from tests.fakes.routes import InMemoryRoutes

NOW = 1_700_000_000.0
PLAN = HistoryPlan("at", ("price",), "shop", lags=(1,), rolling=(2,))
PLAIN = Schema((FeatureColumn("price", Kind.NUMERIC),), "sold", Task.REGRESSION)


def schema_of(plan: HistoryPlan) -> Schema:
    columns = tuple(FeatureColumn(name, Kind.NUMERIC) for name in ("price", *plan.names))
    return replace(PLAIN, columns=columns, history=plan)


class Seen:
    """An engine that answers the price, and remembers the matrices that it was given."""

    name, blocks = "seen", False

    def __init__(self) -> None:
        self.rows: list[list[float]] = []

    def scores(self, x: np.ndarray) -> np.ndarray:
        self.rows += x.tolist()
        return x[:, 0].astype(np.float64)

    def close(self) -> None:
        pass


class Versions:
    def __init__(self, **schemas: Schema) -> None:
        self.schemas = schemas
        self.engines = {version: Seen() for version in schemas}

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        return ServedModel(self.schemas[version], self.engines[version], version)

    def keep(self, digests: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Away(InMemoryHistories):
    async def pasts(self, model_id: str, plan: HistoryPlan, rows: Any) -> list[Past]:
        raise Unavailable("Redis does not answer")


class Shop:
    """A gateway of the model "sales", whose version `a` has a history."""

    def __init__(self, versions: Versions, histories: Histories | None = None) -> None:
        self.clock, self.versions = ManualClock(NOW), versions
        self.routes, self.observations = InMemoryRoutes(self.clock), InMemoryObservations()
        self.plane = DataPlane(
            self.routes, versions, self.observations, OneToken(), self.clock, find_model, "g1",
            histories=histories or InMemoryHistories(),
        )  # fmt: skip
        api = FastAPI()
        api.state.max_body_bytes, api.state.knows_token = 1_000_000, bool
        transport = httpx.ASGITransport(Application(api, self.plane), raise_app_exceptions=False)
        headers = {"Authorization": "Bearer good"}
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    async def start(self, **table: Any) -> None:
        await self.plane.start()
        await self.routes.stage(RoutingTable("sales", 1, **table))
        while not await self.routes.acknowledgements("sales", 1):
            await asyncio.sleep(0.001)
        await self.routes.activate("sales", 1, NOW)
        await asyncio.sleep(0.001)

    async def ask(self, *rows: dict[str, Any], **options: Any) -> httpx.Response:
        body = options or {"json": {"rows": list(rows)}}
        response = await self.client.post("/api/v1/models/sales/predict", **body)
        await asyncio.sleep(0)  # the task that keeps rows runs
        return response

    @property
    def seen(self) -> list[list[float]]:
        return self.versions.engines["a"].rows

    @property
    def metrics(self) -> Any:
        return self.plane.metrics.of_model("sales")


async def find_model(model_id: str) -> ModelSpec:
    return ModelSpec(model_id, Task.REGRESSION, FileSource("rows.csv"), "sold")


@pytest.fixture
async def make_shop() -> AsyncIterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def make(versions: Versions | None = None, histories: Histories | None = None) -> Shop:
        shops.append(Shop(versions or Versions(a=schema_of(PLAN)), histories))
        return shops[-1]

    yield make
    for shop in shops:
        await shop.plane.close()
        await shop.client.aclose()


def at(day: int) -> str:
    return datetime.fromtimestamp(NOW - (100 - day) * 86_400, UTC).isoformat()


def price(shop: Any, day: int, number: float) -> dict[str, Any]:
    return {"shop": shop, "at": at(day), "price": number}


async def test_served_rows_are_scored_and_recorded_with_the_history_that_a_table_of_them_has(make_shop) -> None:
    shop = make_shop()
    await shop.start(champion="a")
    rng = np.random.default_rng(0)
    rows = [price(int(rng.integers(3)), day, float(rng.normal())) for day in range(24)]
    for row in rows:
        assert (await shop.ask(row)).status_code == 200
    expected = with_history(pa.Table.from_pylist(rows), PLAN)
    matrix = np.column_stack([expected[name].to_numpy() for name in ("price", *PLAN.names)]).astype(np.float32)
    np.testing.assert_array_equal(np.array(shop.seen, dtype=np.float32), matrix)
    await shop.plane.close()
    shop.observations.drain("sales")
    recorded = pa.concat_tables(shop.observations.predictions("sales", NOW - 1e6, NOW + 1e6))
    assert recorded["shop"].to_pylist() == [str(row["shop"]) for row in rows]
    for name in PLAN.names:
        assert recorded[name].to_pylist() == expected[name].to_pylist()


async def test_a_late_row_sees_what_is_older_and_a_retry_counts_once(make_shop) -> None:
    shop = make_shop()
    await shop.start(champion="a")
    for _ in range(2):
        await shop.ask(json={"rows": [price("x", 10, 1.0)], "ids": ["same"]})
    await shop.ask(price("x", 20, 2.0))
    await shop.ask(price("x", 15, 4.0))
    await shop.ask(price("x", 30, 0.0))
    late, newest = shop.seen[-2:]
    assert late[1:3] == [1.0, 1.0]
    assert newest[1:3] == [2.0, 3.0]


async def test_rows_without_a_time_have_that_of_their_arrival(make_shop) -> None:
    shop = make_shop()
    await shop.start(champion="a")
    await shop.ask({"shop": "x", "price": 1.0})
    shop.clock.advance(60.0)
    await shop.ask({"shop": "x", "price": 2.0})
    assert shop.seen[-1] == [2.0, 1.0, 1.0, 60.0]


@pytest.mark.parametrize("form", ["columns", "arrow"])
async def test_columns_and_arrow_are_read_as_rows_are(make_shop, form: str) -> None:
    shop = make_shop()
    await shop.start(champion="a")
    await shop.ask(price("x", 1, 1.0), price("7", 1, 5.0))
    table = pa.table({"shop": ["x", None], "at": [at(2), at(2)], "price": [2.0, 3.0]})
    if form == "columns":
        response = await shop.ask(json={"rows": table.to_pydict()})
    else:
        headers = {"content-type": "application/vnd.apache.arrow.stream"}
        response = await shop.ask(content=table_bytes(table), headers=headers)
    assert response.status_code == 200, response.text
    known, unknown = shop.seen[-2:]
    assert known == [2.0, 1.0, 1.0, 86_400.0]
    assert np.isnan(unknown[1:]).all()


async def test_where_redis_does_not_answer_rows_are_answered_without_history_and_counted(make_shop) -> None:
    shop = make_shop(histories=Away())
    await shop.start(champion="a")
    for day in range(5):
        assert (await shop.ask(price("x", day, 1.0))).status_code == 200
    assert np.isnan(np.array(shop.seen)[:, 1:]).all()
    assert shop.metrics.history_missing == 5


async def test_a_row_from_the_future_is_answered_and_is_no_past(make_shop) -> None:
    shop = make_shop()
    await shop.start(champion="a")
    await shop.ask(price("x", 1, 1.0))
    await shop.ask(price("x", 200, 9.0))
    await shop.ask(price("x", 300, 2.0))
    assert shop.seen[-1][1] == 1.0
    assert shop.metrics.history_unkept == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"at": at(1), "price": 1.0}, "row 0: the column 'shop' is missing; give null where there is no value"),
        ({"shop": 1.5, "price": 1.0}, "row 0: column 'shop' takes a text, a whole number or null, got 1.5"),
        ({"shop": "x" * 1000, "price": 1.0}, "row 0: column 'shop' takes keys of 1 to"),
        ({"shop": "x", "at": "noon", "price": 1.0}, "row 0: column 'at' takes an ISO 8601 text, seconds since 1970"),
        ({"shop": "x", "at": True, "price": 1.0}, "row 0: column 'at' takes an ISO 8601 text"),
        ({"shop": "x", "prize": 1.0}, "row 0: the column 'price' is missing"),
        ({"shop": "x", "price": 1.0, "colour": "red"}, "no column 'colour'"),
    ],
)
async def test_a_key_or_a_time_that_breaks_a_rule_is_refused_by_name(make_shop, row: dict, message: str) -> None:
    shop = make_shop()
    await shop.start(champion="a")
    response = await shop.ask(row)
    assert response.status_code == 422
    assert message in response.json()["detail"]


async def test_a_champion_without_history_and_a_shadow_with_one_read_the_same_rows(make_shop) -> None:
    shop = make_shop(Versions(a=schema_of(PLAN), c=PLAIN))
    await shop.start(champion="c", warm=("c", "a"), rollout_id="r1", state="shadow", shadow="a", share=0.0)
    for day in range(3):
        assert (await shop.ask(price("x", day, float(day)))).status_code == 200
    async with asyncio.timeout(5):
        while len(shop.seen) < 3:  # the shadow's thread gathers a batch
            await asyncio.sleep(0.005)
    assert shop.versions.engines["c"].rows == [[0.0], [1.0], [2.0]]
    np.testing.assert_array_equal(np.array(shop.seen)[:, 1], [np.nan, 0.0, 1.0])


async def test_a_candidate_with_another_history_answers_by_its_own_past(make_shop) -> None:
    other = HistoryPlan("at", ("price",), "shop", lags=(2,), rolling=())
    shop = make_shop(Versions(a=schema_of(PLAN), b=schema_of(other)))
    await shop.start(champion="a", warm=("a", "b"), rollout_id="r1", state="shadow", shadow="b", share=0.0)
    for day in range(3):
        assert (await shop.ask(price("x", day, float(day)))).status_code == 200
    candidate = shop.versions.engines["b"]
    async with asyncio.timeout(5):
        while len(candidate.rows) < 3:
            await asyncio.sleep(0.005)
    assert candidate.rows[-1] == [2.0, 0.0, 86_400.0]
    assert shop.seen[-1] == [2.0, 1.0, 0.5, 86_400.0]
