"""Overview pages: the fleet of all models with its alerts, processes, and the audit log."""

import asyncio
import time
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from optagent.codec import plain
from optagent.domain.audit_search import AuditSearch
from optagent.domain.fleet import FleetOrder
from optagent.domain.time_range import parse_time_range
from serve_app.dashboard.page import PageRoute, redirect_to, render_page
from serve_app.dashboard.session import PREFIX, Auditor, Reader

router = APIRouter(prefix=PREFIX, route_class=PageRoute)

_MODELS = 25
_DAYS = 30
_PROCESSES = 100
_ENTRIES = 200
_ORDERS = {
    FleetOrder.HEALTH: "worst health",
    FleetOrder.DRIFT: "most drift",
    FleetOrder.CHANGE: "latest change",
    FleetOrder.MODEL: "name",
}

Part = Annotated[str, Query(max_length=200)]
Words = Annotated[str, Query(alias="q", max_length=200)]
Order = Annotated[FleetOrder, Query()]


@router.get("")
async def fleet_page(
    request: Request, viewer: Reader, words: Words = "", order: Order = FleetOrder.HEALTH, start: int = 0
) -> Response:
    """All models by pages, with their health, the open alerts and the processes that run."""
    agent, start = viewer.agent, max(0, start)
    fleet, alerts, queue, health = await asyncio.gather(
        agent.fleet(words, str(order), start, _MODELS, _DAYS),
        agent.alerts(None, 1000),
        agent.queue_head(_PROCESSES),
        request.app.state.parts.state(),
    )
    if start and not fleet.models:
        last = max(0, (fleet.of - 1) // _MODELS * _MODELS)
        return redirect_to(f"?{urlencode({'q': words, 'order': str(order), 'start': last})}")
    return await render_page(
        request,
        "fleet.html",
        follows="fleet",
        fleet=fleet,
        days=_DAYS,
        words=words,
        order=order,
        orders=_ORDERS,
        start=start,
        a_page=_MODELS,
        alerts=[alert for alert in alerts if alert.is_open],
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
    return await render_page(request, "processes.html", follows="processes", processes=processes, turn=turn)


@router.get("/audit")
async def audit_page(
    request: Request,
    viewer: Auditor,
    verify: bool = False,
    before: Annotated[int | None, Query(ge=1)] = None,
    actor: Part = "",
    action: Part = "",
    target: Part = "",
    time_range: Annotated[str, Query(alias="range", max_length=100)] = "",
) -> Response:
    """The newest entries of the audit log that fit the words and the time range; `verify` checks its chain too."""
    window = parse_time_range(time_range, time.time()) if time_range else None
    span = (None, None) if window is None else (window.start, window.end)
    search = AuditSearch(actor, action, target, *span)
    entries = await viewer.agent.audit_records(_ENTRIES, before, search)
    chain = plain(await viewer.agent.verify_audit()) if verify else None
    words = {"actor": actor, "action": action, "target": target, "range": time_range}
    asked = {name: text for name, text in words.items() if text}
    older = urlencode({**asked, "before": entries[-1].sequence}) if len(entries) == _ENTRIES else ""
    return await render_page(request, "audit.html", entries=entries, chain=chain, older=older, words=words)
