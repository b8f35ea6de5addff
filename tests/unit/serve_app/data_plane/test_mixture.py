"""Mixture in the data plane: all slots answer together, one that does not is left out, and each record says which."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.domain.routing import RoutingTable
from optagent.errors import CorruptBundle
from optagent.mixing.learner import MixtureLearner
from optagent.mixing.scorer import MixtureScorer
from optagent.serving.mixture_record import read_said
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.data_plane.breaker import FAILURES
from tests.unit.serve_app.data_plane.test_gateway import (
    ARROW,
    NOW,
    PREDICT,
    ROW,
    SCHEMA,
    Acts,
    Behaviour,
    Gateway,
    Versions,
    constant_scores,
    hang_until,
    raise_error,
    stream,
)

SLOTS = ("champion", "all", "1/4")
SAID_OF_SLOTS = slice(4, 7)


def weights_of(
    versions: tuple[str, ...], digest: str = "d1", task: Task = Task.BINARY, slots: tuple[str, ...] = SLOTS
) -> MixtureWeights:
    """The weights that a learner begins with."""
    return replace(MixtureLearner(task, slots).weights(versions), digest=digest)


WEIGHTS = weights_of(("1", "2", "3"))


def mixed_score(*scores: float, weights: MixtureWeights = WEIGHTS) -> float:
    """The answer to a row by the scores of all slots, NaN for one that does not answer."""
    return float(MixtureScorer(weights).mix(np.array(scores).reshape(1, -1, 1)).scores[0])


class Counting(Acts):
    """An engine that counts its calls."""

    def __init__(self, behaviour: Behaviour, blocks: bool = False) -> None:
        super().__init__(behaviour, blocks)
        self.calls = 0
        self.scores = self._count_and_score  # type: ignore[method-assign]
        self._behaviour = behaviour

    def _count_and_score(self, x: Any) -> Any:
        self.calls += 1
        return self._behaviour(x)


class Loads(Versions):
    """A loader that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []

    def load(self, model_id: str, version: str, digest: str = "") -> Any:
        self.loads.append(version)
        return super().load(model_id, version, digest)


@pytest.fixture
def versions() -> Loads:
    """Three versions that answer."""
    versions = Loads()
    shares = {"1": 0.25, "2": 0.75, "3": 0.5}
    versions.engines = {name: Counting(constant_scores(share)) for name, share in shares.items()}
    return versions


@pytest.fixture
async def gateway(versions: Loads) -> AsyncIterator[Gateway]:
    gateway = Gateway(versions)
    await gateway.plane.start()
    yield gateway
    await gateway.plane.close()
    await gateway.client.aclose()


@pytest.fixture
def released() -> Any:
    """Set at the end, so that no thread is left hanging."""
    event = threading.Event()
    yield event
    event.set()


async def share_of_yes(gateway: Gateway, row: dict[str, Any] = ROW) -> float:
    """The mixture's probability for one row."""
    response = await gateway.predict({"row": row})
    assert response.status_code == 200, response.text
    [answer] = response.json()["predictions"]
    assert answer["version"] == "mixture"
    return float(answer["probabilities"]["yes"])


def slot_failures(gateway: Gateway) -> dict[str, int]:
    return gateway.plane.metrics.of_model("churn").slot_failures


async def read_predictions(gateway: Gateway) -> list[pa.Table]:
    await gateway.plane.close()
    gateway.observations.drain("churn")
    return gateway.observations.predictions("churn", NOW - 1e6, NOW + 1e6)


async def test_all_slots_answer_together(gateway: Gateway, versions: Loads) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    assert await share_of_yes(gateway) == mixed_score(0.25, 0.75, 0.5)
    assert slot_failures(gateway) == {}
    assert [engine.calls for engine in versions.engines.values()] == [1, 1, 1]


async def test_a_version_of_several_slots_is_asked_once(gateway: Gateway, versions: Loads) -> None:
    await gateway.answer_by(champion="1", mixture=weights_of(("1", "1", "2")))
    assert await share_of_yes(gateway) == mixed_score(0.25, 0.25, 0.75)
    assert [versions.engines[name].calls for name in ("1", "2")] == [1, 1]


async def test_an_answer_in_arrow_names_the_mixture_too(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    body = stream(pa.table({"a": [1.5, 2.0], "city": ["Oslo", None]}))
    response = await gateway.client.post(PREDICT, content=body, headers={"Content-Type": ARROW})
    assert response.headers["X-Optagent-Version"] == "mixture"
    answers = pa.ipc.open_stream(response.content).read_all()
    assert answers["probability_yes"].to_pylist() == [mixed_score(0.25, 0.75, 0.5)] * 2


async def test_many_rows_are_mixed_like_few(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    answers = (await gateway.predict({"rows": [ROW] * 1000})).json()["predictions"]
    shares = np.array([answer["probabilities"]["yes"] for answer in answers])
    np.testing.assert_allclose(shares, mixed_score(0.25, 0.75, 0.5), rtol=1e-12)
    [table] = await read_predictions(gateway)
    assert table.num_rows == 1000


async def test_each_record_keeps_what_every_slot_said(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    share = await share_of_yes(gateway)
    [table] = await read_predictions(gateway)
    [row] = table.to_pylist()
    assert (row["version"], row["arm"], row["probability_yes"], row["city"]) == ("1", "champion", share, "Oslo")
    slots, digests, said = read_said(table, 1) or pytest.fail("nothing is recorded of the slots")
    assert (slots.to_pylist(), digests.to_pylist()) == (["champion|all|1/4"], ["d1"])
    expected = MixtureScorer(WEIGHTS).mix(np.array([[[0.25], [0.75], [0.5]]])).said
    np.testing.assert_array_equal(said, expected)
    assert said[0, SAID_OF_SLOTS, 0].tolist() == [0.25, 0.75, 0.5]


async def test_records_of_other_slots_go_into_another_table_and_those_of_newer_weights_into_the_same(
    gateway: Gateway,
) -> None:
    tables = {
        "d1": WEIGHTS,
        "d2": weights_of(("1", "2", "3"), "d2"),
        "d3": weights_of(("1", "2"), "d3", slots=("champion", "90d")),
    }
    for weights in tables.values():
        await gateway.answer_by(champion="1", mixture=weights)
        await share_of_yes(gateway)
    await gateway.answer_by(champion="1")
    await gateway.predict()
    recorded = {}
    for table in await read_predictions(gateway):
        said = read_said(table, 1)
        recorded[table.num_columns] = None if said is None else said[1].to_pylist()
    alone, two, three = sorted(recorded)
    assert (recorded[alone], recorded[two], sorted(recorded[three])) == (None, ["d3"], ["d1", "d2"])


async def test_a_feature_with_the_name_of_such_a_column_is_left_out(gateway: Gateway, versions: Loads) -> None:
    schema = Schema((FeatureColumn("said_1", Kind.NUMERIC),), "label", Task.BINARY, ("no", "yes"))
    versions.schemas = dict.fromkeys(("1", "2", "3"), schema)
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    await share_of_yes(gateway, {"said_1": 1e6})
    [table] = await read_predictions(gateway)
    assert table["said_1"].to_pylist() != [1e6]


TROUBLES: dict[str, Behaviour] = {
    "raises": raise_error,
    "answers NaN": constant_scores(float("nan")),
    "answers infinity": constant_scores(float("inf")),
    "answers too many rows": lambda x: np.full(len(x) + 1, 0.5),
    "answers for three classes": lambda x: np.full((len(x), 3), 0.3),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("blocks", [False, True])
async def test_a_slot_that_fails_or_answers_nan_is_left_out(
    gateway: Gateway, versions: Loads, trouble: str, blocks: bool
) -> None:
    versions.engines["2"] = Acts(TROUBLES[trouble], blocks)
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    assert await share_of_yes(gateway) == mixed_score(0.25, np.nan, 0.5)
    assert slot_failures(gateway) == {"all": 1}
    [table] = await read_predictions(gateway)
    said = (read_said(table, 1) or pytest.fail("nothing is recorded of the slots"))[2]
    np.testing.assert_array_equal(said[0, SAID_OF_SLOTS, 0], [0.25, np.nan, 0.5])


async def test_a_row_without_a_number_leaves_a_slot_out_of_that_row_only(gateway: Gateway, versions: Loads) -> None:
    versions.engines["2"] = Acts(lambda x: np.where(x[:, 0] == 13, np.nan, 0.75))
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    answers = (await gateway.predict({"rows": [ROW, {"a": 13, "city": None}]})).json()["predictions"]
    shares = [answer["probabilities"]["yes"] for answer in answers]
    assert shares == pytest.approx([mixed_score(0.25, 0.75, 0.5), mixed_score(0.25, np.nan, 0.5)], abs=1e-12)


async def test_a_slot_that_wants_other_rows_is_left_out(gateway: Gateway, versions: Loads) -> None:
    versions.schemas["2"] = Schema((FeatureColumn("z", Kind.NUMERIC),), "label", Task.BINARY, ("no", "yes"))
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    assert await share_of_yes(gateway) == mixed_score(0.25, np.nan, 0.5)


async def test_a_slot_that_encodes_its_rows_otherwise_is_asked_by_its_own_encoding(
    gateway: Gateway, versions: Loads
) -> None:
    columns = (FeatureColumn("a", Kind.NUMERIC), FeatureColumn("city", Kind.CATEGORICAL, ("Oslo", "Bern")))
    versions.schemas["2"] = Schema(columns, "label", Task.BINARY, ("no", "yes"))
    versions.engines["1"] = versions.engines["2"] = Acts(lambda x: np.where(x[:, 1] == 1, 0.75, 0.25))
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    assert await share_of_yes(gateway) == mixed_score(0.75, 0.25, 0.5)


async def test_a_slot_of_other_classes_is_left_out(gateway: Gateway, versions: Loads) -> None:
    versions.schemas["2"] = Schema(SCHEMA.columns, "label", Task.BINARY, ("yes", "no"))
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    assert await share_of_yes(gateway) == mixed_score(0.25, np.nan, 0.5)


@pytest.mark.parametrize("hanging", ["1", "2"])
async def test_a_slot_that_hangs_is_left_out_within_the_budget_and_the_answer_comes(
    gateway: Gateway, versions: Loads, released: threading.Event, hanging: str
) -> None:
    versions.engines[hanging] = Acts(hang_until(released), blocks=True)
    await gateway.answer_by(champion="1", mixture=WEIGHTS, budget_ms=30.0)
    started_at = time.perf_counter()
    share = await share_of_yes(gateway)
    assert 0.03 <= time.perf_counter() - started_at < 2
    expected = [np.nan if hanging == name else score for name, score in (("1", 0.25), ("2", 0.75), ("3", 0.5))]
    assert share == mixed_score(*expected)


async def test_slots_that_block_are_asked_at_the_same_time(gateway: Gateway, versions: Loads) -> None:
    meeting = threading.Barrier(3, timeout=10)

    def wait_for_the_others(x: Any) -> Any:
        meeting.wait()
        return np.full(len(x), 0.5)

    versions.engines = {name: Acts(wait_for_the_others, blocks=True) for name in ("1", "2", "3")}
    await gateway.answer_by(champion="1", mixture=WEIGHTS, budget_ms=10_000.0)
    assert await share_of_yes(gateway) == mixed_score(0.5, 0.5, 0.5)


async def test_a_slot_that_fails_again_and_again_is_not_asked_for_a_while(gateway: Gateway, versions: Loads) -> None:
    versions.engines["2"] = Counting(raise_error)
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    for _ in range(FAILURES + 5):
        assert await share_of_yes(gateway) == mixed_score(0.25, np.nan, 0.5)
    assert versions.engines["2"].calls == FAILURES
    assert slot_failures(gateway) == {"all": FAILURES + 5}


async def test_newer_weights_do_not_end_the_rest_of_a_slot(gateway: Gateway, versions: Loads) -> None:
    versions.engines["2"] = Counting(raise_error)
    for digest in ("d1", "d2"):
        await gateway.answer_by(champion="1", mixture=weights_of(("1", "2", "3"), digest))
        for _ in range(FAILURES):
            await share_of_yes(gateway)
    assert versions.engines["2"].calls == FAILURES


async def test_where_no_slot_answers_the_champion_is_asked_alone(gateway: Gateway, versions: Loads) -> None:
    calls = iter([RuntimeError("not now"), None])

    def fail_once(x: Any) -> Any:
        error = next(calls, None)
        if error is not None:
            raise error
        return np.full(len(x), 0.25)

    versions.engines |= {"1": Acts(fail_once), "2": Acts(raise_error), "3": Acts(raise_error)}
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    assert await gateway.answering_version() == "1"
    assert gateway.plane.metrics.of_model("churn").fallbacks == 1
    [table] = await read_predictions(gateway)
    assert read_said(table, 1) is None


async def test_where_the_champion_fails_as_well_it_says_so(gateway: Gateway, versions: Loads) -> None:
    versions.engines = {name: Acts(raise_error) for name in ("1", "2", "3")}
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    response = await gateway.predict()
    assert (response.status_code, response.json()["title"]) == (503, "Engine failed")


async def test_rows_that_the_champion_refuses_are_an_error_of_the_caller(gateway: Gateway, versions: Loads) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    for _ in range(FAILURES):
        assert (await gateway.predict({"row": {"a": "x", "city": None}})).status_code == 422
    assert await share_of_yes(gateway) == mixed_score(0.25, 0.75, 0.5)
    assert slot_failures(gateway) == {}


async def test_weights_of_another_task_are_not_used(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1", mixture=weights_of(("1", "2", "3"), task=Task.REGRESSION))
    assert await gateway.answering_version() == "1"


async def test_weights_of_another_number_of_slots_are_not_used(gateway: Gateway) -> None:
    fewer = weights_of(("1", "2"), slots=("champion", "all"))
    wrong = MixtureWeights(Task.BINARY, SLOTS, ("1", "2", "3"), fewer.mixers, fewer.layers, fewer.top)
    await gateway.answer_by(champion="1", mixture=wrong)
    assert await gateway.answering_version() == "1"


async def test_new_weights_are_a_table_swap_without_loading_a_version_again(gateway: Gateway, versions: Loads) -> None:
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    before = await share_of_yes(gateway)
    mixers = tuple((1.0, 0.0, 0.0, 0.0) for _ in WEIGHTS.mixers)
    layers = tuple((1.0, *(0.0,) * 7) for _ in WEIGHTS.layers)
    newer = MixtureWeights(Task.BINARY, SLOTS, WEIGHTS.versions, mixers, layers, WEIGHTS.top, digest="d2")
    await gateway.answer_by(champion="1", mixture=newer)
    assert await share_of_yes(gateway) == pytest.approx(0.25)
    assert before != pytest.approx(0.25)
    assert sorted(versions.loads) == ["1", "2", "3"]


@pytest.mark.parametrize("missing", ["1", "2"])
async def test_a_slot_whose_version_cannot_be_loaded_does_not_keep_the_others_from_answering_after_a_restart(
    versions: Loads, missing: str
) -> None:
    versions.engines[missing] = CorruptBundle("model.txt: altered")
    gateway = Gateway(versions)
    await gateway.routes.stage(RoutingTable("churn", 1, "1", mixture=WEIGHTS))
    await gateway.routes.activate("churn", 1, NOW)
    await gateway.plane.start()
    expected = [np.nan if missing == name else score for name, score in (("1", 0.25), ("2", 0.75), ("3", 0.5))]
    await until(
        lambda: gateway.plane.ready and gateway.plane._router._is_settled(gateway.plane._router._active["churn"])
    )
    assert await share_of_yes(gateway) == mixed_score(*expected)
    [table] = await read_predictions(gateway)
    assert table["version"].to_pylist() == ["1"]
    await gateway.client.aclose()


async def test_a_table_with_a_slot_that_cannot_be_loaded_is_refused_when_it_is_staged(
    gateway: Gateway, versions: Loads
) -> None:
    await gateway.answer_by(champion="1")
    versions.engines["3"] = CorruptBundle("model.txt: altered")
    await gateway.routes.stage(RoutingTable("churn", 2, "1", mixture=WEIGHTS))
    while not (acks := await gateway.routes.acknowledgements("churn", 2)):
        await asyncio.sleep(0.001)
    assert "altered" in acks["g1"]


async def until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.002)
