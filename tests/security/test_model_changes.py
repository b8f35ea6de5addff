"""Changes of a model at the same time: none is lost, a model is made once, and `If-Match` is honoured."""

import asyncio
from typing import Any

import httpx
import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.codec import revision_of
from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import PreconditionFailed
from tests.api.conftest import Call


@pytest.fixture
def both_read_first(store: InMemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two readers of a model go on once both have it."""
    read, readers, both = store.model, [], asyncio.Event()

    async def read_together(model_id: str) -> ModelSpec:
        spec = await read(model_id)
        readers.append(spec)
        if len(readers) == 2:
            both.set()
        async with asyncio.timeout(10):
            await both.wait()
        return spec

    monkeypatch.setattr(store, "model", read_together)


@pytest.mark.usefixtures("both_read_first")
async def test_of_two_changes_at_once_both_stay(call: Call, store: InMemoryStore, churn_id: str) -> None:
    answers = await asyncio.gather(
        call("operate", "PATCH", f"/models/{churn_id}", json={"policy": "balanced"}),
        call("operate", "PATCH", f"/models/{churn_id}", json={"description": "who leaves"}),
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    spec = await store.model(churn_id)
    assert (spec.policy is not None, spec.description) == (True, "who leaves")


async def test_many_changes_of_different_fields_at_once_all_stay(
    call: Call, agent: OptimizationAgent, churn_id: str
) -> None:
    changes: list[dict[str, Any]] = [{"monitoring": {"slices": [f"s{number}"]}} for number in range(5)]
    changes += [{"description": "new"}, {"policy": "aggressive"}]
    answers = await asyncio.gather(*(call("operate", "PATCH", f"/models/{churn_id}", json=each) for each in changes))
    assert {answer.status_code for answer in answers} == {200}
    spec = await agent.model(churn_id)
    assert (spec.description, spec.policy is not None, spec.monitoring is not None) == ("new", True, True)


async def test_one_new_id_is_made_once(call: Call, churn: dict[str, Any], agent: OptimizationAgent) -> None:
    bodies = [{**churn, "description": "first"}, {**churn, "description": "second"}, {**churn, "description": "first"}]
    answers = await asyncio.gather(*(call("admin", "POST", "/models", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    made = next(answer for answer in answers if answer.status_code == 201)
    assert (await agent.model("churn")).description == made.json()["description"]


async def test_a_model_has_a_strong_tag_that_changes_with_it_and_only_with_it(
    call: Call, churn: dict[str, Any]
) -> None:
    made = await call("admin", "POST", "/models", json=churn)
    tag = made.headers["etag"]
    assert tag.startswith('"')
    assert len(tag) == 34
    assert (await call("read", "GET", "/models/churn")).headers["etag"] == tag
    same = await call("operate", "PATCH", "/models/churn", json={"description": ""})
    assert same.headers["etag"] == tag
    changed = await call("operate", "PATCH", "/models/churn", json={"description": "new"})
    assert changed.headers["etag"] != tag
    assert (await call("read", "GET", "/models/churn")).headers["etag"] == changed.headers["etag"]


@pytest.mark.parametrize("form", ["{}", '"other", {}', " {} ", '"other" ,{}', "*"])
async def test_a_change_of_what_was_read_is_made(call: Call, churn_id: str, form: str) -> None:
    tag = (await call("read", "GET", f"/models/{churn_id}")).headers["etag"]
    answer = await change(call, churn_id, form.format(tag))
    assert (answer.status_code, answer.json().get("description")) == (200, "mine")


@pytest.mark.parametrize("form", ['"other"', "W/{}", "", '""', "x", "{0}x", '"*"'])
async def test_a_change_of_another_revision_is_412_and_changes_nothing(call: Call, churn_id: str, form: str) -> None:
    read = await call("read", "GET", f"/models/{churn_id}")
    answer = await change(call, churn_id, form.format(read.headers["etag"]))
    assert (answer.status_code, answer.json()["type"]) == (412, "urn:optagent:precondition-failed")
    assert read.headers["etag"].strip('"') in answer.json()["detail"]
    assert (await call("read", "GET", f"/models/{churn_id}")).json() == read.json()
    [entry] = [each for each in (await call("admin", "GET", "/audit")).json() if each["action"] == "model.update"]
    assert "was changed since" in entry["outcome"]


@pytest.mark.usefixtures("both_read_first")
async def test_of_two_changes_of_one_revision_exactly_one_is_made(call: Call, store: InMemoryStore, churn: Any) -> None:
    tag = (await call("admin", "POST", "/models?replace=true", json=churn)).headers["etag"]
    answers = await asyncio.gather(
        *(
            call("operate", "PATCH", "/models/churn", json={"description": text}, headers={"If-Match": tag})
            for text in ("one", "other")
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    made = next(answer for answer in answers if answer.status_code == 200)
    assert (await store.model("churn")).description == made.json()["description"]


async def test_the_sdk_changes_a_revision_too(agent: OptimizationAgent, churn_id: str) -> None:
    revision = revision_of(await agent.model(churn_id))
    changed = await agent.update_model(churn_id, {"description": "mine"}, revision)
    assert changed.description == "mine"
    with pytest.raises(PreconditionFailed, match=revision_of(changed)):
        await agent.update_model(churn_id, {"description": "late"}, revision)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SqlSource("postgresql://me:hunter2@db/x", "q"), SqlSource("postgresql://me:other@db/x", "q")),
        (SqlSource("mysql://db/x?password=hunter2", "q"), SqlSource("mysql://db/x?password=other", "q")),
        (SqlSource("postgresql://me:h@#/u@nter2@db/x", "q"), SqlSource("postgresql://you@db/x", "q")),
        (FileSource("s3://key:hunter2@bucket/rows.csv"), FileSource("s3://key:other@bucket/rows.csv")),
    ],
)
def test_a_revision_tells_nothing_about_a_password(one: Any, other: Any) -> None:
    def revision(source: Any) -> str:
        return revision_of(ModelSpec("m", Task.BINARY, source, "y"))

    assert revision(one) == revision(other)


async def change(call: Call, model_id: str, if_match: str) -> httpx.Response:
    body, headers = {"description": "mine"}, {"If-Match": if_match}
    answer: httpx.Response = await call("operate", "PATCH", f"/models/{model_id}", json=body, headers=headers)
    return answer
