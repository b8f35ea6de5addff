"""Optimization routes: analyses, searches, and the processes that run them."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import FiniteFloat

from optagent.agent import Command
from optagent.domain.model_report import ModelReport
from optagent.domain.process import Process, Status
from optagent.domain.token import Scope, Token
from optagent.errors import OptAgentError
from serve_app.api.errors import problem
from serve_app.api.idempotency import mark_unfinished
from serve_app.api.model_requests import BacktestRequest, CurrentRules
from serve_app.api.monitoring import ProcessPolls, ProcessWatch
from serve_app.api.paging import page_of_processes
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
from serve_app.api.security import ApiContext, Caller, CurrentCaller, GuardedRoute, needs

router = APIRouter(prefix="/optimization", tags=["optimization"], route_class=GuardedRoute)


@router.post("/analyze", **needs(Scope.READ, 404, sends=True))
async def analyze(body: AnalyzeRequest, caller: CurrentCaller, request: Request) -> ModelReport:
    """Analyzes a model: its performance, drift and data quality, with a diagnosis; one at a time for a token."""
    report: ModelReport = await request.app.state.analyses.ask(
        request.state.token,
        ("report", body.model_dump_json()),
        lambda: caller.agent.analyze_model(**body.model_dump()),
    )
    return report


@router.post("/hyperparameter", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def hyperparameter(body: HyperparameterRequest, caller: CurrentCaller, response: Response) -> Submitted:
    """Queues a search for better parameters; `Location` is the URL of its status."""
    return await _accept(body.command(), caller, response)


@router.post("/ensemble", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def ensemble(body: EnsembleRequest, caller: CurrentCaller, response: Response) -> Submitted:
    """Queues a search for the best ensemble; it is registered where it beats the best of its models."""
    return await _accept(body.command(), caller, response)


@router.post("/features", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def features(body: FeaturesRequest, caller: CurrentCaller, response: Response) -> Submitted:
    """Queues a search for features, with a proof; a model with them is registered where it is better."""
    return await _accept(body.command(), caller, response)


@router.post("/optimize", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def optimize(body: OptimizeRequest, caller: CurrentCaller, response: Response) -> Submitted:
    """Queues the whole loop for a model; a candidate that passes every gate goes as far as `action` allows."""
    return await _accept(body.command(), caller, response)


@router.post("/backtest", status_code=202, **needs(Scope.ADMIN, 404, sends=True))
async def backtest(body: BacktestRequest, rules: CurrentRules, caller: CurrentCaller, response: Response) -> Submitted:
    """Queues the replay of a history under policies; needs the scope admin, since the server reads the given path.

    The `result` of the process says what each policy would have done, and recommends one.
    """
    return await _accept(body.command(rules), caller, response)


@router.post("/batch", **needs(Scope.OPERATE, sends=True))
async def batch(body: BatchRequest, caller: CurrentCaller, request: Request) -> BatchAnswer:
    """Several searches at once; each item answers with its process, or with its problem."""
    items = [await _submit_item(search, caller.part(number)) for number, search in enumerate(body.requests)]
    if any(item.problem is not None and item.problem.status >= 500 for item in items):
        mark_unfinished(request)
    return BatchAnswer(items=items)


Wait = Annotated[float, Query(ge=0, le=60, description="wait up to so many seconds for a change")]


async def _process_watch(request: Request, wait: Wait = 0.0) -> AsyncIterator[ProcessWatch]:
    """A watch, with a place among those who wait or stream for as long as the answer takes."""
    polls: ProcessPolls = request.app.state.polls
    token: Token = request.state.token
    context: ApiContext = request.app.state.context
    watch = ProcessWatch(polls, lambda: context.authenticator.still_holds(token, Scope.READ))
    if not wait and not request.url.path.endswith("/events"):
        yield watch
        return
    with polls.watchers.place(token.token_id):
        yield watch


async def _find_process(process_id: ProcessId, caller: CurrentCaller) -> Process:
    return await caller.agent.process(process_id)


FoundProcess = Annotated[Process, Depends(_find_process)]
Watches = Annotated[ProcessWatch, Depends(_process_watch)]
Since = Annotated[
    FiniteFloat | None, Query(description="with `wait`: the `updated_at` that you have; newer is a change")
]


@router.get("/status/{process_id}", **needs(Scope.READ, 404))
async def status(
    process: FoundProcess, watch: Watches, caller: CurrentCaller, wait: Wait = 0.0, since: Since = None
) -> ProcessStatus:
    """The progress of a process. With `wait`, it is answered as soon as its status, stage or progress changes."""
    if since in (None, process.updated_at):
        process = await watch.wait_for_change(process, wait)
    return ProcessStatus.of(process, await _queue_place(process, caller))


@router.get("/status/{process_id}/events", response_class=EventSourceResponse, **needs(Scope.READ, 404))
async def events(process: FoundProcess, watch: Watches) -> AsyncIterator[ServerSentEvent]:
    """The process at every change as server-sent events: `process`, and `ended` at the end."""
    async for event in watch.events(process):
        yield event


@router.get("/processes", **needs(Scope.READ))
async def processes(
    caller: CurrentCaller,
    model_id: Annotated[str | None, Query(max_length=100, description="only those of this model")] = None,
    status: Annotated[Status | None, Query(description="only those of this status")] = None,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before")] = None,
) -> Processes:
    """Processes, the newest first; those with the status `queued` wait for their turn."""
    agent = caller.agent  # those that have not ended have an index of their own: no number of ended ones hides them
    newest = agent.processes if status is None or status.has_ended else agent.unended_processes
    page, next_cursor = await page_of_processes(lambda count: newest(model_id, count), status, cursor, limit)
    return Processes(processes=page, next_cursor=next_cursor)


@router.post("/{process_id}/cancel", status_code=202, include_in_schema=False, **needs(Scope.OPERATE, 404, sends=True))
@router.post("/processes/{process_id}/cancel", status_code=202, **needs(Scope.OPERATE, 404, sends=True))
async def cancel(process_id: ProcessId, caller: CurrentCaller) -> Process:
    """Asks a process to stop; it ends as cancelled within a few seconds."""
    await caller.agent.cancel(process_id)
    return await caller.agent.process(process_id)


async def _accept(command: Command, caller: Caller, response: Response) -> Submitted:
    submitted = await _submit(command, caller)
    response.headers["Location"] = submitted.status_url
    return submitted


async def _submit(command: Command, caller: Caller) -> Submitted:
    return Submitted.of(await caller.agent.submit(command))


async def _submit_item(body: HyperparameterRequest, caller: Caller) -> BatchItem:
    try:
        return BatchItem(submitted=await _submit(body.command(), caller))
    except OptAgentError as error:
        return BatchItem(problem=ProblemDocument(**problem(error, caller.request_id)[1]))


async def _queue_place(process: Process, caller: Caller) -> int | None:
    """The place of a queued process in the queue, from 1."""
    if process.status is not Status.QUEUED:
        return None
    return (await caller.agent.queue_places([process.process_id])).get(process.process_id)
