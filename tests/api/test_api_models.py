"""Model, rollout and token routes over HTTP, and predictions where no data plane runs."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.codec import model_from
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.prediction_interval import IntervalRecord, IntervalThresholds
from optagent.domain.token import digest_of
from tests.api.conftest import NOW
from tests.fakes.tokens import InMemoryTokens


async def test_a_model_is_registered_by_an_admin_and_read_by_others(call, churn: dict[str, Any]):
    answer = await call("admin", "POST", "/models", json=churn)
    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/v1/models/churn"
    spec = (await call("read", "GET", "http://optagent/api/v1/models/churn")).json()
    assert (spec["model_id"], spec["target"], spec["folds"]) == ("churn", "label", 3)
    assert [model["model_id"] for model in (await call("read", "GET", "/models")).json()] == ["churn"]


async def test_a_model_is_replaced_only_on_purpose(call, churn: dict[str, Any]):
    await call("admin", "POST", "/models", json=churn)
    again = await call("admin", "POST", "/models", json={**churn, "folds": 4})
    assert again.status_code == 409
    assert "?replace=true" in again.json()["detail"]
    assert (await call("admin", "POST", "/models?replace=true", json={**churn, "folds": 4})).json()["folds"] == 4


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"data": "rows.parquet"}, "an absolute path of the server or a URI is needed"),
        ({"data": "../../etc/passwd"}, "an absolute path of the server or a URI is needed"),
        ({"data": "/nowhere/rows.parquet"}, "/nowhere/rows.parquet"),
        ({"target": "missing"}, "missing"),
        ({"families": ["forest of birches"]}, "forest of birches"),
        ({"folds": 1}, "folds.number: input should be greater than or equal to 2"),
        ({"folds": {"scheme": "purged"}}, "unknown scheme 'purged'"),
        ({"folds": {"scheme": "combinatorial_purged", "groups": 2}}, "folds.scheme.groups: input should be greater"),
        ({"colour": "red"}, "colour: extra inputs are not permitted"),
        ({"monitoring": {"accuracy_drop_threshold": 2}}, "monitoring.accuracy_drop_threshold: "),
        ({"monitoring": {"false_alarm_every": "1h"}}, "false_alarm_every must be at least"),
        ({"search_space": {"lightgbm": {"learning_rate": {"low": 1, "high": 0}}}}, "low must be below high"),
    ],
)
async def test_a_model_that_cannot_be_is_422_and_not_kept(
    call, churn: dict[str, Any], change: dict[str, Any], detail: str
):
    answer = await call("admin", "POST", "/models", json={**churn, **change})
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
    assert (await call("read", "GET", "/models")).json() == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"url": "postgresql://me:hunter2@db/orders"}, "postgresql://me:***@db/orders"),
        ({"url": "postgresql://me:hun@#?/hunter2@db/orders"}, "postgresql://me:***@db/orders"),
        ({"url": "mysql://db/orders?user=me&password=hunter2"}, "mysql://db/orders?***"),
        ({"url": "postgresql://${DB_USER}@db/orders"}, "postgresql://${DB_USER}@db/orders"),
        ({"uri": "s3://key:hunter2@bucket/rows-?.csv"}, "s3://key:***@bucket/rows-?.csv"),
        ({"uri": "/data/rows-?.csv"}, "/data/rows-?.csv"),
    ],
)
async def test_passwords_of_where_data_lies_are_never_shown(
    store: InMemoryStore, call, data: dict[str, str], expected: str
):
    source = {"query": "select 1", **data} if "url" in data else data
    await store.save_model(model_from({"id": "sql", "task": "binary", "data": source, "target": "y"}))
    for path in ("/models", "/models/sql"):
        answer = await call("read", "GET", path)
        assert "hunter2" not in answer.text
        assert f'"{expected}"' in answer.text


async def test_a_change_keeps_what_it_does_not_name(call, churn_id: str):
    change = {"monitoring": {"slices": ["region"]}, "description": "who leaves"}
    answer = await call("operate", "PATCH", f"/models/{churn_id}", json=change)
    assert answer.status_code == 200, answer.text
    answer = await call("operate", "PATCH", f"/models/{churn_id}", json={"monitoring": {"confidence_threshold": 0.7}})
    spec = answer.json()
    assert (spec["description"], spec["folds"]) == ("who leaves", 3)
    assert (spec["monitoring"]["slices"], spec["monitoring"]["confidence_threshold"]) == (["region"], 0.7)


@pytest.mark.parametrize("change", [{"data": "/etc/passwd"}, {"families": ["os.system"]}, {"target": "b"}, {"id": "x"}])
async def test_what_a_model_is_cannot_be_changed_under_its_versions(call, churn_id: str, change: dict[str, Any]):
    answer = await call("operate", "PATCH", f"/models/{churn_id}", json=change)
    assert answer.status_code == 422
    assert "extra inputs are not permitted" in answer.json()["detail"]


async def test_versions_and_aliases_are_those_of_the_registry(agent: OptimizationAgent, call, churn_id: str):
    assert (await call("read", "GET", f"/models/{churn_id}/versions")).json() == []
    await agent.tune_hyperparameters(churn_id, method="random", trials=1)
    [version] = (await call("read", "GET", f"/models/{churn_id}/versions")).json()
    assert (version["version"], version["aliases"]) == ("1", ["champion"])
    answer = await call("operate", "PUT", f"/models/{churn_id}/aliases/spare", json={"version": "1"})
    assert (answer.status_code, sorted(answer.json()["aliases"])) == (200, ["champion", "spare"])
    aliases = (await call("read", "GET", f"/models/{churn_id}/aliases")).json()
    assert aliases == {"champion": "1", "spare": "1"}
    missing = await call("operate", "PUT", f"/models/{churn_id}/aliases/spare", json={"version": "7"})
    assert missing.status_code == 404


@pytest.mark.parametrize(
    "path", ["", "/versions", "/aliases", "/alerts", "/label-maturity", "/rollout", "/rollouts", "/mixture"]
)
async def test_an_unknown_model_is_404_everywhere(call, path: str):
    answer = await call("read", "GET", f"/models/nobody{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:optagent:model-not-found")


async def test_alerts_are_listed_of_one_model_and_of_all(store: InMemoryStore, call, churn_id: str):
    def alert(model_id: str) -> Alert:
        kind, severity = AlertKind.DATA_DRIFT, Severity.WARNING
        return Alert(f"{model_id}:1", model_id, kind, severity, "2 features have drifted", {}, 1.0, 2.0)

    await store.save_alerts([alert(churn_id), alert("other")])
    assert [item["model_id"] for item in (await call("read", "GET", f"/models/{churn_id}/alerts")).json()] == [churn_id]
    assert {item["model_id"] for item in (await call("read", "GET", "/alerts")).json()} == {churn_id, "other"}


async def test_the_maturing_of_labels_needs_something_that_says_what_labels_look_like(call, churn_id: str):
    path = f"/models/{churn_id}/label-maturity"
    answer = await call("read", "GET", path)
    assert (answer.status_code, "has no version and no reference" in answer.json()["detail"]) == (404, True)


async def test_the_maturing_of_the_labels_of_a_version_says_what_it_lacks(call, rivals: str):
    answer = await call("read", "GET", f"/models/{rivals}/label-maturity")
    assert (answer.status_code, answer.json()["requests"]) == (200, 0)
    assert "labels of 0 stretches of time were counted" in answer.json()["reason"]


async def test_a_rollout_is_started_promoted_and_rolled_back(call, rivals: str):
    path = f"/models/{rivals}/rollout"
    assert (await call("read", "GET", path)).status_code == 404
    policy = {"min_rows": 200, "guardrails": {"errors": 0.02}, "ramp": [0.1, 0.5]}
    answer = await call("operate", "POST", path, json={"candidate": "2", "policy": policy})
    assert (answer.status_code, answer.json()["state"]) == (201, "shadow")
    assert answer.json()["policy"]["min_rows"] == 200
    assert (await call("operate", "POST", path, json={"candidate": "3"})).status_code == 409
    assert (await call("operate", "POST", f"{path}/promote")).json()["state"] == "baking"
    answer = await call("operate", "POST", f"{path}/rollback", json={"why": "complaints"})
    assert answer.json()["state"] == "rolled back"
    last = answer.json()["transitions"][-1]
    [token] = [token for token in (await call("admin", "GET", "/tokens")).json() if token["name"] == "operate"]
    assert (last["by"], last["reason"]) == (f"operate ({token['token_id']})", "complaints")
    assert (await call("operate", "POST", f"{path}/abort")).status_code == 409
    [rollout] = (await call("read", "GET", f"{path}s")).json()
    assert rollout["rollout_id"] == answer.json()["rollout_id"]
    outcomes = [
        (entry["action"], entry["outcome"])
        for entry in (await call("admin", "GET", "/audit")).json()
        if entry["request_id"]
    ]
    assert [action for action, outcome in outcomes if outcome == "done"] == [
        "rollout.rollback",
        "rollout.promote",
        "rollout.start",
    ]
    assert [action for action, outcome in outcomes if outcome != "done"] == ["rollout.abort", "rollout.start"]


@pytest.mark.parametrize(
    ("policy", "detail"),
    [
        ({"alpha": 0}, "policy.alpha: "),
        ({"guardrails": {"errors": 1.5}}, "policy.guardrails.errors: "),
        ({"budget": 3}, "policy.budget: extra inputs are not permitted"),
    ],
)
async def test_a_policy_that_cannot_be_is_422(call, policy: dict[str, Any], detail: str):
    answer = await call("operate", "POST", "/models/churn/rollout", json={"policy": policy})
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]


async def test_a_rollout_that_the_domain_refuses_is_422_or_404_in_its_words(call, rivals: str):
    path = f"/models/{rivals}/rollout"
    falling = await call("operate", "POST", path, json={"candidate": "2", "policy": {"ramp": [0.5, 0.1]}})
    assert falling.status_code == 422
    assert "the shares of ramp must be between 0 and 1 and rise" in falling.json()["detail"]
    itself = await call("operate", "POST", path, json={"candidate": "champion"})
    assert itself.status_code in (409, 422)
    nobody = await call("operate", "POST", path)
    assert nobody.status_code == 404
    assert "challenger" in nobody.json()["detail"]


async def test_a_token_is_shown_once_kept_as_a_digest_and_listed_without_it(
    call, client: httpx.AsyncClient, tokens: InMemoryTokens
):
    body = {"name": "ci", "scopes": ["read"], "expires_seconds": 3600}
    answer = await call("admin", "POST", "/tokens", json=body)
    assert answer.headers["cache-control"] == "no-store"
    new_token = answer.json()
    stored_token = await tokens.find(new_token["token"]["token_id"])
    assert stored_token is not None
    assert stored_token.digest == digest_of(new_token["text"])
    assert stored_token.expires_at == new_token["token"]["expires_at"] == stored_token.created_at + 3600
    listed = await call("admin", "GET", "/tokens")
    assert new_token["text"] not in listed.text
    assert stored_token.digest not in listed.text
    audit = await call("admin", "GET", "/audit")
    assert new_token["text"] not in audit.text
    answer = await client.get("/models", headers={"Authorization": f"Bearer {new_token['text']}"})
    assert answer.status_code == 200
    revoked = await call("admin", "DELETE", f"/tokens/{stored_token.token_id}")
    assert revoked.json()["revoked_at"] is not None
    assert (await call("admin", "DELETE", "/tokens/ffffffffffff")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ci", "scopes": []},
        {"name": "ci", "scopes": ["root"]},
        {"name": "\n", "scopes": ["read"]},
        {"name": "a"},
    ],
)
async def test_a_token_without_a_name_or_a_scope_is_422(call, body: dict[str, Any]):
    assert (await call("admin", "POST", "/tokens", json=body)).status_code == 422


@pytest.mark.parametrize(("verb", "scope"), [("predict", "predict"), ("labels", "label")])
async def test_where_no_data_plane_runs_predictions_are_503(call, client: httpx.AsyncClient, verb: str, scope: str):
    assert (await client.post(f"/models/churn/{verb}", json={})).status_code == 401
    for other in {"read", "predict", "label"} - {scope}:
        assert (await call(other, "POST", f"/models/churn/{verb}", json={})).status_code == 403
    answer = await call(scope, "POST", f"/models/churn/{verb}", json={})
    assert answer.status_code == 503
    assert "answers no predictions" in answer.json()["detail"]


async def test_the_api_alone_hands_predictions_to_the_data_plane_it_was_given(api):
    async def plane(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[::-1]})

    api.state.data_plane = plane
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://optagent/api/v1") as client:
        assert (await client.post("/models/churn/predict", content=b"abc")).text == "cba"


async def test_the_coverage_of_intervals_is_read_by_tenth_of_time(call, agent, churn: dict[str, Any]):
    await agent.register_model({**churn, "intervals": True})
    assert (await call("read", "GET", "/models/churn/intervals")).status_code == 404
    thresholds = (0.1, 0.2, 0.3, 0.4, 0.5)
    days = {str(day): (10, 5, 8, 9, 10, 10) for day in range(20)}
    record = IntervalRecord("churn", "1", NOW, {}, IntervalThresholds(thresholds), covered=days)
    await agent._ports.store.save_intervals(record, None)
    status = (await call("read", "GET", "/models/churn/intervals")).json()
    assert (status["level"], status["rows"], status["width"], status["alert_is_open"]) == (0.9, 200, None, False)
    assert status["coverage"]["estimate"] == 0.9
    assert [spell["rows"] for spell in status["tenths"]] == [20] * 10


async def test_a_model_without_intervals_says_how_it_gets_them(call, churn_id: str):
    answer = await call("read", "GET", f"/models/{churn_id}/intervals")
    assert answer.status_code == 404
    assert "set intervals: true in its model.yaml" in answer.json()["detail"]
