"""Fusion of a mixture's versions: they are asked in one call where that is possible, and otherwise one by one."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.serving.engine import ServedModel
from optagent.serving.fusion import Fusion
from optagent.serving.onnx_engine import OnnxEngine
from optagent.serving.onnx_graph import Graph
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.data_plane.mixture import MixtureRoute
from tests.unit.serve_app.data_plane.test_gateway import NOW, ROW, SCHEMA, Acts, Gateway, Versions, constant_scores
from tests.unit.serve_app.data_plane.test_mixture import WEIGHTS, mixed_score, share_of_yes, slot_failures, weights_of

CITY = FeatureColumn("city", Kind.CATEGORICAL, ("Oslo", "Bern"))
OTHER = Schema((FeatureColumn("a", Kind.NUMERIC), CITY), "label", Task.BINARY, ("no", "yes"))


class CountingOnnx(OnnxEngine):
    """A compiled model, the sigmoid of a times `weight`, that counts the calls to it alone."""

    def __init__(self, weight: float) -> None:
        graph = Graph(2)
        column = graph.add("Gather", graph.rows, graph.constant(np.array([0])), axis=1)
        margin = graph.add("Mul", graph.cast(column, 64), graph.constant(np.float64(weight)))
        super().__init__(graph.model(graph.add("Sigmoid", margin), 1), 2, 1)
        self.calls = 0

    def scores(self, x: Any) -> Any:
        self.calls += 1
        return super().scores(x)


class RaisingEngine:
    def scores_of_each(self, x: Any) -> Any:
        raise RuntimeError("no such luck")


@pytest.fixture
def engines() -> dict[str, CountingOnnx]:
    return {"1": CountingOnnx(1.0), "2": CountingOnnx(-1.0), "3": CountingOnnx(0.5)}


@pytest.fixture
async def gateway(engines: dict[str, CountingOnnx]) -> AsyncIterator[Gateway]:
    versions = Versions()
    versions.engines = dict(engines)  # type: ignore[arg-type]
    gateway = Gateway(versions)
    await gateway.plane.start()
    yield gateway
    await gateway.plane.close()
    await gateway.client.aclose()


async def fused_mixture(gateway: Gateway) -> MixtureRoute:
    """The mixture that answers, once its versions are fused."""
    route = gateway.plane._router.find_route("churn", NOW)
    assert route is not None
    assert route.mixture is not None
    give_up = time.monotonic() + 10
    while route.mixture.fusion.engine is None:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.002)
    return route.mixture


def expected_share(engines: dict[str, CountingOnnx]) -> float:
    x = np.array([[ROW["a"], 1.0]], np.float32)
    return mixed_score(*(float(OnnxEngine.scores(engine, x)[0]) for engine in engines.values()))


async def test_compiled_versions_are_asked_in_one_call(gateway: Gateway, engines: dict[str, CountingOnnx]) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    await fused_mixture(gateway)
    before = [engine.calls for engine in engines.values()]
    assert await share_of_yes(gateway) == expected_share(engines)
    assert [engine.calls for engine in engines.values()] == before
    many = (await gateway.predict({"rows": [ROW] * 1000})).json()["predictions"]
    np.testing.assert_allclose([row["probabilities"]["yes"] for row in many], expected_share(engines), rtol=1e-12)
    assert [engine.calls for engine in engines.values()] == before


async def test_newer_weights_of_the_same_versions_need_no_other_fusion(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    earlier = await fused_mixture(gateway)
    await gateway.answer_by(champion="1", mixture=weights_of(("1", "2", "3"), "d2"))
    newer = await fused_mixture(gateway)
    assert newer is not earlier
    assert newer.fusion is earlier.fusion


async def test_where_the_one_call_fails_each_version_is_asked_alone(
    gateway: Gateway, engines: dict[str, CountingOnnx]
) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    (await fused_mixture(gateway)).fusion.engine = RaisingEngine()  # type: ignore[assignment]
    assert await share_of_yes(gateway) == expected_share(engines)
    assert slot_failures(gateway) == {}


@pytest.mark.parametrize(
    "models",
    [
        [ServedModel(SCHEMA, CountingOnnx(1.0), "1")],
        [ServedModel(SCHEMA, CountingOnnx(1.0), "1"), ServedModel(SCHEMA, Acts(constant_scores(0.5)), "2")],
        [ServedModel(SCHEMA, CountingOnnx(1.0), "1"), ServedModel(OTHER, CountingOnnx(1.0), "2")],
    ],
    ids=["a single one", "one that is not compiled", "one that reads rows otherwise"],
)
def test_other_versions_are_not_fused(models: list[ServedModel]) -> None:
    assert not Fusion(models).is_possible


def test_graphs_that_are_too_large_together_are_not_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [ServedModel(SCHEMA, CountingOnnx(1.0), name) for name in ("1", "2")]
    assert Fusion(models).is_possible
    monkeypatch.setattr("optagent.serving.fusion.MOST_BYTES", 100)
    assert not Fusion(models).is_possible


def test_graphs_that_cannot_be_fused_are_asked_one_by_one() -> None:
    models = [ServedModel(SCHEMA, CountingOnnx(1.0), name) for name in ("1", "2")]
    models[1].engine.graph = b"no graph"  # type: ignore[attr-defined]
    fusion = Fusion(models)
    fusion.make()
    assert fusion.engine is None
