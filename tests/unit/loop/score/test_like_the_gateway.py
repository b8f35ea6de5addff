"""Batch scoring beside a gateway: the same rows get the same bits, by the champion and by a mixture of slots."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI

from optagent.domain.prediction_interval import IntervalThresholds
from serve_app.asgi import Application
from serve_app.data_plane.gateway import DataPlane
from tests.fakes.data_plane import ARROW, OneToken, stream
from tests.unit.loop.score.conftest import NOW, Scored, features_of, mixture_weights

ROWS = 23_457
ASK = "/api/v1/models/churn/predict"
KEPT = IntervalThresholds((0.3, 0.5, 0.6, 0.7, 1.0))
AskGateway = Callable[..., Any]


@pytest.fixture
async def ask_gateway(scored: Scored) -> AsyncIterator[AskGateway]:
    """`await ask_gateway(rows)`: the answers to requests of 10,000 rows, and what was recorded of them in the end."""
    planes: list[DataPlane] = []

    async def ask(rows: pa.Table, **more_headers: str) -> pa.Table:
        observations = scored.agent._ports.require("observations")
        plane = DataPlane(
            scored.routes, scored.loader, observations, OneToken(), scored.clock, scored.agent.model, "g1"
        )
        planes.append(plane)
        await plane.start()
        api = FastAPI()
        api.state.max_body_bytes, api.state.knows_token = 100_000_000, bool
        transport = httpx.ASGITransport(Application(api, plane))
        headers = {"Authorization": "Bearer good", "Content-Type": ARROW, **more_headers}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            table = await scored.routes.active_table("churn")
            assert table is not None
            while (route := plane._router.find_route("churn", NOW)) is None or route.loaded < set(table.versions):
                await asyncio.sleep(0.01)
            answers = []
            for start in range(0, rows.num_rows, 10_000):
                response = await client.post(ASK, content=stream(rows.slice(start, 10_000).combine_chunks()))
                assert response.status_code == 200, response.text
                answers.append(pa.ipc.open_stream(response.content).read_all())
        await plane.close()
        return pa.concat_tables(answers)

    yield ask
    for plane in planes:
        await plane.close()


def recorded_rows(scored: Scored) -> list[pa.Table]:
    observations = scored.agent._ports.require("observations")
    observations.drain("churn")
    tables: list[pa.Table] = observations.predictions("churn", 0.0, 1e12)
    return tables


@pytest.mark.parametrize("mixed", [False, True], ids=["champion", "mixture"])
async def test_the_same_rows_get_the_same_bits(
    scored: Scored, ask_gateway: AskGateway, make_rows: Callable[..., pa.Table], mixed: bool
) -> None:
    await scored.answer_by(mixture_weights(scored.spec) if mixed else None)
    rows = features_of(make_rows(ROWS, seed=9)).append_column("id", [[f"r{row}" for row in range(ROWS)]])
    account, output = await scored(rows)
    answers = await ask_gateway(rows)
    assert (account.rows, account.version) == (ROWS, "mixture" if mixed else "1")
    assert set(output["version"].to_pylist()) == {account.version}
    assert output.schema.names == [*answers.schema.names, "version"]
    for name in answers.schema.names:
        assert output[name].to_pylist() == answers[name].to_pylist(), name


@pytest.mark.parametrize("mixed", [False, True], ids=["champion", "mixture"])
async def test_the_same_rows_get_the_same_sets_of_labels(
    scored: Scored, ask_gateway: AskGateway, make_rows: Callable[..., pa.Table], mixed: bool
) -> None:
    await scored.answer_by(mixture_weights(scored.spec) if mixed else None, intervals=KEPT)
    rows = features_of(make_rows(500, seed=9))
    _, output = await scored(rows, interval=0.85)
    answers = await ask_gateway(rows, **{"X-Optagent-Interval": "0.85"})
    assert output.schema.names[-3:] == ["set", "level", "version"]
    assert {len(labels) for labels in output["set"].to_pylist()} == {1, 2}
    assert set(output["level"].to_pylist()) == {0.9}
    for name in ("set", "level"):
        assert output[name].to_pylist() == answers[name].to_pylist(), name


@pytest.mark.parametrize("mixed", [False, True], ids=["champion", "mixture"])
async def test_rows_are_recorded_as_a_gateway_records_them(
    scored: Scored, ask_gateway: AskGateway, make_rows: Callable[..., pa.Table], mixed: bool
) -> None:
    await scored.answer_by(mixture_weights(scored.spec) if mixed else None)
    rows = features_of(make_rows(300, seed=9)).append_column("id", [[f"r{row}" for row in range(300)]])
    account, _ = await scored(rows, record=True)
    assert account.recorded == 300
    [mine] = recorded_rows(scored)
    await ask_gateway(rows)
    both = pa.concat_tables(recorded_rows(scored))
    theirs = both.slice(300)
    assert both.num_rows == 600
    assert mine.schema.names == theirs.schema.names
    for name in set(mine.schema.names) - {"latency_ms"}:
        assert mine[name].to_pylist() == theirs[name].to_pylist(), name


async def test_a_slot_that_fails_is_left_out_and_said(
    scored: Scored, ask_gateway: AskGateway, make_rows: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    await scored.answer_by(mixture_weights(scored.spec))
    load = scored.loader.load

    def load_with_a_fault(model_id: str, version: str, digest: str = "") -> Any:
        model = load(model_id, version, digest)
        if version == "3":
            model.engine.scores = _raise  # type: ignore[method-assign]
            model.engine.graph = b""  # type: ignore[attr-defined]
        return model

    monkeypatch.setattr(scored.loader, "load", load_with_a_fault)
    rows = features_of(make_rows(1_000, seed=9))
    account, output = await scored(rows)
    assert "slot '1/4' did not answer 1,000 of 1,000 rows, and was left out of them" in account.notes
    answers = await ask_gateway(rows)
    assert output["probability_yes"].to_pylist() == answers["probability_yes"].to_pylist()


def _raise(x: Any) -> Any:
    raise RuntimeError("no such luck")
