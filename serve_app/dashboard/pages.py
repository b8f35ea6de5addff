"""Overview pages: all models with their alerts, processes, and the audit log."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response

from optagent.codec import plain
from optagent.domain.alert import Alert
from optagent.domain.model import CHALLENGER, CHAMPION, ModelSpec, ModelVersion
from optagent.domain.process import Process, Status
from optagent.domain.rollout import Rollout
from optagent.errors import OptAgentError, Unavailable
from serve_app.dashboard.page import PageRoute, redirect_to, render_page
from serve_app.dashboard.session import PREFIX, Auditor, Reader, Viewer

T = TypeVar("T")

router = APIRouter(prefix=PREFIX, route_class=PageRoute)

_LIVE_S = 5.0
_ALL_LIVE_S = 10.0  # the versions of each model are read anew
_MODELS = 25
_PROCESSES = 100
_LATEST = 200  # so many processes are searched for that of a model; each carries its result
_ENTRIES = 200


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model as a row of the table."""

    spec: ModelSpec
    champion: ModelVersion | None
    challenger: ModelVersion | None
    rollout: Rollout | None
    alerts: list[Alert]
    process: Process | None


@router.get("")
async def models_page(request: Request, viewer: Reader, start: int = 0) -> Response:
    """All models by id, by pages, with the open alerts and the processes that run."""
    agent = viewer.agent
    specs, alerts, processes, queue, health = await asyncio.gather(
        agent.models(),
        agent.alerts(None, 1000),
        agent.processes(limit=_LATEST),
        agent.queue_head(_PROCESSES),
        request.app.state.parts.state(),
    )
    start = max(0, min(start, len(specs) - 1))
    open_alerts = [alert for alert in alerts if alert.is_open]
    page_specs = specs[start : start + _MODELS]
    rows = await asyncio.gather(*(_model_row(viewer, spec, open_alerts, processes) for spec in page_specs))
    return await render_page(
        request,
        "models.html",
        live_s=_ALL_LIVE_S,
        models=rows,
        start=start,
        of=len(specs),
        a_page=_MODELS,
        alerts=open_alerts,
        under_way=[*queue.running, *queue.waiting],
        down={part: state for part, state in health.items() if state != "ok"},
    )


@router.get("/")
async def redirect_from_slash() -> Response:
    return redirect_to("")


@router.get("/processes")
async def processes_page(request: Request, viewer: Reader) -> Response:
    """The newest processes, with the places of the queued ones."""
    processes = await viewer.agent.processes(limit=_PROCESSES)
    turn = await viewer.agent.queue_places([process.process_id for process in processes])
    return await render_page(request, "processes.html", live_s=_LIVE_S, processes=processes, turn=turn)


@router.get("/audit")
async def audit_page(
    request: Request, viewer: Auditor, verify: bool = False, before: Annotated[int | None, Query(ge=1)] = None
) -> Response:
    """The newest entries of the audit log, or those before a number; with `verify`, a check of its chain too."""
    entries = await viewer.agent.audit_records(_ENTRIES, before)
    chain = plain(await viewer.agent.verify_audit()) if verify else None
    older = entries[-1].sequence if len(entries) == _ENTRIES else None
    return await render_page(request, "audit.html", entries=entries, chain=chain, older=older)


async def _model_row(viewer: Viewer, spec: ModelSpec, alerts: list[Alert], processes: list[Process]) -> ModelRow:
    model_id = spec.model_id
    versions, rollouts = await asyncio.gather(
        _answer_or_nothing(viewer.agent.versions(model_id)), _answer_or_nothing(viewer.agent.rollouts(model_id, 1))
    )
    version_of_alias = {alias: version for version in versions for alias in version.aliases}
    own_processes = [
        process for process in processes if process.model_id == model_id and process.status is not Status.QUEUED
    ]
    return ModelRow(
        spec,
        version_of_alias.get(CHAMPION),
        version_of_alias.get(CHALLENGER),
        rollouts[0] if rollouts else None,
        [alert for alert in alerts if alert.model_id == model_id],
        own_processes[0] if own_processes else None,
    )


async def _answer_or_nothing(answer: Awaitable[list[T]]) -> list[T]:
    """The awaited list; an empty one where only this model's cannot be read: the others are shown all the same."""
    try:
        return await answer
    except Unavailable:
        raise
    except OptAgentError:
        return []
