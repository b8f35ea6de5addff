"""Audit log over HTTP: its verification and the replay of decisions, for administrators."""

import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.audit import AuditEntry


async def test_a_whole_log_is_told_with_its_head(call, churn_id: str, store: InMemoryStore):
    await call("admin", "PATCH", f"/models/{churn_id}", json={"description": "who leaves"})
    links = len(await store.audit())
    answer = await call("admin", "GET", "/audit/verify")
    report = answer.json()
    assert (answer.status_code, report["broken"]) == (200, None)
    assert (report["links"], report["first"], report["last"]) == (links, 1, links)
    assert report["start"] == {"sequence": 0, "digest": "0" * 64}
    noted = f"{report['head']['sequence']}:{report['head']['digest']}"
    await call("admin", "PATCH", f"/models/{churn_id}", json={"description": "who stays"})
    report = (await call("admin", "GET", "/audit/verify", params={"noted": noted})).json()
    assert (report["links"], report["broken"]) == (links + 1, None)


async def test_a_broken_log_is_200_with_the_link_that_broke(call, store: InMemoryStore):
    for number in range(4):
        await store.append_audit(AuditEntry(float(number), "ana", "model.update"))
    del store._audit_links[2]
    answer = await call("admin", "GET", "/audit/verify")
    report = answer.json()
    assert (answer.status_code, report["last"]) == (200, 2)
    assert (report["broken"]["sequence"], report["broken"]["fault"]) == (3, "missing link")
    assert report["broken"]["why"] == "link 4 stands in its place"


async def test_entries_are_found_by_words_and_times_back_to_the_start_of_the_log(call, store: InMemoryStore):
    for number in range(1500):
        await store.append_audit(
            AuditEntry(float(number), "ana" if number % 700 == 5 else "bob", "model.update", "churn")
        )

    async def numbers(**words: str | float) -> list[int]:
        answer = await call("admin", "GET", "/audit", params=words)
        assert answer.status_code == 200, answer.text
        return [entry["sequence"] for entry in answer.json()]

    assert await numbers(actor="ANA") == [1406, 706, 6]
    assert await numbers(actor="ana", limit=2) == [1406, 706]
    assert await numbers(actor="ana", before=706) == [6]
    assert await numbers(action="update", since=10, until=12) == [12, 11]
    assert await numbers(target="fraud") == []
    assert (await call("admin", "GET", "/audit", params={"since": 5, "until": 4})).status_code == 422


@pytest.mark.parametrize("noted", ["", "1", "1:abc", f"1:{'0' * 65}", "NaN"])
async def test_a_noted_head_that_is_none_is_422(call, noted: str):
    answer = await call("admin", "GET", "/audit/verify", params={"noted": noted})
    assert answer.status_code == 422
    assert "noted" in answer.text


async def test_a_noted_head_that_was_dropped_is_422_with_the_reason(call, store: InMemoryStore):
    store._audit_kept = 1
    for number in range(3):
        await store.append_audit(AuditEntry(float(number), "ana", "model.update"))
    answer = await call("admin", "GET", "/audit/verify", params={"noted": f"1:{'0' * 64}"})
    assert answer.status_code == 422
    assert "link 1 was dropped" in answer.json()["detail"]


@pytest.mark.parametrize("scope", ["read", "predict", "operate"])
async def test_only_administrators_may_ask(call, scope: str):
    answer = await call(scope, "GET", "/audit/verify")
    assert answer.status_code == 403
    assert "this needs admin" in answer.json()["detail"]


async def test_a_decision_is_made_again(agent: OptimizationAgent, call, churn_id: str):
    process = await agent.optimize_model(churn_id, "retrain", gates={"max_latency_ms": 10_000})
    answer = await call("admin", "GET", f"/audit/replay/{process.process_id}")
    replay = answer.json()
    assert (answer.status_code, replay["is_same"]) == (200, True), replay
    assert replay["detail"]["process_id"] == process.process_id
    assert "champion" in replay["detail"]["same"]


@pytest.mark.parametrize(("which", "code"), [("nobody", 404), ("999", 404), ("a%20b", 422)])
async def test_what_is_no_decision_is_not_made_again(call, which: str, code: int):
    assert (await call("admin", "GET", f"/audit/replay/{which}")).status_code == code
    assert (await call("read", "GET", f"/audit/replay/{which}")).status_code == 403


async def test_a_list_goes_on_before_the_number_of_its_last_entry(call, store: InMemoryStore):
    await call("admin", "GET", "/audit")  # making its token is the first entry
    for number in range(4):
        await store.append_audit(AuditEntry(float(number), "ana", "model.update"))
    first = (await call("admin", "GET", "/audit", params={"limit": 2})).json()
    second = (await call("admin", "GET", "/audit", params={"limit": 2, "before": first[-1]["sequence"]})).json()
    assert [entry["sequence"] for entry in first + second] == [5, 4, 3, 2]
    assert (await call("admin", "GET", "/audit", params={"before": 1})).json() == []
    assert (await call("admin", "GET", "/audit", params={"before": 0})).status_code == 422
