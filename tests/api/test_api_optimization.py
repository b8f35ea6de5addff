"""Optimization routes: analyses, searches and their processes over HTTP."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.codec import plain
from optagent.domain.alert import AlertKind, Finding, Severity
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Window
from optagent.domain.process import Process, Status
from optagent.errors import Unavailable
from serve_app.api.monitoring import ProcessPolls

SEARCH = "/optimization/hyperparameter"
LEASE_S = 60.0


async def test_an_analysis_is_answered_as_the_agent_has_it(agent: OptimizationAgent, call):
    finding = Finding(AlertKind.PERFORMANCE, Severity.WARNING, "auc")
    report = ModelReport("churn", window=Window(0.0, 3600.0), findings=(finding,), created_at=1_700_000_000.0)
    arguments: dict[str, Any] = {}

    async def analyze_model(**body: Any) -> ModelReport:
        arguments.update(body)
        return report

    agent.analyze_model = analyze_model  # type: ignore[method-assign]
    body = {"model_id": "churn", "analysis_type": "performance", "time_range": ["2024-01-01", "2024-02-01"]}
    answer = await call("read", "POST", "/optimization/analyze", json=body)
    assert answer.json() == plain(report)
    assert {name: arguments[name] for name in body} == body


async def test_an_analysis_of_a_model_that_is_compared_with_nothing_says_what_to_do(call, churn_id: str):
    answer = await call("read", "POST", "/optimization/analyze", json={"model_id": churn_id})
    assert answer.status_code == 404
    assert "set_reference" in answer.json()["detail"]


async def test_an_analysis_of_an_unknown_model_is_404(call):
    answer = await call("read", "POST", "/optimization/analyze", json={"model_id": "nobody"})
    assert answer.status_code == 404
    assert "nobody" in answer.json()["detail"]


async def test_a_search_is_queued_and_can_be_followed_where_it_says(call, client: httpx.AsyncClient, churn_id: str):
    body = {"model_id": churn_id, "optimization_method": "optuna", "max_trials": 100, "timeout_seconds": 3600}
    answer = await call("operate", "POST", SEARCH, json=body)
    assert answer.status_code == 202
    assert answer.headers["location"] == answer.json()["status_url"]
    status = (await call("read", "GET", f"http://optagent{answer.headers['location']}")).json()
    assert (status["status"], status["queue_position"]) == ("queued", 1)
    assert (status["command"]["method"], status["command"]["trials"]) == ("optuna", 100)


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"model_id": "nobody"}, 404, "nobody"),
        ({"optimization_method": "magic"}, 422, "unknown method 'magic'; one of ['bayesian'"),
        ({"strategy": "reckless"}, 422, "unknown strategy 'reckless'"),
        ({"early_stopping": "never"}, 422, "unknown early stopping 'never'"),
        ({"objectives": ["auc", "auc"]}, 422, "objectives: a name stands twice"),
        ({"objectives": ["beauty"]}, 422, "beauty"),
        ({"max_trials": 0}, 422, "max_trials: input should be greater than or equal to 1, got 0"),
        ({"max_trials": 10**30}, 422, "max_trials: "),
        ({"timeout_seconds": 0.5}, 422, "timeout_seconds: "),
    ],
)
async def test_a_search_that_cannot_be_is_refused_before_it_is_queued(
    call, churn_id: str, change: dict[str, object], code: int, detail: str
):
    answer = await call("operate", "POST", SEARCH, json={"model_id": churn_id, **change})
    assert answer.status_code == code
    assert detail in answer.json()["detail"]
    assert (await call("read", "GET", "/optimization/processes")).json()["processes"] == []


async def test_every_search_and_every_refused_one_is_in_the_audit_log(call, churn_id: str):
    accepted = await call("operate", "POST", SEARCH, json={"model_id": churn_id, "max_trials": 7})
    refused = await call("operate", "POST", SEARCH, json={"model_id": "nobody"})
    [token] = [token for token in (await call("admin", "GET", "/tokens")).json() if token["name"] == "operate"]
    actor = f"operate ({token['token_id']})"
    entries = [entry for entry in (await call("admin", "GET", "/audit")).json() if entry["request_id"]]
    requests = [(entry["request_id"], entry["actor"], entry["action"], entry["target"]) for entry in entries]
    assert requests == [
        (refused.headers["x-request-id"], actor, "process.submit", "nobody"),
        (accepted.headers["x-request-id"], actor, "process.submit", churn_id),
    ]
    assert [entry["outcome"] == "done" for entry in entries] == [False, True]
    assert entries[1]["detail"]["command"]["trials"] == 7


async def test_an_ensemble_is_queued_and_its_command_is_kept(call, rivals: str):
    body = {
        "base_models": [rivals, f"{rivals}/2"],
        "ensemble_method": "weighted",
        "optimization_target": "accuracy",
    }
    answer = await call("operate", "POST", "/optimization/ensemble", json=body)
    assert answer.status_code == 202
    assert answer.json()["process_id"].startswith("ensemble-")
    status = (await call("read", "GET", f"http://optagent{answer.headers['location']}")).json()
    assert status["status"] == "queued"
    assert (status["command"]["metrics"], status["command"]["method"]) == (["accuracy"], "weighted")


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"base_models": []}, 422, "at least 2 models"),
        ({"base_models": ["churn"]}, 422, "at least 2 models"),
        ({"base_models": ["churn", "nobody"]}, 404, "nobody"),
        ({"base_models": ["churn", "../x"]}, 422, "MODEL, MODEL@ALIAS or MODEL/VERSION is needed, got '../x'"),
        ({"ensemble_method": "magic"}, 422, "unknown ensemble method 'magic'"),
        ({"optimization_target": "beauty"}, 422, "beauty"),
        ({"optimization_target": ["accuracy", "accuracy"]}, 422, "stands twice"),
        ({"max_latency_ms": 0}, 422, "max_latency_ms"),
        ({"strategy": "reckless"}, 422, "reckless"),
    ],
)
async def test_an_ensemble_that_cannot_be_is_refused_before_it_is_queued(
    call, churn_id: str, change: dict[str, object], code: int, detail: str
):
    body = {"base_models": [churn_id, f"{churn_id}/2"], **change}
    answer = await call("operate", "POST", "/optimization/ensemble", json=body)
    assert answer.status_code == code
    assert detail in answer.json()["detail"]
    assert (await call("read", "GET", "/optimization/processes")).json()["processes"] == []


async def test_features_are_searched_for_in_their_turn(call, churn_id: str):
    answer = await call("operate", "POST", "/optimization/features", json={"model_id": churn_id, "max_features": 5})
    assert answer.status_code == 202
    assert answer.json()["process_id"].startswith("features-")
    assert (await call("operate", "POST", "/optimization/features", json={"model_id": "nobody"})).status_code == 404


async def test_the_whole_loop_is_queued_with_its_gates(call, churn_id: str):
    gates = {"accuracy_min": 0.7, "f1_min": 0.6, "min_validation_samples": 100, "max_latency_ms": 500}
    body = {"model_id": churn_id, "optimization_type": "retrain", "gates": {**gates, "enable_security_scan": True}}
    answer = await call("operate", "POST", "/optimization/optimize", json=body)
    assert answer.status_code == 202
    assert answer.json()["process_id"].startswith("optimize-")
    status = (await call("read", "GET", f"http://optagent{answer.headers['location']}")).json()
    assert (status["status"], status["command"]["gates"]["accuracy_min"]) == ("queued", 0.7)
    assert status["command"]["refit"] is True


async def test_an_optimization_is_asked_for_without_a_refit(call, churn_id: str):
    answer = await call("operate", "POST", "/optimization/optimize", json={"model_id": churn_id, "refit": False})
    status = (await call("read", "GET", f"http://optagent{answer.headers['location']}")).json()
    assert status["command"]["refit"] is False


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"model_id": "nobody"}, 404, "nobody"),
        ({"optimization_type": "magic"}, 422, "unknown optimization_type 'magic'"),
        ({"action": "notify"}, 422, "unknown action 'notify'"),
        ({"window": "sometimes"}, 422, "unknown window 'sometimes'"),
        ({"gates": {"beauty_min": 1.0}}, 422, "beauty"),
        ({"gates": {"accuracy_min": 7.0}}, 422, "accuracy_min must be between 0 and 1"),
        ({"gates": {"min_validation_samples": 0.5}}, 422, "min_validation_samples"),
    ],
)
async def test_an_optimization_that_cannot_be_is_refused_before_it_is_queued(
    call, churn_id: str, change: dict[str, object], code: int, detail: str
):
    answer = await call("operate", "POST", "/optimization/optimize", json={"model_id": churn_id, **change})
    assert answer.status_code == code
    assert detail in answer.json()["detail"]
    assert (await call("read", "GET", "/optimization/processes")).json()["processes"] == []


async def test_a_model_is_given_a_policy_and_loses_it_again(call, churn_id: str):
    path = f"/models/{churn_id}"
    answer = await call("operate", "PATCH", path, json={"policy": {"triggers": ["drift"], "action": "full"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["policy"]["triggers"] == ["drift"]
    assert (await call("operate", "PATCH", path, json={"policy": "balanced"})).json()["policy"]["action"] == "full"
    unlearned = await call("operate", "PATCH", path, json={"policy": {"triggers": ["drift"], "refit": False}})
    assert unlearned.json()["policy"]["refit"] is False
    assert (await call("operate", "PATCH", path, json={"policy": None})).json()["policy"] is None
    wrong = await call("operate", "PATCH", path, json={"policy": {"gates": {"rmse_max": 1.0}}})
    assert wrong.status_code == 422
    assert "policy: gates" in wrong.json()["detail"]


async def test_a_batch_answers_each_search_for_itself_in_order(call, churn_id: str):
    body = {"requests": [{"model_id": churn_id}, {"model_id": "nobody"}, {"model_id": churn_id, "seed": 2}]}
    answer = await call("operate", "POST", "/optimization/batch", json=body)
    assert answer.status_code == 200
    first, second, third = answer.json()["items"]
    assert (second["submitted"], second["problem"]["status"]) == (None, 404)
    assert second["problem"]["instance"] == answer.headers["x-request-id"]
    listed = (await call("read", "GET", "/optimization/processes")).json()["processes"]
    assert {process["process_id"] for process in listed} == {item["submitted"]["process_id"] for item in (first, third)}


async def test_a_batch_with_a_broken_item_is_refused_whole_with_its_place(call, churn_id: str):
    body = {"requests": [{"model_id": churn_id}, {"model_id": churn_id, "max_trials": 0}]}
    answer = await call("operate", "POST", "/optimization/batch", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("requests.1.max_trials: ")


class Moving:
    """A process that moves a step each time it is looked at."""

    def __init__(self, *steps: Process | Exception) -> None:
        self.steps = list(steps)
        self.looks = 0

    async def __call__(self, process_id: str) -> Process:
        self.looks += 1
        step = self.steps[0] if len(self.steps) == 1 else self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


async def test_a_long_poll_answers_as_soon_as_something_changes(
    agent: OptimizationAgent, call, process: Callable[..., Process]
):
    same, later = process(stage="search"), process(stage="search", progress={"trials_done": 1})
    agent.process = moving = Moving(same, same, same, later, process(stage="build"))  # type: ignore[method-assign]
    answer = await call("read", "GET", "/optimization/status/tune-1?wait=30")
    assert answer.json()["progress"] == {"trials_done": 1}
    assert moving.looks == 4


async def test_a_long_poll_without_a_change_answers_when_its_time_is_over(
    agent: OptimizationAgent, call, process: Callable[..., Process]
):
    agent.process = moving = Moving(process())  # type: ignore[method-assign]
    answer = await call("read", "GET", "/optimization/status/tune-1?wait=30")
    assert (answer.status_code, moving.looks) == (200, 61)


async def test_a_long_poll_of_what_has_ended_or_has_moved_on_already_answers_at_once(
    agent: OptimizationAgent, call, process: Callable[..., Process]
):
    agent.process = moving = Moving(process(status=Status.FAILED, error="out of memory"))  # type: ignore[method-assign]
    answer = await call("read", "GET", "/optimization/status/tune-1?wait=60")
    assert (answer.json()["error"], moving.looks) == ("out of memory", 1)
    agent.process = moving = Moving(process())  # type: ignore[method-assign]
    await call("read", "GET", "/optimization/status/tune-1?wait=60&since=12.5")
    assert moving.looks == 1


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "long"])
async def test_nobody_waits_longer_than_a_minute(
    agent: OptimizationAgent, call, process: Callable[..., Process], wait: str
):
    agent.process = moving = Moving(process())  # type: ignore[method-assign]
    assert (await call("read", "GET", f"/optimization/status/tune-1?wait={wait}")).status_code == 422
    assert moving.looks == 1


def events(text: str) -> list[tuple[str, str]]:
    """Name and data of each server-sent event."""
    parsed_events = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            parsed_events.append((lines["event"], lines["data"]))
    return parsed_events


async def test_events_tell_each_change_and_the_end_and_survive_an_outage(
    agent: OptimizationAgent, call, process: Callable[..., Process]
):
    first, second = process(stage="prepare"), process(stage="search", progress={"best_score": float("nan")})
    away = Unavailable("Redis does not answer")
    ended = process(status=Status.SUCCEEDED, stage="search")
    agent.process = Moving(first, first, away, second, second, ended)  # type: ignore[method-assign]
    answer = await call("read", "GET", "/optimization/status/tune-1/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent_events = [(name, json.loads(data)) for name, data in events(answer.text)]
    assert [(name, data["status"], data["stage"]) for name, data in sent_events] == [
        ("process", "running", "prepare"),
        ("process", "running", "search"),
        ("ended", "succeeded", "search"),
    ]
    assert sent_events[1][1]["progress"] == {"best_score": None}
    assert ": Redis does not answer" in answer.text


async def test_events_of_an_unknown_process_are_404(call):
    answer = await call("read", "GET", "/optimization/status/nothing/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_pages_of_processes_go_on_where_the_last_ended_whatever_came_since(
    store: InMemoryStore, call, process: Callable[..., Process]
):
    for number in range(25):
        await store.create_process(process(number), LEASE_S)
    first = (await call("read", "GET", "/optimization/processes?limit=10")).json()
    await store.create_process(process(99), LEASE_S)
    second = (await call("read", "GET", f"/optimization/processes?limit=10&cursor={first['next_cursor']}")).json()
    third = (await call("read", "GET", f"/optimization/processes?limit=10&cursor={second['next_cursor']}")).json()
    process_ids = [item["process_id"] for answer in (first, second, third) for item in answer["processes"]]
    assert process_ids == [f"tune-{number}" for number in reversed(range(25))]
    assert third["next_cursor"] is None


async def test_processes_are_chosen_by_model_and_status(store: InMemoryStore, call, process: Callable[..., Process]):
    for number in range(40):
        status = Status.FAILED if number % 20 == 0 else Status.RUNNING
        await store.create_process(process(number, status, model_id="a" if number < 20 else "b"), LEASE_S)
    answer = await call("read", "GET", "/optimization/processes?status=failed&limit=1")
    assert [item["process_id"] for item in answer.json()["processes"]] == ["tune-20"]
    cursor = answer.json()["next_cursor"]
    answer = await call("read", "GET", f"/optimization/processes?status=failed&limit=1&cursor={cursor}")
    assert [item["process_id"] for item in answer.json()["processes"]] == ["tune-0"]
    answer = await call("read", "GET", "/optimization/processes?model_id=a&status=failed")
    assert [item["process_id"] for item in answer.json()["processes"]] == ["tune-0"]


@pytest.mark.parametrize("cursor", ["x", "bm90aGluZw==", "W10=", "WyJhIiwgMV0=", "W1tbW1tbW1tb", "é"])
async def test_a_cursor_that_was_not_given_out_is_422(call, cursor: str):
    answer = await call("read", "GET", "/optimization/processes", params={"cursor": cursor})
    assert answer.status_code == 422
    assert "was not given out by this API" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "status=lost"])
async def test_bad_filters_are_422(call, query: str):
    assert (await call("read", "GET", f"/optimization/processes?{query}")).status_code == 422


@pytest.mark.parametrize("path", ["/optimization/processes/tune-1/cancel", "/optimization/tune-1/cancel"])
async def test_a_process_is_asked_to_stop(store: InMemoryStore, call, process: Callable[..., Process], path: str):
    await store.create_process(process(), LEASE_S)
    answer = await call("operate", "POST", path)
    assert (answer.status_code, answer.json()["process_id"]) == (202, "tune-1")
    assert await store.cancel_requested("tune-1")
    [entry] = [entry for entry in (await call("admin", "GET", "/audit")).json() if entry["request_id"]]
    assert (entry["action"], entry["target"], entry["outcome"]) == ("process.cancel", "tune-1", "done")


async def test_an_unknown_process_cannot_be_stopped(call):
    assert (await call("operate", "POST", "/optimization/processes/nothing/cancel")).status_code == 404


async def test_others_are_answered_while_somebody_waits(
    api: FastAPI, agent: OptimizationAgent, call, process: Callable[..., Process]
):
    release = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await release.wait()

    agent.process = Moving(process())  # type: ignore[method-assign]
    api.state.polls = ProcessPolls(agent.process, sleep)
    waiting = asyncio.create_task(call("read", "GET", "/optimization/status/tune-1?wait=1"))
    await asyncio.sleep(0.01)
    assert (await call("admin", "GET", "/models")).status_code == 200
    assert not waiting.done()
    release.set()
    assert (await waiting).status_code == 200


async def test_a_backtest_is_queued_and_its_result_says_which_policy_to_take(
    agent: OptimizationAgent, call, churn_id: str
):
    weekly = {"triggers": ["schedule"], "every": "30d", "cooldown": "30d", "action": "full"}
    body = {
        "model_id": churn_id,
        "label_delay": "2d",
        "step": "30d",
        "start": 0.6,
        "policies": ["scheduled-ungated:90d", {"name": "mine", "policy": weekly}],
    }
    answer = await call("admin", "POST", "/optimization/backtest", json=body)
    assert answer.status_code == 202, answer.text
    process_id = answer.json()["process_id"]
    await agent.run_queued(process_id)
    status = (await call("read", "GET", f"/optimization/status/{process_id}")).json()
    assert (status["status"], status["kind"]) == ("succeeded", "backtest")
    assert [run["name"] for run in status["result"]["runs"]] == ["never", "scheduled-ungated:90d", "mine"]
    assert status["result"]["recommended"] in ("never", "scheduled-ungated:90d", "mine")


@pytest.mark.parametrize(
    ("change", "code", "detail"),
    [
        ({"model_id": "nobody"}, 404, "nobody"),
        ({"label_delay": "soon"}, 422, "soon"),
        ({"policies": []}, 422, "policies: "),
        ({"policies": ["reckless"]}, 422, "reckless"),
        ({"policies": ["balanced", "balanced"]}, 422, "policies: named twice: balanced"),
        ({"policies": [{"name": "mine", "policy": {"triggers": ["schedule"]}}]}, 422, "schedule"),
        ({"policies": [{"name": "mine", "policy": {"gates": {"rmse_max": 1.0}}}]}, 422, "policy 'mine': gates: rmse"),
        ({"data": "rows.parquet"}, 422, "data: an absolute path of the server or a URI is needed"),
        ({"start": "sometime"}, 422, "start: 'sometime' is neither"),
        ({"step": "1s"}, 422, "step must be at least 1m"),
    ],
)
async def test_a_backtest_that_cannot_be_is_refused_before_it_is_queued(
    agent: OptimizationAgent, call, churn_id: str, change: dict[str, object], code: int, detail: str
):
    body = {"model_id": churn_id, "label_delay": "2d", **change}
    answer = await call("admin", "POST", "/optimization/backtest", json=body)
    assert (answer.status_code, detail in answer.text) == (code, True), answer.text
    assert await agent.processes() == []


async def test_only_an_administrator_may_name_files_for_a_backtest(call, churn_id: str):
    body = {"model_id": churn_id, "label_delay": "2d"}
    answer = await call("operate", "POST", "/optimization/backtest", json=body)
    assert answer.status_code == 403
