"""Data plane over HTTP: the answers, the versions that give them, and what never happens to the champion's callers."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from fastapi import FastAPI

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.arrays import Matrix, Prediction
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.routing import RoutingTable
from optagent.errors import CorruptBundle, ModelNotFound
from optagent.serving.engine import ServedModel
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.asgi import Application
from serve_app.data_plane.gateway import Backlogs, DataPlane
from tests.fakes.data_plane import OneToken
from tests.fakes.routes import InMemoryRoutes

NOW = 1_700_000_000.0
SCHEMA = Schema(
    (FeatureColumn("a", Kind.NUMERIC), FeatureColumn("city", Kind.CATEGORICAL, ("Bern", "Oslo"))),
    "label",
    Task.BINARY,
    ("no", "yes"),
)
ROW = {"a": 1.5, "city": "Oslo"}
PREDICT = "/api/v1/models/churn/predict"
ROLES = {"warm": ("1", "2"), "rollout_id": "r1"}

Behaviour = Callable[[Matrix], Prediction]


def constant_scores(value: float) -> Behaviour:
    return lambda x: np.full(len(x), value)


def raise_error(x: Matrix) -> Prediction:
    raise RuntimeError("no such luck")


class Acts:
    """An engine with the behaviour of a test."""

    name = "acts"

    def __init__(self, behaviour: Behaviour, blocks: bool = False) -> None:
        self.blocks = blocks
        self.scores = behaviour

    def close(self) -> None:
        pass


class Versions:
    """A loader of the engines of a test; an error among them is raised."""

    def __init__(self) -> None:
        self.engines: dict[str, Acts | Exception] = {}
        self.schemas: dict[str, Schema] = {}

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        engine = self.engines[version]
        if isinstance(engine, Exception):
            raise engine
        return ServedModel(self.schemas.get(version, SCHEMA), engine, version, most_rows=1000)

    def keep(self, digests: Collection[str]) -> None:
        pass

    def close(self) -> None:
        pass


class Gateway:
    """A data plane with its surroundings."""

    def __init__(self, versions: Versions, shadow_backlog: int = 10_000, settling_s: float = 0.0) -> None:
        self.clock = ManualClock(NOW)
        self.routes = InMemoryRoutes(self.clock)
        self.observations = InMemoryObservations()
        self.plane = DataPlane(
            self.routes,
            versions,
            self.observations,
            OneToken(),
            self.clock,
            find_model,
            "g1",
            Backlogs(shadow_backlog),
            settling_s,
        )
        api = FastAPI()
        api.state.max_body_bytes, api.state.knows_token = 1_000_000, bool
        transport = httpx.ASGITransport(Application(api, self.plane), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"Authorization": "Bearer good"}
        )

    async def answer_by(self, at: float = NOW, **table: Any) -> None:
        """Makes a table the active one, once its versions are loaded."""
        active = await self.routes.active_table("churn")
        revision = active.revision + 1 if active else 1
        await self.routes.stage(RoutingTable("churn", revision, **table))
        while not await self.routes.acknowledgements("churn", revision):
            await asyncio.sleep(0.001)
        await self.routes.activate("churn", revision, at)
        await asyncio.sleep(0.001)

    async def predict(self, body: Any = None, **options: Any) -> httpx.Response:
        return await self.client.post(PREDICT, json={"rows": [ROW]} if body is None else body, **options)

    async def answering_version(self, **options: Any) -> str:
        """The version that answers one row."""
        response = await self.predict(**options)
        assert response.status_code == 200, response.text
        return response.json()["predictions"][0]["version"]

    async def read_records(self) -> Mapping[str, list[dict[str, Any]]]:
        """Everything that is recorded by the end, by kind."""
        await self.plane.close()
        self.observations.drain("churn")
        tables_by_kind = {
            "predictions": self.observations.predictions("churn", NOW - 1e6, NOW + 1e6),
            "evidence": self.observations.evidence("churn", NOW - 1e6),
            "labels": self.observations.labels("churn", NOW - 1e6),
        }
        return {kind: [row for table in tables for row in table.to_pylist()] for kind, tables in tables_by_kind.items()}


async def find_model(model_id: str) -> ModelSpec:
    if model_id not in ("churn", "new"):
        raise ModelNotFound(f"there is no model {model_id}")
    return ModelSpec(model_id, Task.BINARY, FileSource("rows.csv"), "label")


@pytest.fixture
def versions() -> Versions:
    """Two versions that answer: 1 says no, 2 says yes."""
    versions = Versions()
    versions.engines = {"1": Acts(constant_scores(0.25)), "2": Acts(constant_scores(0.75))}
    return versions


@pytest.fixture
async def gateway(versions: Versions) -> AsyncIterator[Gateway]:
    gateway = Gateway(versions)
    await gateway.plane.start()
    yield gateway
    await gateway.plane.close()
    await gateway.client.aclose()


async def test_a_row_is_answered_and_recorded_as_it_came(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1")
    answer = (await gateway.predict()).json()
    [prediction] = answer["predictions"]
    expected = {"prediction": "no", "probabilities": {"no": 0.75, "yes": 0.25}, "version": "1"}
    assert answer == {"model_id": "churn", "predictions": [{**expected, "id": prediction["id"]}]}
    [row] = (await gateway.read_records())["predictions"]
    assert row.pop("time").timestamp() == NOW
    assert 0 < row.pop("latency_ms") < 1000
    assert row == {
        **ROW,
        "id": prediction["id"],
        "prediction": "no",
        "probability_no": 0.75,
        "probability_yes": 0.25,
        "version": "1",
        "arm": "champion",
    }


async def test_rows_of_every_form_get_the_same_answers(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1")
    ids = ["x", "y"]
    rows = [ROW, {"a": None, "city": None}]
    first = (await gateway.predict({"rows": rows, "ids": ids})).json()
    assert [prediction["id"] for prediction in first["predictions"]] == ids
    columns = {name: [row[name] for row in rows] for name in ROW}
    assert (await gateway.predict({"rows": columns, "ids": ids})).json() == first
    assert (await gateway.predict({"row": ROW, "ids": ["x"]})).json()["predictions"] == first["predictions"][:1]
    table = pa.table({**columns, "id": ids})
    response = await gateway.client.post(PREDICT, content=stream(table), headers={"Content-Type": ARROW})
    assert response.headers["X-Optagent-Version"] == "1"
    answer_table = pa.ipc.open_stream(response.content).read_all()
    assert answer_table.to_pydict() == {
        "id": ids,
        "prediction": ["no", "no"],
        "probability_no": [0.75, 0.75],
        "probability_yes": [0.25, 0.25],
    }


async def test_many_rows_are_answered_in_a_thread_like_few(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1")
    answer = (await gateway.predict({"rows": [ROW] * 1000})).json()["predictions"]
    assert len({prediction["id"] for prediction in answer}) == 1000
    assert len((await gateway.read_records())["predictions"]) == 1000


ARROW = "application/vnd.apache.arrow.stream"


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


TABLE = pa.table({"a": [1.5], "city": ["Oslo"]})
JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "content_type", "code", "detail"),
    [
        (b"", JSON, 400, "no JSON"),
        (b'{"rows": [{"a": NaN, "city": null}]}', JSON, 400, "no JSON"),
        (b'{"rows": [{"a": Infinity, "city": null}]}', JSON, 400, "no JSON"),
        (b'{"rows": [{"a": 1, "city": "\xff"}]}', JSON, 400, "not UTF-8"),
        (b'{"rows": [{"a": 1, "city": "\\ud800"}]}', JSON, 400, "no JSON"),
        (b'{"rows": [{"a": ' + b"[" * 90_000, JSON, 400, "nested too deeply"),
        (b'{"rows": [{"a": ' + b"[" * 200_000, JSON, 413, "objects and lists"),
        (b'{"rows": [{"a": ' + b"[" * 500 + b"]" * 500 + b', "city": null}]}', JSON, 422, "row 0: column 'a'"),
        (b'{"rows": [{"a": 1e39, "city": null}]}', JSON, 422, "row 0: column 'a' takes a finite"),
        (b'{"rows": [{"a": 1e999, "city": null}]}', JSON, 422, "out of range"),
        (b'{"rows": [{"a": "1", "city": null}]}', JSON, 422, "row 0: column 'a' takes a number"),
        (b'{"rows": [{"a": 1, "city": null}, {"a": 1}]}', JSON, 422, "row 1: the column 'city' is missing"),
        (b'{"rows": [{"a": 1, "city": null, "b": 2}]}', JSON, 422, "row 0: no column 'b'"),
        (b'{"rows": [7]}', JSON, 422, "$.rows[0]"),
        (b'{"rows": []}', JSON, 422, "there is none"),
        (b'{"rows": {}}', JSON, 422, "'a' is missing"),
        (b'{"rows": {"a": [1, 2], "city": ["x"]}}', JSON, 422, "'city' has 1 values"),
        (b"{}", JSON, 422, "give 'rows'"),
        (b"[]", JSON, 422, "Expected `object`"),
        (b'{"row": {"a": 1, "city": "x"}, "id": "7"}', JSON, 422, "unknown field `id`"),
        (b'{"row": {"a": 1, "city": "x"}, "ids": ["x", "y"]}', JSON, 422, "2 for 1 rows"),
        (b'{"rows": [{"a": 1, "city": "x"}, {"a": 1, "city": "x"}], "ids": ["x", "x"]}', JSON, 422, "stands twice"),
        (b'{"row": {"a": 1, "city": "x"}, "key": ""}', JSON, 422, "key: 1 to 200"),
        (json.dumps({"rows": [ROW] * 1001}).encode(), JSON, 413, "1,001 in one call"),
        (b"x" * 1_000_001, JSON, 413, "larger than 1,000,000 bytes"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "send application/json or"),
        (b"no arrow at all", ARROW, 400, "Arrow"),
        (stream(TABLE)[:-40], ARROW, 400, "Arrow"),
        (stream(TABLE, compression="zstd"), ARROW, 415, "compressed"),
        (stream(TABLE.drop_columns(["a"])), ARROW, 422, "'a' is missing"),
        (stream(TABLE.append_column("id", [[1.5]])), ARROW, 422, "column 'id'"),
    ],
)
async def test_what_is_wrong_is_refused_by_its_place(
    gateway: Gateway, body: bytes, content_type: str, code: int, detail: str
) -> None:
    await gateway.answer_by(champion="1")
    response = await gateway.client.post(PREDICT, content=body, headers={"Content-Type": content_type})
    assert response.status_code == code, response.text
    assert detail in response.json()["detail"]
    assert response.json()["instance"] == response.headers["X-Request-ID"]


async def test_who_has_no_token_is_refused_before_anything_is_said_of_a_model(gateway: Gateway) -> None:
    for path in (PREDICT, "/api/v1/models/none/predict", "/api/v1/models/churn/labels"):
        response = await gateway.client.post(path, json={}, headers={"Authorization": "Bearer bad"})
        assert (response.status_code, response.json()["title"]) == (401, "Not authenticated")


async def test_a_model_that_nobody_answers_for_is_refused_with_the_reason(gateway: Gateway, versions: Versions) -> None:
    assert (await gateway.client.post("/api/v1/models/none/predict", json={"row": ROW})).status_code == 404
    response = await gateway.client.post("/api/v1/models/new/predict", json={"row": ROW})
    assert (response.status_code, "has no champion yet" in response.text) == (409, True)
    versions.engines["1"] = CorruptBundle("model.txt: altered")
    await gateway.answer_by(champion="1")
    response = await gateway.predict()
    assert (response.status_code, "altered" in response.text) == (503, True)


async def test_after_a_start_a_request_waits_for_the_table_of_its_model(versions: Versions) -> None:
    gateway = Gateway(versions, settling_s=60.0)
    await gateway.plane.start()
    asked = asyncio.create_task(gateway.predict())
    await asyncio.sleep(0.01)
    assert not asked.done()
    await gateway.answer_by(champion="1")
    assert (await asked).status_code == 200
    assert (await gateway.client.post("/api/v1/models/none/predict", json={"row": ROW})).status_code == 404
    await gateway.plane.close()
    await gateway.client.aclose()


async def test_before_the_tables_are_known_nothing_is_said_of_models(versions: Versions) -> None:
    gateway = Gateway(versions)  # not started
    assert (await gateway.predict()).status_code == 503
    assert not gateway.plane.ready


async def test_a_key_is_answered_by_the_same_version_every_time(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1", candidate="2", share=0.5, state="ramp", **ROLES)
    version_of_user = {}
    for user in range(40):
        by_header = await gateway.answering_version(headers={"X-Optagent-Key": f"user {user}"})
        by_field = await gateway.answering_version(body={"row": ROW, "key": f"user {user}"})
        assert by_header == by_field
        version_of_user[user] = by_field
    assert min(Counter(version_of_user.values()).values()) > 8
    evidence = (await gateway.read_records())["evidence"]
    assert len(evidence) == 80
    for row in evidence:
        candidate = version_of_user[int(row["unit"].split()[1])] == "2"
        assert row["arm"] == ("candidate" if candidate else "champion")
        assert row["version"] == ("2" if candidate else "1")
        assert (row["share"], row["failed"]) == (0.5, False)
    both = [row for row in evidence if None not in (row["champion_0"], row["candidate_0"])]
    assert {(row["champion_0"], row["candidate_0"]) for row in both} == {(0.25, 0.75)}
    assert len(both) > 40  # the version that did not answer is asked beside, those that waited at the end excepted


def hang_until(until: threading.Event) -> Behaviour:
    def hang(x: Matrix) -> Prediction:
        until.wait(10)
        return np.full(len(x), 0.75)

    return hang


@pytest.fixture
def released() -> Any:
    """Set at the end, so that no thread is left hanging."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("trouble", ["raises", "is no number", "hangs", "wants other rows"])
async def test_where_the_candidate_fails_the_champion_answers_within_the_budget(
    gateway: Gateway, versions: Versions, released: threading.Event, trouble: str
) -> None:
    behaviour = {
        "raises": raise_error,
        "is no number": constant_scores(float("nan")),
        "hangs": hang_until(released),
    }.get(trouble, constant_scores(0.75))
    versions.engines["2"] = Acts(behaviour, blocks=trouble == "hangs")
    if trouble == "wants other rows":
        versions.schemas["2"] = Schema((FeatureColumn("z", Kind.NUMERIC),), "label", Task.BINARY, ("no", "yes"))
    await gateway.answer_by(champion="1", candidate="2", share=0.999, state="ramp", budget_ms=30.0, **ROLES)
    started_at = time.perf_counter()
    answers = await asyncio.gather(
        *(gateway.answering_version(body={"row": ROW, "key": str(user)}) for user in range(8))
    )
    assert answers == ["1"] * 8
    assert time.perf_counter() - started_at < 1
    assert gateway.plane.metrics.of_model("churn").fallbacks == 8
    released.set()
    records = await gateway.read_records()
    assert all(
        row["failed"] and row["candidate_0"] is None and row["champion_0"] == 0.25 for row in records["evidence"]
    )
    assert all(row["latency_ms"] > 30 for row in records["evidence"]) is (trouble == "hangs")
    assert {(row["arm"], row["version"]) for row in records["predictions"]} == {("candidate", "1")}


async def test_rows_that_the_champion_refuses_are_no_failure_of_the_candidate(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1", candidate="2", share=0.999, state="ramp", **ROLES)
    assert (await gateway.predict({"row": {"a": "x", "city": None}})).status_code == 422
    assert (await gateway.read_records())["evidence"] == []


async def test_while_baking_the_champion_of_before_stands_behind_the_new_one(
    gateway: Gateway, versions: Versions
) -> None:
    versions.engines["2"] = Acts(lambda x: raise_error(x) if x[0, 0] == 13 else np.full(len(x), 0.75))
    await gateway.answer_by(champion="2", shadow="1", state="baking", **ROLES)
    assert await gateway.answering_version() == "2"
    assert await gateway.answering_version(body={"row": {"a": 13, "city": None}}) == "1"
    await until(lambda: gateway.plane.metrics.of_model("churn").shadow_rows == 1)
    good, bad = sorted((await gateway.read_records())["evidence"], key=lambda row: row["failed"])
    names = ("version", "arm", "share", "champion_0", "candidate_0", "failed")
    assert [good[name] for name in names] == ["2", "candidate", 1.0, 0.25, 0.75, False]
    assert [bad[name] for name in names] == ["1", "candidate", 1.0, 0.25, None, True]


async def test_where_nobody_is_left_to_answer_it_says_so(gateway: Gateway, versions: Versions) -> None:
    versions.engines["1"] = Acts(raise_error)
    await gateway.answer_by(champion="1")
    response = await gateway.predict()
    assert (response.status_code, response.json()["title"]) == (503, "Engine failed")
    assert gateway.plane.metrics.of_model("churn").failed == 1


@pytest.mark.parametrize("shadow", [constant_scores(0.75), raise_error, constant_scores(float("nan"))])
async def test_a_shadow_is_asked_and_never_heard(gateway: Gateway, versions: Versions, shadow: Behaviour) -> None:
    versions.engines["2"] = Acts(shadow)
    await gateway.answer_by(champion="1", shadow="2", state="shadow", **ROLES)
    answers = [await gateway.answering_version(body={"row": ROW, "ids": [str(number)]}) for number in range(5)]
    assert answers == ["1"] * 5
    await until(lambda: gateway.plane.metrics.of_model("churn").shadow_rows == 5)
    evidence = (await gateway.read_records())["evidence"]
    fine = shadow not in (raise_error,) and not np.isnan(shadow(np.zeros((1, 2)))).any()
    assert [row["id"] for row in evidence] == ["0", "1", "2", "3", "4"]
    for row in evidence:
        assert (row["champion_0"], row["candidate_0"]) == (0.25, 0.75 if fine else None)
        assert (row["arm"], row["share"], row["failed"], row["version"]) == ("champion", 0.0, not fine, "1")
        assert 0 < row["latency_ms"] < 1000


async def test_a_shadow_that_hangs_costs_its_own_rows_only(versions: Versions, released: threading.Event) -> None:
    versions.engines["2"] = Acts(hang_until(released))
    gateway = Gateway(versions, shadow_backlog=10)
    await gateway.plane.start()
    await gateway.answer_by(champion="1", shadow="2", state="shadow", **ROLES)
    assert [await gateway.answering_version() for _ in range(50)] == ["1"] * 50
    assert gateway.plane.metrics.of_model("churn").shadow_dropped == 40
    released.set()
    await gateway.plane.close()


async def test_a_swap_under_load_fails_nobody_and_is_never_early_or_late(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1")
    answers: list[tuple[float, str]] = []
    stopped = False

    async def ask() -> None:
        while not stopped:
            arrival = gateway.clock.now()
            answers.append((arrival, await gateway.answering_version()))
            await asyncio.sleep(0)

    askers = [asyncio.create_task(ask()) for _ in range(4)]
    await gateway.answer_by(champion="2", at=NOW + 1)
    for _ in range(8):
        gateway.clock.advance(0.25)
        await asyncio.sleep(0.003)
    stopped = True
    await asyncio.gather(*askers)
    assert {version for arrival, version in answers if arrival < NOW + 1} == {"1"}
    assert {version for arrival, version in answers if arrival >= NOW + 1} == {"2"}


async def test_labels_are_recorded_by_the_id_of_their_prediction(gateway: Gateway) -> None:
    path = "/api/v1/models/churn/labels"
    body = {"labels": [{"id": "x", "label": "yes", "profit": 2}, {"id": 7, "label": "no", "profit": None}]}
    response = await gateway.client.post(path, json=body)
    assert response.json() == {"model_id": "churn", "recorded": 2}
    arrow = stream(pa.table({"id": ["z"], "label": ["no"]}))
    assert (await gateway.client.post(path, content=arrow, headers={"Content-Type": ARROW})).json()["recorded"] == 1
    for wrong, code in (({"labels": []}, 422), ({"labels": [{"id": "x"}]}, 422), ({}, 422)):
        assert (await gateway.client.post(path, json=wrong)).status_code == code
    assert (await gateway.client.post("/api/v1/models/none/labels", json=body)).status_code == 404
    labels = (await gateway.read_records())["labels"]
    assert [(row["id"], row["label"]) for row in labels] == [("x", "yes"), ("7", "no"), ("z", "no")]


def test_what_a_gateway_imports_is_no_library_of_models() -> None:
    heavy = ("mlflow", "catboost", "lightgbm", "xgboost", "sklearn", "scipy", "pandas", "ray", "onnx")
    source = f"import sys, serve_app.data_plane.gateway\nprint([name for name in {heavy} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


async def until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.002)
