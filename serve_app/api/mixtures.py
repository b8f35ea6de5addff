"""Mixture routes: the versions that answer for a model together, and acts on their weights by hand."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query

from optagent.domain.mixture_status import MixtureStatus, spread_points
from optagent.domain.token import Scope
from serve_app.api.requests import ModelId
from serve_app.api.rollout_requests import ForgetRequest, Why
from serve_app.api.security import CurrentCaller, GuardedRoute, needs

router = APIRouter(prefix="/models/{model_id}/mixture", tags=["mixtures"], route_class=GuardedRoute)

Points = Annotated[
    int, Query(ge=0, le=1000, description="so many points of the history at most, evenly spread over its time")
]


@router.get("", **needs(Scope.READ, 404))
async def mixture(model_id: ModelId, caller: CurrentCaller, points: Points = 100) -> MixtureStatus:
    """The mixture of a model: its weights now and over time, the loss of each slot, and the certificate."""
    return _with_points(await caller.agent.mixture(model_id), points)


@router.post("/freeze", **needs(Scope.OPERATE, 404, sends=True))
async def freeze(model_id: ModelId, body: Why, caller: CurrentCaller) -> MixtureStatus:
    """Leaves the weights as they are, whatever labels come."""
    return _with_points(await caller.agent.freeze_mixture(model_id, why=body.why), 0)


@router.post("/thaw", **needs(Scope.OPERATE, 404, sends=True))
async def thaw(model_id: ModelId, body: Why, caller: CurrentCaller) -> MixtureStatus:
    """Lets the weights follow the labels again, and the mixture answer where the champion answered alone."""
    return _with_points(await caller.agent.thaw_mixture(model_id, why=body.why), 0)


@router.post("/champion-only", **needs(Scope.OPERATE, 404, sends=True))
async def use_champion_only(model_id: ModelId, body: Why, caller: CurrentCaller) -> MixtureStatus:
    """Lets the champion answer alone, at once, until the mixture is thawed."""
    return _with_points(await caller.agent.use_champion_only(model_id, why=body.why), 0)


@router.post("/forget", **needs(Scope.OPERATE, 404, sends=True))
async def forget(model_id: ModelId, body: ForgetRequest, caller: CurrentCaller) -> MixtureStatus:
    """Makes the weights again without the rows of a time range, which are left out for good."""
    return _with_points(await caller.agent.forget_mixture_rows(model_id, body.range, why=body.why), 0)


def _with_points(status: MixtureStatus, most: int) -> MixtureStatus:
    return replace(status, history=spread_points(status.history, most))
