"""Control plane: every verb of the agent over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import RedirectResponse
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from optagent import __version__
from optagent.agent import OptimizationAgent
from optagent.domain.source_rules import SourceRules
from optagent.ports import Clock, IdempotencyStore, Sessions
from serve_app.api import (
    analyses,
    docs,
    fleet,
    health,
    mixtures,
    models,
    monitoring,
    optimization,
    predictions,
    records,
    rollouts,
    tokens,
)
from serve_app.api.auth import Authenticator
from serve_app.api.errors import answer_problems
from serve_app.api.idempotency import Idempotency
from serve_app.api.responses import ProblemDocument, PublicResponse
from serve_app.api.security import ApiContext
from serve_app.dashboard import PREFIX as DASHBOARD_PREFIX
from serve_app.dashboard import ROUTERS as DASHBOARD
from serve_app.dashboard.changes import PagePolls

PREFIX = "/api/v1"
DESCRIPTION = (
    "Keeps production models good: looks at how they do, searches for better ones, and lets those in by shadow and A/B."
    " Calls need a bearer token of the scope that stands beside them (admin covers all, operate covers read); errors"
    " are problem documents (RFC 9457) with the id of the request, which is in the header X-Request-ID too."
)

_KEPT_FOR_MINUTES = {"Cache-Control": "max-age=600"}
_NOTHING_FROM_ELSEWHERE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def create_api(
    agent: OptimizationAgent,
    authenticator: Authenticator,
    kept_answers: IdempotencyStore | None,
    clock: Clock,
    data_plane: ASGIApp | None = None,
    max_body_bytes: int = 10_000_000,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    source_rules: SourceRules | None = None,
    sessions: Sessions | None = None,
) -> FastAPI:
    """The application; `agent` is strict or a remote agent of a strict one.

    Without `kept_answers` keys are ignored; without `sessions` nobody can sign in to the dashboard. Models and
    backtests may name what `source_rules` allow, which without them is nothing.
    """
    app = FastAPI(
        title="optagent",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        default_response_class=PublicResponse,
    )
    idempotency = None if kept_answers is None else Idempotency(kept_answers, sleep)
    app.state.context = ApiContext(agent, authenticator, idempotency, clock, sessions)
    app.state.parts = health.HealthCache(agent, clock)
    app.state.source_rules = source_rules or SourceRules()
    app.state.data_plane, app.state.max_body_bytes = data_plane, max_body_bytes
    app.state.analyses = analyses.Analyses()
    app.state.polls = monitoring.ProcessPolls(lambda process_id: agent.process(process_id), sleep)
    app.state.page_polls = PagePolls()
    app.state.knows_token = authenticator.knows
    for part in (health, optimization, fleet, models, mixtures, predictions, rollouts, tokens, records):
        app.include_router(part.router, prefix=PREFIX)
    for router in DASHBOARD:
        app.include_router(router)
    answer_problems(app)
    app.openapi = lambda: _openapi_document(app)  # type: ignore[method-assign]

    @app.get("/", include_in_schema=False)
    async def redirect_to_dashboard() -> RedirectResponse:
        return RedirectResponse(DASHBOARD_PREFIX)

    _add_documents(app)
    return app


def _add_documents(app: FastAPI) -> None:
    documents = docs.ApiDocuments(lambda: app.openapi())

    @app.get("/openapi.json", include_in_schema=False)
    async def show_openapi(request: Request) -> Response:
        return documents.json().response(request, _KEPT_FOR_MINUTES)

    @app.get("/docs", include_in_schema=False)
    async def show_docs(request: Request) -> Response:
        page = documents.page(str(request.base_url).rstrip("/"))
        return page.response(request, {**_NOTHING_FROM_ELSEWHERE, **_KEPT_FOR_MINUTES, "Vary": "Host"})


def _openapi_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, which is made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
        kinds = [(kind, "validation") for kind in (ProblemDocument, *predictions.DOCUMENTED)]
        _, further = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        document["components"]["schemas"] |= further["$defs"]
        bearer = {"type": "http", "scheme": "bearer", "description": "a token of `optagent token create`"}
        document["components"]["securitySchemes"] = {"bearer": bearer}
        app.openapi_schema = document
    return app.openapi_schema
