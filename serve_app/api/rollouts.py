"""Rollout routes: the rollouts of a model with their evidence, and actions by hand."""

from typing import Annotated

from fastapi import APIRouter, Body, Query

from optagent.domain.rollout import Rollout
from optagent.domain.token import Scope
from serve_app.api.requests import Limit, ModelId
from serve_app.api.responses import limit_looks
from serve_app.api.rollout_requests import RolloutRequest, Why
from serve_app.api.security import CurrentCaller, GuardedRoute, needs

router = APIRouter(prefix="/models/{model_id}", tags=["rollouts"], route_class=GuardedRoute)

Looks = Annotated[int, Query(ge=0, le=10_000, description="so many of the newest looks at the evidence")]


@router.get("/rollout", **needs(Scope.READ, 404))
async def rollout(model_id: ModelId, caller: CurrentCaller, looks: Looks = 20) -> Rollout:
    """The newest rollout of a model, with the evidence so far."""
    return limit_looks(await caller.agent.latest_rollout(model_id), looks)


@router.post("/rollout", status_code=201, **needs(Scope.OPERATE, 404, sends=True))
async def start(
    model_id: ModelId, caller: CurrentCaller, body: Annotated[RolloutRequest, Body(default_factory=RolloutRequest)]
) -> Rollout:
    """Starts the rollout of a candidate: in shadow first, then for a share of the requests, as the policy says."""
    policy = body.policy.model_dump(exclude_unset=True) if body.policy else None
    return await caller.agent.start_rollout(model_id, body.candidate, body.strategy, policy)


@router.post("/rollout/promote", **needs(Scope.OPERATE, 404, sends=True))
async def promote(model_id: ModelId, body: Why, caller: CurrentCaller) -> Rollout:
    """Makes the candidate champion and starts its baking; while it bakes, ends the baking."""
    return limit_looks(await caller.agent.promote_rollout(model_id, why=body.why), 0)


@router.post("/rollout/abort", **needs(Scope.OPERATE, 404, sends=True))
async def abort(model_id: ModelId, body: Why, caller: CurrentCaller) -> Rollout:
    """Ends a rollout before the champion is replaced: all requests go to the champion again."""
    return limit_looks(await caller.agent.abort_rollout(model_id, why=body.why), 0)


@router.post("/rollout/rollback", **needs(Scope.OPERATE, 404, sends=True))
async def rollback(model_id: ModelId, body: Why, caller: CurrentCaller) -> Rollout:
    """Makes the former champion champion again."""
    return limit_looks(await caller.agent.rollback_rollout(model_id, why=body.why), 0)


@router.get("/rollouts", **needs(Scope.READ, 404))
async def rollouts(model_id: ModelId, caller: CurrentCaller, limit: Limit = 20, looks: Looks = 1) -> list[Rollout]:
    """The rollouts of a model, the newest first."""
    await caller.agent.model(model_id)
    return [limit_looks(rollout, looks) for rollout in await caller.agent.rollouts(model_id, limit)]
