"""Fleet routes: all models side by side, and the quality of one over time."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from optagent.domain.fleet import Fleet
from optagent.domain.quality_point import QualityPoint
from optagent.domain.token import Scope
from serve_app.api.requests import Limit, ModelId
from serve_app.api.security import CurrentCaller, GuardedRoute, needs

router = APIRouter(tags=["models"], route_class=GuardedRoute)

Words = Annotated[
    str,
    Query(alias="q", max_length=200, description="each word is part of a model's id, or a health, task or answerer"),
]
Order = Annotated[
    Literal["health", "model", "drift", "change"],
    Query(description="the worst health, the id, the most drift, or the latest change of a process comes first"),
]
Start = Annotated[int, Query(ge=0, le=1_000_000, description="so many models are left out before the page")]
Days = Annotated[float, Query(ge=0, le=1000, description="days of each model's points; 0 for the newest alone")]
Since = Annotated[float, Query(ge=0, description="POSIX time: windows that end earlier are left out")]


@router.get("/fleet", **needs(Scope.READ))
async def fleet(
    caller: CurrentCaller, words: Words = "", order: Order = "health", start: Start = 0, limit: Limit = 25,
    days: Days = 30,
) -> Fleet:  # fmt: skip
    """A page of all models with health, what answers, open alerts, newest process, and quality over some days."""
    return await caller.agent.fleet(words, order, start, limit, days)


@router.get("/models/{model_id}/quality", **needs(Scope.READ, 404))
async def quality(
    model_id: ModelId, caller: CurrentCaller, since: Since = 0, limit: Limit = 1000
) -> list[QualityPoint]:
    """The metric, drift and verdict of each analyzed window of a model, the oldest first."""
    return await caller.agent.quality(model_id, since, limit)
