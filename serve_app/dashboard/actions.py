"""Actions of the dashboard: each does the same as its route of the API, with the same entry in the audit log."""

from typing import Literal

from fastapi import APIRouter, Request, Response

from optagent.domain.command import OptimizeModel
from optagent.errors import InvalidRequest
from serve_app.api.requests import ModelId, ProcessId
from serve_app.dashboard.form import read_form
from serve_app.dashboard.page import PageRoute, redirect_to
from serve_app.dashboard.session import PREFIX, Operator

router = APIRouter(prefix=PREFIX, route_class=PageRoute)

_BY_HAND = "by hand, on the dashboard"
_LONGEST_REASON = 1000


@router.post("/models/{model_id}/optimize")
async def optimize(request: Request, model_id: ModelId, viewer: Operator) -> Response:
    form = await read_form(request)
    command = OptimizeModel(model_id, form.get("type", "auto"), form.get("action", "candidate"))
    process = await viewer.agent.submit(command)
    return redirect_to(f"/processes/{process.process_id}")


@router.post("/models/{model_id}/rollout/start")
async def start(request: Request, model_id: ModelId, viewer: Operator) -> Response:
    candidate = (await read_form(request)).get("candidate", "")
    await viewer.agent.start_rollout(model_id, candidate)
    return redirect_to(f"/models/{model_id}")


@router.post("/models/{model_id}/rollout/{verb}")
async def decide(
    request: Request, model_id: ModelId, verb: Literal["promote", "abort", "rollback"], viewer: Operator
) -> Response:
    why = await _reason(request)
    agent = viewer.agent
    decisions = {"promote": agent.promote_rollout, "abort": agent.abort_rollout, "rollback": agent.rollback_rollout}
    await decisions[verb](model_id, why=why)
    return redirect_to(f"/models/{model_id}")


@router.post("/models/{model_id}/mixture/{act}")
async def change_mixture(
    request: Request, model_id: ModelId, act: Literal["freeze", "thaw", "champion-only"], viewer: Operator
) -> Response:
    why = await _reason(request)
    agent = viewer.agent
    acts = {"freeze": agent.freeze_mixture, "thaw": agent.thaw_mixture, "champion-only": agent.use_champion_only}
    await acts[act](model_id, why=why)
    return redirect_to(f"/models/{model_id}")


@router.post("/processes/{process_id}/cancel")
async def cancel(process_id: ProcessId, viewer: Operator) -> Response:
    await viewer.agent.cancel(process_id)
    return redirect_to(f"/processes/{process_id}")


async def _reason(request: Request) -> str:
    """The reason that a form gives; InvalidRequest where it is too long."""
    why = (await read_form(request)).get("why") or _BY_HAND
    if len(why) > _LONGEST_REASON:
        raise InvalidRequest(f"the reason has at most {_LONGEST_REASON} characters, got {len(why)}")
    return why
