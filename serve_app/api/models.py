"""Model routes: registered models, their versions, aliases, alerts and the ages of their labels."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from optagent.codec import revision_of
from optagent.domain.alert import Alert
from optagent.domain.interval_status import IntervalStatus
from optagent.domain.label_maturity import LabelMaturity
from optagent.domain.model import ModelSpec, ModelVersion
from optagent.domain.token import Scope
from optagent.errors import Conflict, ModelNotFound
from serve_app.api.model_requests import AliasRequest, CurrentRules, ModelChanges, RegisterRequest
from serve_app.api.requests import Limit, ModelId
from serve_app.api.security import Caller, CurrentCaller, GuardedRoute, needs

router = APIRouter(prefix="/models", tags=["models"], route_class=GuardedRoute)

Alias = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_\-]{0,49}$", examples=["challenger"], description="name of an alias")
]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=1000, description="the `ETag` of the model that is to be changed")
]
Replace = Annotated[bool, Query(description="replace a model of this id")]


@router.get("", **needs(Scope.READ))
async def models(caller: CurrentCaller) -> list[ModelSpec]:
    """All registered models, by id."""
    return await caller.agent.models()


def _with_tag(code: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a route, with the tag that its answers have documented."""
    tag = {"description": "names the revision of the model", "schema": {"type": "string"}}
    return {**arguments, "responses": {**arguments["responses"], code: {"headers": {"ETag": tag}}}}


@router.post("", status_code=201, **_with_tag(201, needs(Scope.ADMIN, sends=True)))
async def register(
    body: RegisterRequest, rules: CurrentRules, caller: CurrentCaller, response: Response, replace: Replace = False
) -> ModelSpec:
    """Registers a model; needs the scope admin, since the server reads the path or URI that is named.

    Data lies below the places that the settings name, and families of one's own are among those that they name.
    Its rows are read once, to check that a model can be trained on them, which may take a while.
    """
    if not replace:
        await _require_new(body.spec(rules), caller)  # before its rows are read
    spec = await caller.agent.register_model(body.spec(rules), replace)
    response.headers["Location"] = f"/api/v1/models/{spec.model_id}"
    return _answer(spec, response)


@router.get("/{model_id}", **_with_tag(200, needs(Scope.READ, 404)))
async def model(model_id: ModelId, caller: CurrentCaller, response: Response) -> ModelSpec:
    """A model as it was registered; `ETag` names its revision."""
    return _answer(await caller.agent.model(model_id), response)


@router.patch("/{model_id}", **_with_tag(200, needs(Scope.OPERATE, 404, 412, sends=True)))
async def change(
    model_id: ModelId, body: ModelChanges, caller: CurrentCaller, response: Response, if_match: IfMatch = None
) -> ModelSpec:
    """Changes the monitoring, search or description of a model; fields that are left out stay as they are.

    With `If-Match`, only a model of that revision is changed. Without it, changes that others make at the same time
    stay too.
    """
    changes = body.model_dump(exclude_unset=True)
    return _answer(await caller.agent.update_model(model_id, changes, revisions_of(if_match)), response)


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
    return await caller.agent.set_alias(model_id, alias, body.version)


@router.get("/{model_id}/alerts", **needs(Scope.READ, 404))
async def alerts_of(model_id: ModelId, caller: CurrentCaller, limit: Limit = 100) -> list[Alert]:
    """The alerts of a model, open ones first."""
    await caller.agent.model(model_id)
    return await caller.agent.alerts(model_id, limit)


@router.get("/{model_id}/label-maturity", **needs(Scope.READ, 404))
async def label_maturity_of(model_id: ModelId, caller: CurrentCaller, request: Request) -> LabelMaturity:
    """The ages at which labels of a model come, and the label delay that they suggest; one at a time for a token."""
    maturity: LabelMaturity = await request.app.state.analyses.ask(
        request.state.token, ("labels", model_id), lambda: caller.agent.label_maturity(model_id)
    )
    return maturity


@router.get("/{model_id}/intervals", **needs(Scope.READ, 404))
async def intervals_of(model_id: ModelId, caller: CurrentCaller) -> IntervalStatus:
    """The coverage that a model's intervals were asked for and the one that was seen, in all and by tenth of time."""
    status: IntervalStatus = await caller.agent.intervals(model_id)
    return status


def revisions_of(if_match: str | None) -> tuple[str, ...]:
    """The revisions that an `If-Match` header allows, none for any (RFC 9110, 13.1.1).

    A weak tag, or a text that is no tag, is kept as it is and matches nothing.
    """
    if if_match is None or if_match.strip() == "*":
        return ()
    tags = [tag.strip() for tag in if_match.split(",")]
    return tuple(tag[1:-1] if len(tag) > 2 and tag[0] == tag[-1] == '"' else f"no tag: {tag}" for tag in tags)


def _answer(spec: ModelSpec, response: Response) -> ModelSpec:
    """The model, under its revision."""
    response.headers["ETag"] = f'"{revision_of(spec)}"'
    return spec


async def _require_new(spec: ModelSpec, caller: Caller) -> None:
    """Raises Conflict where there is a model of that id, but not where an earlier request under the key made it."""
    try:
        existing_spec = await caller.agent.model(spec.model_id)
    except ModelNotFound:
        return
    if caller.actor.act_id and existing_spec == spec:
        return
    raise Conflict(f"there is a model {spec.model_id!r} already: change it by PATCH, or replace it with ?replace=true")
