"""Mixture routes over HTTP: the weights are read, held, freed and mended, each within its scope."""

from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.agent import OptimizationAgent
from tests.api.conftest import NOW
from tests.fakes.mixtures import MixedTraffic

PATH = "/models/churn/mixture"


@pytest.fixture
async def traffic(
    agent: OptimizationAgent, clock: ManualClock, churn: dict[str, Any], make_rows: Any, tmp_path: Path
) -> MixedTraffic:
    """A model whose mixture has learned from 400 rows."""
    mixed = MixedTraffic(agent, clock)
    await mixed.begin(churn, make_rows(), tmp_path)
    await mixed.run(4)
    return mixed


async def test_a_mixture_is_read_with_its_certificate_and_history(call, traffic: MixedTraffic):
    answer = await call("read", "GET", PATH)
    assert answer.status_code == 200
    status = answer.json()
    assert [slot["name"] for slot in status["slots"]] == ["champion", "all", "1/4", "1/16"]
    assert (status["mode"], status["rows"], len(status["history"])) == ("learning", 400, 4)
    assert status["certificate"]["holds"]
    assert "nats" in status["certificate"]["words"]
    assert [point["rows"] for point in (await call("read", "GET", f"{PATH}?points=2")).json()["history"]] == [100, 400]


async def test_a_mixture_is_frozen_thawed_and_replaced_by_its_champion(call, traffic: MixedTraffic):
    frozen = (await call("operate", "POST", f"{PATH}/freeze", json={"why": "odd labels"})).json()
    [token] = [token for token in (await call("admin", "GET", "/tokens")).json() if token["name"] == "operate"]
    assert (frozen["mode"], frozen["reason"]) == ("frozen", f"operate ({token['token_id']}): odd labels")
    assert (await call("operate", "POST", f"{PATH}/champion-only")).json()["mode"] == "champion_only"
    assert await traffic.weights() is None
    assert (await call("operate", "POST", f"{PATH}/thaw")).json()["mode"] == "learning"
    assert await traffic.weights() is not None
    entries = [entry for entry in (await call("admin", "GET", "/audit")).json() if entry["request_id"]]
    assert [entry["action"] for entry in entries] == ["mixture.thaw", "mixture.champion_only", "mixture.freeze"]


async def test_rows_are_forgotten_by_a_range_of_time(call, traffic: MixedTraffic):
    body = {"range": [NOW, NOW + 100], "why": "wrong labels"}
    answer = await call("operate", "POST", f"{PATH}/forget", json=body)
    assert (answer.status_code, answer.json()["rows"]) == (200, 300)
    assert answer.json()["forgotten"] == [[NOW, NOW + 100]]


async def test_the_same_key_forgets_once(call, traffic: MixedTraffic):
    key, body = {"Idempotency-Key": "forget-7"}, {"range": f"{NOW}..{NOW + 100}"}
    first = await call("operate", "POST", f"{PATH}/forget", json=body, headers=key)
    again = await call("operate", "POST", f"{PATH}/forget", json=body, headers=key)
    assert (again.headers["idempotent-replayed"], again.content) == ("true", first.content)
    await call("operate", "POST", f"{PATH}/forget", json=body)
    status = (await call("read", "GET", PATH)).json()
    assert [event["kind"] for event in status["events"]] == ["began", "forgot"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "range: field required"),
        ({"range": "yesterday"}, "write a duration back from now such as 24h, or two instants"),
        ({"range": "2023-11-20..2023-11-21"}, "must end before now"),
        ({"range": ["2023-11-10"]}, "range"),
        ({"range": "1h", "rows": 3}, "rows: extra inputs are not permitted"),
    ],
)
async def test_a_range_that_cannot_be_forgotten_is_422(call, traffic: MixedTraffic, body: dict[str, Any], detail: str):
    answer = await call("operate", "POST", f"{PATH}/forget", json=body)
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
    assert (await call("read", "GET", PATH)).json()["forgotten"] == []


@pytest.mark.parametrize("act", ["freeze", "thaw", "champion-only", "forget"])
async def test_acts_need_the_scope_operate(call, traffic: MixedTraffic, act: str):
    answer = await call("read", "POST", f"{PATH}/{act}", json={"range": "1m"} if act == "forget" else {})
    assert answer.status_code == 403
    assert (await call("label", "GET", PATH)).status_code == 403
    assert (await traffic.agent.mixture("churn")).mode == "learning"


@pytest.mark.parametrize("act", ["freeze", "thaw", "champion-only", "forget"])
async def test_a_model_without_a_mixture_is_404(call, churn_id: str, act: str):
    read = await call("read", "GET", PATH)
    assert (read.status_code, read.json()["detail"]) == (
        404,
        "model 'churn' has no mixture: the champion answers alone",
    )
    answer = await call("operate", "POST", f"{PATH}/{act}", json={"range": "1m"} if act == "forget" else {})
    assert (answer.status_code, answer.json()["detail"]) == (404, "model 'churn' has no mixture")
    answer = await call("read", "GET", "/models/nobody/mixture")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:optagent:model-not-found")


async def test_a_mixture_is_replayed_over_http(call, traffic: MixedTraffic):
    answer = await call("admin", "GET", "/audit/replay/churn")
    assert (answer.status_code, answer.json()["is_same"]) == (200, True)
    assert answer.json()["detail"]["rows"] == 400


@pytest.mark.parametrize("slots", [["champion", "all"], ["champion", "90d", 1]])
async def test_a_policy_of_a_mixture_is_registered_over_http(call, churn: dict[str, Any], slots: list[Any]):
    policy = {"triggers": ["growth"], "action": "full", "answer": "mixture", "slots": slots, "growth": 0.25}
    answer = await call("admin", "POST", "/models", json={**churn, "policy": policy})
    assert answer.status_code == 201, answer.text
    assert answer.json()["policy"]["slots"] == [str(slot) for slot in slots]


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"slots": ["champion"]}, "slots: a mixture has 2 to 8"),
        ({"slots": ["champion", "yesterday"]}, "slots: unknown 'yesterday'"),
        ({"slots": ["all", "1/4"]}, "slots: 'champion' is needed"),
        ({"answer": "both"}, "answer: unknown 'both'"),
        ({"action": "candidate"}, "answer: a mixture needs the action full"),
        ({"growth": 0}, "growth"),
    ],
)
async def test_a_policy_of_a_mixture_that_cannot_be_is_422(
    call, churn: dict[str, Any], changes: dict[str, Any], detail: str
):
    policy = {"triggers": ["growth"], "action": "full", "answer": "mixture", **changes}
    answer = await call("admin", "POST", "/models", json={**churn, "policy": policy})
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
