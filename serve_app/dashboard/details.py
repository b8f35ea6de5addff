"""The pages that show one thing: a model, a rollout, a process, a study; and pages of plots."""

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from optagent.codec import plain
from optagent.domain.command import BacktestModel
from optagent.domain.model import CHAMPION
from optagent.domain.monitoring import AnalysisType
from optagent.domain.policy import Action, OptimizationType
from optagent.domain.process import Process
from optagent.domain.rollout import Rollout, abort, promote, rollback
from optagent.errors import Conflict, OptAgentError
from optagent.loop.commands import HANDLERS
from serve_app.api.requests import ModelId, ProcessId
from serve_app.api.responses import shown_model
from serve_app.dashboard import charts
from serve_app.dashboard.page import Page, drawn, page
from serve_app.dashboard.session import PREFIX, Reader

router = APIRouter(prefix=PREFIX, route_class=Page)

_LIVE_S = 3.0
_ROWS = 20
_TRIALS = 30

Span = Annotated[str, Query(alias="range", max_length=100)]
Kind = Annotated[AnalysisType, Query()]


@router.get("/models/{model_id}")
async def model(request: Request, model_id: ModelId, viewer: Reader) -> Response:
    """What a model is, who competes, what is wrong, and what was done about it."""
    agent = viewer.agent
    spec = shown_model(await agent.model(model_id))
    versions, rollouts, alerts, processes, studies = await asyncio.gather(
        agent.versions(model_id),
        agent.rollouts(model_id, _ROWS),
        agent.alerts(model_id, _ROWS),
        agent.processes(model_id, _ROWS),
        _or_none(agent.studies(model_id)),
    )
    latest = rollouts[0] if rollouts else None
    return await page(
        request,
        "model.html",
        live_s=_LIVE_S,
        spec=spec,
        described=plain(spec),
        champion=next((one for one in versions if CHAMPION in one.aliases), None),
        versions=versions[:_ROWS],
        more_versions=max(0, len(versions) - _ROWS),
        rollout=latest,
        evidence=None if latest is None else charts.evidence(latest),
        verbs=() if latest is None else _possible(latest),
        rollouts=rollouts,
        alerts=alerts,
        processes=processes,
        studies=(studies or [])[:_ROWS],
        kinds=list(OptimizationType),
        actions=[Action.CANDIDATE, Action.SHADOW, Action.FULL],
    )


@router.get("/models/{model_id}/analysis")
async def analysis(model_id: ModelId, viewer: Reader, span: Span = "24h", kind: Kind = AnalysisType.FULL) -> Response:
    """The analysis of a stretch of time, as the page that `optagent analyze --html` writes."""
    return drawn(await viewer.agent.analysis_page(model_id, kind, span))


@router.get("/rollouts/{rollout_id}")
async def rollout(request: Request, rollout_id: ProcessId, viewer: Reader) -> Response:
    """A rollout with its transitions and its looks, the newest first."""
    found = await viewer.agent.rollout(rollout_id)
    looks = found.looks[::-1][:_ROWS]
    return await page(
        request,
        "rollout.html",
        live_s=_LIVE_S if found.state.is_active else 0,
        rollout=found,
        looks=looks,
        evidence=charts.evidence(found),
        policy=plain(found.policy),
    )


@router.get("/processes/{process_id}")
async def process(request: Request, process_id: ProcessId, viewer: Reader) -> Response:
    """How far a process is, and what came of it."""
    found = await viewer.agent.process(process_id)
    # Summaries: a whole study would have its importances computed at every look.
    studies = await _or_none(viewer.agent.studies(found.model_id)) or []
    return await page(
        request,
        "process.html",
        live_s=0 if found.status.ended else _LIVE_S / 3,
        process=found,
        result=found.result or {},
        drawable=_is_backtest(found) and found.result is not None,
        study=any(one.study_id == process_id for one in studies),
    )


@router.get("/processes/{process_id}/backtest")
async def backtest(process_id: ProcessId, viewer: Reader) -> Response:
    """What each policy would have done, as the page that `optagent backtest --html` writes."""
    return drawn(await viewer.agent.backtest_page(process_id))


@router.get("/studies/{study_id}")
async def study(request: Request, study_id: ProcessId, viewer: Reader) -> Response:
    """A search: its trials, which parameters mattered, the Pareto front."""
    report = await viewer.agent.study(study_id)
    return await page(
        request,
        "study.html",
        live_s=_LIVE_S,
        report=report,
        trials=report.ranked()[:_TRIALS],
        scores=charts.trials(report),
        importances=charts.importances(report),
    )


@router.get("/studies/{study_id}/plots")
async def plots(study_id: ProcessId, viewer: Reader) -> Response:
    """All plots of a search, as the page that `optagent studies STUDY --html` writes."""
    return drawn(await viewer.agent.study_page(study_id))


def _is_backtest(process: Process) -> bool:
    return process.kind == HANDLERS[BacktestModel].kind


def _possible(rollout: Rollout) -> list[str]:
    """What may be done with a rollout by hand, by the rules of the rollout itself."""
    found = []
    for verb in (promote, abort, rollback):
        with contextlib.suppress(Conflict):
            verb(rollout, "", "", rollout.changed_at)
            found.append(verb.__name__)
    return found


async def _or_none(asked: Any) -> Any:
    """What is answered, None where it is refused: the rest of a page is worth showing without it."""
    try:
        return await asked
    except OptAgentError:
        return None
