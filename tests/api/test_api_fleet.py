"""Fleet over HTTP: all models by health, by page and by words, and the quality of one over time."""

from dataclasses import replace
from typing import Any

import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.codec import model_from
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.monitoring import Window
from optagent.domain.quality_point import QualityPoint
from optagent.domain.study import Interval
from tests.api.conftest import NOW, Call

DAY = 86_400.0


def a_point(day: int, **changes: Any) -> QualityPoint:
    end = NOW - day * DAY
    return replace(QualityPoint(Window(end - DAY, end), end, "3", 20, 10, "auc"), **changes)


@pytest.fixture
async def fleet(store: InMemoryStore, churn: dict[str, Any]) -> None:
    """Thirty models, of which one has an alert, and one forty days of points."""
    spec = model_from(churn)
    for number in range(30):
        await store.save_model(replace(spec, model_id=f"m{number:02}"))
    alert = Alert("a", "m17", AlertKind.PERFORMANCE, Severity.CRITICAL, "auc fell", {}, NOW, NOW)
    await store.save_alerts([alert])
    points = [a_point(day, realised=Interval(0.8, 0.7, 0.9, 0.05)) for day in range(40)]
    await store.save_quality("m03", points)


@pytest.mark.usefixtures("fleet")
async def test_the_fleet_comes_by_pages_with_the_worst_first(call: Call) -> None:
    page = (await call("read", "GET", "/fleet")).json()
    assert (page["of"], len(page["models"])) == (30, 25)
    assert page["counts"] == {"critical": 1, "warning": 0, "unknown": 28, "good": 1}
    assert (page["models"][0]["model_id"], page["models"][0]["health"]) == ("m17", "critical")
    rest = (await call("read", "GET", "/fleet?start=25")).json()
    assert [model["model_id"] for model in rest["models"]][-1] == "m03"  # the good one


@pytest.mark.usefixtures("fleet")
async def test_a_model_has_its_newest_point_and_those_of_the_days_asked_for(call: Call) -> None:
    model = (await call("read", "GET", "/fleet?q=m03&days=7")).json()["models"][0]
    assert model["latest"]["realised"]["estimate"] == 0.8
    assert [point["window"]["end"] for point in model["points"]] == [NOW - day * DAY for day in range(7, -1, -1)]


@pytest.mark.usefixtures("fleet")
async def test_words_find_models_and_counts_are_of_all(call: Call) -> None:
    answer = (await call("read", "GET", "/fleet?q=critical")).json()
    assert [model["model_id"] for model in answer["models"]] == ["m17"]
    assert (answer["of"], sum(answer["counts"].values())) == (1, 30)
    assert (await call("read", "GET", "/fleet?q=%3Cscript%3E")).json()["models"] == []


@pytest.mark.parametrize("query", ["order=luck", "start=-1", "limit=0", "days=-1", "days=nan", f"q={'a' * 201}"])
async def test_a_wrong_question_is_422(call: Call, query: str) -> None:
    assert (await call("read", "GET", f"/fleet?{query}")).status_code == 422


@pytest.mark.usefixtures("fleet")
async def test_the_quality_of_a_model_is_told_since_a_time(call: Call) -> None:
    points = (await call("read", "GET", f"/models/m03/quality?since={NOW - DAY}")).json()
    assert [point["window"]["end"] for point in points] == [NOW - DAY, NOW]
    assert (await call("read", "GET", "/models/m04/quality")).json() == []
    assert (await call("read", "GET", "/models/m99/quality")).status_code == 404


@pytest.mark.usefixtures("fleet")
async def test_a_limited_token_sees_its_models_only(call: Call, agent: Any, client: Any) -> None:
    text, _ = await agent.create_token("bot", ["read"], models=["m03"])
    page = (await client.get("/fleet", headers={"Authorization": f"Bearer {text}"})).json()
    assert ([model["model_id"] for model in page["models"]], page["of"]) == (["m03"], 1)
    assert sum(page["counts"].values()) == 1
