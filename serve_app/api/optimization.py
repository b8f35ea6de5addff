"""Analyses, searches, and the processes that run them."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import FiniteFloat

from optagent.agent import Command
from optagent.codec import plain
from optagent.domain.command import EnsembleModels
from optagent.domain.model_report import ModelReport
from optagent.domain.process import Process, Status
from optagent.domain.token import Scope
from optagent.errors import OptAgentError
from optagent.loop.queue import queued
from serve_app.api.errors import problem
from serve_app.api.model_requests import BacktestRequest
from serve_app.api.monitoring import ProcessWatch
from serve_app.api.paging import page
from serve_app.api.requests import (
    AnalyzeRequest,
    BatchRequest,
    EnsembleRequest,
    FeaturesRequest,
    HyperparameterRequest,
    Limit,
    OptimizeRequest,
    ProcessId,
)
from serve_app.api.responses import BatchAnswer, BatchItem, ProblemDocument, Processes, ProcessStatus, Submitted
from serve_app.api.security import Asks, Caller, GuardedRoute, needs

router = APIRouter(prefix="/optimization", tags=["optimization"], route_class=GuardedRoute)


@router.post("/analyze", **needs(Scope.READ, 404, sends=True))
async def analyze(body: AnalyzeRequest, caller: Asks) -> ModelReport:
    """How a model does, and what is wrong with it."""
    return await caller.agent.analyze_model(**body.model_dump())


@router.post("/hyperparameter", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def hyperparameter(body: HyperparameterRequest, caller: Asks, response: Response) -> Submitted:
    """Has better parameters searched for, as soon as its turn comes; `Location` is where to follow it."""
    return await _accepted(body.command(), caller, response)


@router.post("/ensemble", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def ensemble(body: EnsembleRequest, caller: Asks, response: Response) -> Submitted:
    """Has the best mixture of models searched for; it is registered where it beats the best of them."""
    return await _accepted(body.command(), caller, response)


@router.post("/features", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def features(body: FeaturesRequest, caller: Asks, response: Response) -> Submitted:
    """Has features searched for and proven; a model with them is registered where it is better."""
    return await _accepted(body.command(), caller, response)


@router.post("/optimize", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def optimize(body: OptimizeRequest, caller: Asks, response: Response) -> Submitted:
    """Has the whole loop run for a model; a candidate that passes every gate is let in as far as `action` says."""
    return await _accepted(body.command(), caller, response)


@router.post("/backtest", status_code=202, **needs(Scope.ADMIN, 404, sends=True))
async def backtest(body: BacktestRequest, caller: Asks, response: Response) -> Submitted:
    """Has a history replayed under policies; needs the scope admin, since the server reads the path that is named.

    The `result` of the process says what each policy would have done, and which one to take.
    """
    model = await caller.agent.model(body.model_id)
    return await _accepted(body.command(model), caller, response)


@router.post("/batch", **needs(Scope.OPERATE, sends=True))
async def batch(body: BatchRequest, caller: Asks) -> BatchAnswer:
    """Several searches at once; each item answers with its process, or with its problem."""
    return BatchAnswer(items=[await _item(request, caller) for request in body.requests])


async def _watch(request: Request) -> ProcessWatch:
    return ProcessWatch(request.state.caller.agent.process, sleep=request.app.state.sleep)


async def _process(process_id: ProcessId, caller: Asks) -> Process:
    return await caller.agent.process(process_id)


Found = Annotated[Process, Depends(_process)]
Watches = Annotated[ProcessWatch, Depends(_watch)]
Wait = Annotated[float, Query(ge=0, le=60, description="wait up to so many seconds for a change")]
Since = Annotated[
    FiniteFloat | None, Query(description="with `wait`: the `updated_at` that you have; newer is a change")
]


@router.get("/status/{process_id}", **needs(Scope.READ, 404))
async def status(process: Found, watch: Watches, caller: Asks, wait: Wait = 0.0, since: Since = None) -> ProcessStatus:
    """How far a process is. With `wait`, the answer comes as soon as its status, stage or progress changes."""
    if since in (None, process.updated_at):
        process = await watch.changed(process, wait)
    return ProcessStatus.of(process, await _place(process, caller))


@router.get("/status/{process_id}/events", response_class=EventSourceResponse, **needs(Scope.READ, 404))
async def events(process: Found, watch: Watches) -> AsyncIterator[ServerSentEvent]:
    """The process at every change as server-sent events: `process`, and `ended` at the end."""
    async for event in watch.events(process):
        yield event


@router.get("/processes", **needs(Scope.READ))
async def processes(
    caller: Asks,
    model_id: Annotated[str | None, Query(max_length=100)] = None,
    status: Status | None = None,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before")] = None,
) -> Processes:
    """Processes, the newest first; those of status `queued` wait for their turn."""
    shown, after = await page(lambda count: caller.agent.processes(model_id, count), status, cursor, limit)
    return Processes(processes=shown, next_cursor=after)


@router.post("/{process_id}/cancel", status_code=202, include_in_schema=False, **needs(Scope.OPERATE, 404, sends=True))
@router.post("/processes/{process_id}/cancel", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def cancel(process_id: ProcessId, caller: Asks) -> Process:
    """Asks a process to stop; it ends as cancelled within a few seconds."""
    await caller.does("process.cancel", process_id, caller.agent.cancel(process_id))
    return await caller.agent.process(process_id)


async def _accepted(command: Command, caller: Caller, response: Response) -> Submitted:
    submitted = await _submitted(command, caller)
    response.headers["Location"] = submitted.status_url
    return submitted


async def _submitted(command: Command, caller: Caller) -> Submitted:
    asked = {"command": plain(command)}
    about = command.of_model if isinstance(command, EnsembleModels) else command.model_id
    process = await caller.does("process.submit", about, caller.agent.submit(command), **asked)
    return Submitted.of(process)


async def _item(body: HyperparameterRequest, caller: Caller) -> BatchItem:
    try:
        return BatchItem(submitted=await _submitted(body.command(), caller))
    except OptAgentError as error:
        return BatchItem(problem=ProblemDocument(**problem(error, caller.request_id)[1]))


async def _place(process: Process, caller: Caller) -> int | None:
    """The place of a queued process in the queue, from 1."""
    if process.status is not Status.QUEUED:
        return None
    waiting = [other.process_id for other in queued(await caller.agent.processes(limit=1000))]
    return 1 + waiting.index(process.process_id) if process.process_id in waiting else None
