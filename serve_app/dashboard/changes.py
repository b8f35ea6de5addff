"""Changes of pages: server-sent events that tell an open page that what it shows has changed.

Open pages about one subject share its polls, so that ten cost no more than one.
"""

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from optagent.agent import OptimizationAgent
from optagent.domain.fleet import Fleet
from optagent.domain.token import Scope
from optagent.errors import InvalidRequest, OptAgentError
from serve_app.admission import Places
from serve_app.dashboard.page import PageRoute
from serve_app.dashboard.session import PREFIX, Reader, Viewer, find_viewer
from serve_app.shared_polls import SharedPolls

router = APIRouter(prefix=PREFIX, route_class=PageRoute)

_POLL_S = 0.5
_LONGEST_S = 900.0  # then the browser asks again, with a session that is looked up
_POLLS_A_CHECK = 10
_POLLS_A_BEAT = 30  # a line now and then keeps proxies from ending what seems idle
_PAGES, _PAGES_OF_ONE = 200, 30
_MODELS = 1000

Subject = Annotated[str, Query(alias="of", max_length=200, description="a kind of page, and the id behind a colon")]


@dataclass(frozen=True, slots=True)
class PageSubject:
    """The subject of a page, as an agent shows it that is limited to some models, or to none."""

    kind: str
    name: str
    models: tuple[str, ...]
    agent: OptimizationAgent = field(compare=False)


class PagePolls(SharedPolls[PageSubject, str]):
    """Polls of the revisions of what pages show."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        super().__init__(revision_of, Places("open pages", _PAGES, _PAGES_OF_ONE), _POLL_S, sleep)


async def revision_of(subject: PageSubject) -> str:
    """A text that changes with what a page shows; raises what the agent raises."""
    facts = await _FACTS[subject.kind](subject.agent, subject.name)
    return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()


async def _fleet_facts(agent: OptimizationAgent, name: str) -> Any:
    fleet: Fleet
    fleet, queue = await asyncio.gather(agent.fleet("", "model", 0, _MODELS, 0), agent.queue_head(100))
    return fleet.models, [(process.process_id, process.updated_at) for process in (*queue.running, *queue.waiting)]


async def _model_facts(agent: OptimizationAgent, model_id: str) -> Any:
    points, rollouts, alerts, processes = await asyncio.gather(
        agent.quality(model_id, limit=1),
        agent.rollouts(model_id, 1),
        agent.alerts(model_id, 20),
        agent.processes(model_id, 5),
    )
    return (
        [point.created_at for point in points],
        [(rollout.rollout_id, rollout.changed_at, len(rollout.looks)) for rollout in rollouts],
        alerts,
        [(process.process_id, process.updated_at) for process in processes],
    )


async def _rollout_facts(agent: OptimizationAgent, rollout_id: str) -> Any:
    rollout = await agent.rollout(rollout_id)
    return rollout.changed_at, rollout.state, len(rollout.looks), rollout.is_settled


async def _process_facts(agent: OptimizationAgent, process_id: str) -> Any:
    process = await agent.process(process_id)
    return process.updated_at, process.status, process.stage, process.progress


async def _processes_facts(agent: OptimizationAgent, name: str) -> Any:
    processes = await agent.processes(limit=20)
    return [(process.process_id, process.updated_at, process.status) for process in processes]


_FACTS: Mapping[str, Callable[[OptimizationAgent, str], Awaitable[Any]]] = {
    "fleet": _fleet_facts,
    "model": _model_facts,
    "rollout": _rollout_facts,
    "process": _process_facts,
    "processes": _processes_facts,
}


async def _with_place(request: Request, viewer: Reader) -> AsyncIterator[PagePolls]:
    """The polls, with a place among the open pages for as long as the answer takes."""
    polls: PagePolls = request.app.state.page_polls
    with polls.watchers.place(viewer.token.token_id):
        yield polls


@router.get("/changes")
async def changes(
    request: Request, viewer: Reader, of: Subject, polls: Annotated[PagePolls, Depends(_with_place)]
) -> Response:
    """An event `changed` at each change of what a page shows; a stream that ends with its session, or after 15 min."""
    kind, _, name = of.partition(":")
    if kind not in _FACTS:
        raise InvalidRequest(f"of={of!r}: one of {sorted(_FACTS)}, and the id behind a colon")
    subject = PageSubject(kind, name, viewer.token.models, viewer.agent)
    first = await revision_of(subject)  # what is not there, or not for this token, is refused before the stream begins
    return StreamingResponse(
        _events(polls, subject, first, lambda: _is_signed_in(request, viewer)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"},
    )


async def _events(
    polls: PagePolls, subject: PageSubject, revision: str, may_go_on: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    yield f"retry: 2000\nevent: revision\ndata: {revision}\n\n"
    for poll in range(1, math.ceil(_LONGEST_S / _POLL_S)):
        if poll % _POLLS_A_CHECK == 0 and not await may_go_on():
            return
        try:
            later = await polls.next_look(subject)
        except OptAgentError as error:
            yield f": {str(error).splitlines()[0]}\n\n"
            continue
        if later != revision:
            revision = later
            yield f"event: changed\ndata: {revision}\n\n"
        elif poll % _POLLS_A_BEAT == 0:
            yield ":\n\n"


async def _is_signed_in(request: Request, viewer: Viewer) -> bool:
    try:
        current = await find_viewer(request, Scope.READ)
    except OptAgentError:
        return False
    return current.token.token_id == viewer.token.token_id
