"""The pages that show all models: what is served and what is wrong, processes, the audit log."""

import asyncio
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from optagent.codec import plain
from optagent.domain.alert import Alert
from optagent.domain.model import CHALLENGER, CHAMPION, ModelSpec, ModelVersion
from optagent.domain.process import Process, Status
from optagent.domain.rollout import Rollout
from optagent.loop.queue import queued
from serve_app.dashboard.page import Page, page, to
from serve_app.dashboard.session import PREFIX, Auditor, Reader, Viewer

router = APIRouter(prefix=PREFIX, route_class=Page)

_LIVE_S = 5.0
_ALL_LIVE_S = 10.0  # each model is asked for its versions
_MODELS = 25
_PROCESSES = 100
_LATEST = 200  # processes among which that of a model is looked for: each brings its result
_ENTRIES = 200


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model in a line."""

    spec: ModelSpec
    champion: ModelVersion | None
    challenger: ModelVersion | None
    rollout: Rollout | None
    alerts: list[Alert]
    process: Process | None


@router.get("")
async def models(request: Request, viewer: Reader, start: int = 0) -> Response:
    """All models by id, so many a page, with the alerts that are open and what is under way."""
    agent = viewer.agent
    specs, alerts, processes, health = await asyncio.gather(
        agent.models(), agent.alerts(None, 1000), agent.processes(limit=_LATEST), request.app.state.parts.state()
    )
    start = max(0, min(start, len(specs) - 1))
    opened = [alert for alert in alerts if alert.is_open]
    here = specs[start : start + _MODELS]
    shown = await asyncio.gather(*(_shown(viewer, spec, opened, processes) for spec in here))
    return await page(
        request,
        "models.html",
        live_s=_ALL_LIVE_S,
        models=shown,
        start=start,
        of=len(specs),
        a_page=_MODELS,
        alerts=opened,
        under_way=[process for process in processes if not process.status.ended],
        down={part: said for part, said in health.items() if said != "ok"},
    )


@router.get("/")
async def bare() -> Response:
    return to("")


@router.get("/processes")
async def processes(request: Request, viewer: Reader) -> Response:
    """The newest processes, and the order in which the queued ones come."""
    found = await viewer.agent.processes(limit=_PROCESSES)
    turn = {process.process_id: place for place, process in enumerate(queued(found), start=1)}
    return await page(request, "processes.html", live_s=_LIVE_S, processes=found, turn=turn)


@router.get("/audit")
async def audit(request: Request, viewer: Auditor, verify: bool = False) -> Response:
    """The newest entries of the audit log; whether the chain is whole, where that is asked."""
    entries = await viewer.agent.audit(_ENTRIES)
    chain = plain(await viewer.agent.verify_audit()) if verify else None
    return await page(request, "audit.html", entries=entries, chain=chain)


async def _shown(viewer: Viewer, spec: ModelSpec, alerts: list[Alert], processes: list[Process]) -> ModelRow:
    model_id = spec.model_id
    versions, rollouts = await asyncio.gather(viewer.agent.versions(model_id), viewer.agent.rollouts(model_id, 1))
    named = {alias: version for version in versions for alias in version.aliases}
    mine = [process for process in processes if process.model_id == model_id and process.status is not Status.QUEUED]
    return ModelRow(
        spec,
        named.get(CHAMPION),
        named.get(CHALLENGER),
        rollouts[0] if rollouts else None,
        [alert for alert in alerts if alert.model_id == model_id],
        mine[0] if mine else None,
    )
