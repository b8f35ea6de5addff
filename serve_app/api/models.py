"""Model routes: registered models, their versions, aliases and alerts."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from optagent.domain.alert import Alert
from optagent.domain.model import ModelSpec, ModelVersion
from optagent.domain.token import Scope
from optagent.errors import Conflict, ModelNotFound
from serve_app.api.model_requests import AliasRequest, CurrentRules, ModelChanges, RegisterRequest
from serve_app.api.requests import Limit, ModelId
from serve_app.api.security import Caller, CurrentCaller, GuardedRoute, needs

router = APIRouter(prefix="/models", tags=["models"], route_class=GuardedRoute)

Alias = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_\-]{0,49}$", examples=["challenger"])]
Replace = Annotated[bool, Query(description="replace a model of this id")]


@router.get("", **needs(Scope.READ))
async def models(caller: CurrentCaller) -> list[ModelSpec]:
    """All registered models, by id."""
    return await caller.agent.models()


@router.post("", status_code=201, **needs(Scope.ADMIN, sends=True))
async def register(
    body: RegisterRequest, rules: CurrentRules, caller: CurrentCaller, response: Response, replace: Replace = False
) -> ModelSpec:
    """Registers a model; needs the scope admin, since the server reads the path or URI that is named.

    Data lies below the places that the settings name, and families of one's own are among those that they name.
    Its rows are read once, to check that a model can be trained on them, which may take a while.
    """
    if not replace:
        await _require_new(body.id, caller)
    spec = await caller.perform("model.register", body.id, caller.agent.register_model(body.spec(rules)))
    response.headers["Location"] = f"/api/v1/models/{spec.model_id}"
    return spec


@router.get("/{model_id}", **needs(Scope.READ, 404))
async def model(model_id: ModelId, caller: CurrentCaller) -> ModelSpec:
    """A model as it was registered."""
    return await caller.agent.model(model_id)


@router.patch("/{model_id}", **needs(Scope.OPERATE, 404, sends=True))
async def change(model_id: ModelId, body: ModelChanges, caller: CurrentCaller) -> ModelSpec:
    """Changes the monitoring, search or description of a model; fields that are left out stay as they are."""
    changes = body.model_dump(exclude_unset=True)
    work = caller.agent.update_model(model_id, changes)
    return await caller.perform("model.update", model_id, work, changes=changes)


@router.get("/{model_id}/versions", **needs(Scope.READ, 404))
async def versions(model_id: ModelId, caller: CurrentCaller) -> list[ModelVersion]:
    """The versions of a model, the newest first."""
    return await caller.agent.versions(model_id)


@router.get("/{model_id}/aliases", **needs(Scope.READ, 404))
async def aliases(model_id: ModelId, caller: CurrentCaller) -> dict[str, str]:
    """The aliases of a model with their versions."""
    return {alias: version.version for version in await caller.agent.versions(model_id) for alias in version.aliases}


@router.put("/{model_id}/aliases/{alias}", **needs(Scope.OPERATE, 404, sends=True))
async def set_alias(model_id: ModelId, alias: Alias, body: AliasRequest, caller: CurrentCaller) -> ModelVersion:
    """Points an alias to a version; refused for `champion` while a rollout of the model is under way."""
    work = caller.agent.set_alias(model_id, alias, body.version)
    return await caller.perform("model.alias", model_id, work, alias=alias, version=body.version)


@router.get("/{model_id}/alerts", **needs(Scope.READ, 404))
async def alerts_of(model_id: ModelId, caller: CurrentCaller, limit: Limit = 100) -> list[Alert]:
    """The alerts of a model, open ones first."""
    await caller.agent.model(model_id)
    return await caller.agent.alerts(model_id, limit)


async def _require_new(model_id: str, caller: Caller) -> None:
    try:
        await caller.agent.model(model_id)
    except ModelNotFound:
        return
    raise Conflict(f"there is a model {model_id!r} already: change it by PATCH, or replace it with ?replace=true")
