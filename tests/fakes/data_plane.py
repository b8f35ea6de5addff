"""A data plane in one process: two models with engines that cost nothing, and observations that forget."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from fastapi import FastAPI

from optagent.adapters.in_memory.clock import ManualClock
from optagent.arrays import Matrix, Prediction
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.routing import RoutingTable
from optagent.domain.token import Scope
from optagent.errors import ModelNotFound, NotAuthenticated, Unavailable
from optagent.ports import Loader, RecordKind
from optagent.serving.engine import ServedModel
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.asgi import Application
from serve_app.data_plane.gateway import DataPlane
from tests.fakes.routes import InMemoryRoutes

NOW = 1_700_000_000.0
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
MOST_BODY = 10_000_000
ROW = {"a": 1.5, "city": "Oslo", "day": "2024-01-31", "flag": True}
SCHEMAS = {
    "churn": (
        FeatureColumn("a", Kind.NUMERIC),
        FeatureColumn("city", Kind.CATEGORICAL, ("Bern", "Oslo"), other=True),
        FeatureColumn("day", Kind.DATETIME),
        FeatureColumn("flag", Kind.BOOLEAN),
    ),
    "wide": tuple(FeatureColumn(f"feature_{number:03d}", Kind.NUMERIC) for number in range(300)),
}


class HalfEngine:
    """An engine that answers one half for every row."""

    name = "half"
    blocks = False

    def scores(self, x: Matrix) -> Prediction:
        return np.full(len(x), 0.5)

    def close(self) -> None:
        pass


class HalfLoader:
    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        schema = Schema(SCHEMAS[model_id], "label", Task.BINARY, ("no", "yes"))
        return ServedModel(schema, HalfEngine(), version)

    def keep(self, digests: Collection[str]) -> None:
        pass

    def close(self) -> None:
        pass


class OneToken:
    async def principal(self, authorization: str | None, scope: Scope, request_id: str = "", model_id: str = "") -> str:
        assert scope in (Scope.PREDICT, Scope.LABEL)
        if authorization != "Bearer good":
            raise NotAuthenticated("a token is needed")
        return "me"


@dataclass
class CountingObservations:
    """Observations that count the rows and columns that they were given, and keep none; they can be away."""

    tables: list[tuple[RecordKind, int, int]] = field(default_factory=list)
    are_away: bool = False

    def record(self, model_id: str, kind: RecordKind, rows: pa.Table) -> None:
        if self.are_away:
            raise Unavailable("Redis does not answer")
        self.tables.append((kind, rows.num_rows, rows.num_columns))

    def shapes(self, kind: RecordKind) -> list[tuple[int, int]]:
        """The rows and columns of the tables of a kind."""
        return [(rows, columns) for table_kind, rows, columns in self.tables if table_kind is kind]


async def find_model(model_id: str) -> ModelSpec:
    if model_id not in SCHEMAS:
        raise ModelNotFound(f"there is no model {model_id}")
    return ModelSpec(model_id, Task.BINARY, FileSource("rows.csv"), "label")


class PlaneCaller:
    """Calls a data plane as a server does, without a network."""

    def __init__(self, loader: Loader | None = None) -> None:
        self.observations = CountingObservations()
        self.routes = InMemoryRoutes(ManualClock(NOW))
        self.plane = DataPlane(
            self.routes, loader or HalfLoader(), self.observations, OneToken(), ManualClock(NOW), find_model, "g1"
        )
        api = FastAPI()
        api.state.max_body_bytes, api.state.knows_token = MOST_BODY, lambda authorization: True
        self.application = Application(api, self.plane)

    async def start(self) -> None:
        await self.plane.start()
        for model_id in SCHEMAS:
            await self.routes.stage(RoutingTable(model_id, 1, champion="1"))
            while not await self.routes.acknowledgements(model_id, 1):
                await asyncio.sleep(0.001)
            await self.routes.activate(model_id, 1, NOW)
        await asyncio.sleep(0.01)

    async def post(
        self, body: bytes, content_type: str = JSON, model_id: str = "churn", verb: str = "predict", chunk: int = 0
    ) -> tuple[int, bytes]:
        """The status and the body of an answer; the body is sent in parts of `chunk` bytes if that is set."""
        headers = [(b"authorization", b"Bearer good"), (b"content-type", content_type.encode())]
        headers.append((b"transfer-encoding", b"chunked") if chunk else (b"content-length", b"%d" % len(body)))
        path = f"/api/v1/models/{model_id}/{verb}"
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": headers}
        size = chunk or len(body) or 1
        parts = iter([body[at : at + size] for at in range(0, len(body), size)] or [b""])
        remaining = -(-len(body) // size) or 1
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            nonlocal remaining
            remaining -= 1
            return {"type": "http.request", "body": next(parts), "more_body": remaining > 0}

        async def send(message: Any) -> None:
            messages.append(message)

        await self.application(scope, receive, send)
        return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])

    async def refusal(self, body: bytes, content_type: str = JSON, **options: Any) -> tuple[int, str]:
        """The status and the reason of a refusal."""
        status, answer = await self.post(body, content_type, **options)
        return status, json.loads(answer).get("detail", "") if status >= 400 else ""


@contextlib.asynccontextmanager
async def started_plane() -> AsyncIterator[PlaneCaller]:
    caller = PlaneCaller()
    await caller.start()
    try:
        yield caller
    finally:
        await caller.plane.close()


def stream(*batches: pa.RecordBatch | pa.Table, **options: Any) -> bytes:
    """A stream of Arrow."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write(batch)
    return bytes(sink.getvalue().to_pybytes())
