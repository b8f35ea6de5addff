"""Detail pages of a model, a rollout, a process and a study, and their pages of plots."""

import asyncio
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from optagent.codec import plain
from optagent.domain.command import BacktestModel
from optagent.domain.mixture import MixtureMode
from optagent.domain.mixture_status import MODE_WORDS, MixtureStatus
from optagent.domain.model import CHAMPION
from optagent.domain.monitoring import AnalysisType
from optagent.domain.policy import Action, OptimizationType
from optagent.domain.process import Process
from optagent.domain.rollout import Rollout, abort, promote, rollback
from optagent.errors import Conflict, OptAgentError
from optagent.loop.commands import HANDLERS
from serve_app.api.requests import ModelId, ProcessId
from serve_app.dashboard import charts
from serve_app.dashboard.page import PageRoute, plots_response, render_page
from serve_app.dashboard.quality_charts import drift_map, marks_of, metric_over_time
from serve_app.dashboard.session import PREFIX, Reader

router = APIRouter(prefix=PREFIX, route_class=PageRoute)

_ROWS = 20
_TRIALS = 30
_POINTS = 90
_DECISIONS = {"promote": promote, "abort": abort, "rollback": rollback}

_MIXTURE_ACTS = {
    MixtureMode.LEARNING: ("freeze", "champion-only"),
    MixtureMode.FROZEN: ("thaw", "champion-only"),
    MixtureMode.CHAMPION_ONLY: ("thaw",),
}
_EFFECTS = {
    "freeze": "Its weights stay as they are, whatever labels come, until it is thawed.",
    "thaw": "The mixture answers, and its weights follow the labels again.",
    "champion-only": "The champion answers all requests alone, at once, until the mixture is thawed.",
}

Span = Annotated[str, Query(alias="range", max_length=100)]
Kind = Annotated[AnalysisType, Query()]


@router.get("/models/{model_id}")
async def model_page(request: Request, model_id: ModelId, viewer: Reader) -> Response:
    """A model with its versions, rollout, alerts, processes and searches."""
    agent = viewer.agent
    spec = await agent.model(model_id)
    versions, points, mixture, rollouts, alerts, processes, studies = await asyncio.gather(
        agent.versions(model_id),
        agent.quality(model_id, limit=_POINTS),
        _answer_or_none(agent.mixture(model_id)),
        agent.rollouts(model_id, _ROWS),
        agent.alerts(model_id, _ROWS),
        agent.processes(model_id, _ROWS),
        _answer_or_none(agent.studies(model_id)),
    )
    latest = rollouts[0] if rollouts else None
    return await render_page(
        request,
        "model.html",
        follows=f"model:{model_id}",
        spec=spec,
        described=plain(spec),
        champion=next((version for version in versions if CHAMPION in version.aliases), None),
        metric_chart=metric_over_time(points, marks_of(alerts, versions, rollouts)),
        drift_chart=drift_map(points),
        newest=points[-1] if points else None,
        **_mixture_values(mixture),
        versions=versions[:_ROWS],
        more_versions=max(0, len(versions) - _ROWS),
        rollout=latest,
        evidence=None if latest is None else charts.evidence(latest),
        verbs=() if latest is None else _possible_decisions(latest),
        rollouts=rollouts,
        alerts=alerts,
        processes=processes,
        studies=(studies or [])[:_ROWS],
        kinds=list(OptimizationType),
        actions=[Action.CANDIDATE, Action.SHADOW, Action.FULL],
    )


@router.get("/models/{model_id}/analysis")
async def analysis_page(
    request: Request, model_id: ModelId, viewer: Reader, span: Span = "24h", kind: Kind = AnalysisType.FULL
) -> Response:
    """The analysis of a time range, as the page that `optagent analyze --html` writes; one at a time for a token."""
    text = await request.app.state.analyses.ask(
        viewer.token,
        ("page", model_id, kind, span),
        lambda: viewer.agent.analysis_page(model_id, kind, span),
    )
    return plots_response(text)


@router.get("/rollouts/{rollout_id}")
async def rollout_page(request: Request, rollout_id: ProcessId, viewer: Reader) -> Response:
    """A rollout with its transitions and its looks, the newest first."""
    rollout = await viewer.agent.rollout(rollout_id)
    looks = rollout.looks[::-1][:_ROWS]
    return await render_page(
        request,
        "rollout.html",
        follows=f"rollout:{rollout_id}" if rollout.state.is_active or not rollout.is_settled else "",
        rollout=rollout,
        looks=looks,
        evidence=charts.evidence(rollout),
        policy=plain(rollout.policy),
    )


@router.get("/processes/{process_id}")
async def process_page(request: Request, process_id: ProcessId, viewer: Reader) -> Response:
    """A process with its progress and its result."""
    process = await viewer.agent.process(process_id)
    # Summaries, since reading a whole study computes its importances each time.
    studies = await _answer_or_none(viewer.agent.studies(process.model_id)) or []
    return await render_page(
        request,
        "process.html",
        follows="" if process.status.has_ended else f"process:{process_id}",
        process=process,
        result=process.result or {},
        drawable=_is_backtest(process) and process.result is not None,
        study=any(study.study_id == process_id for study in studies),
    )


@router.get("/processes/{process_id}/backtest")
async def backtest_page(process_id: ProcessId, viewer: Reader) -> Response:
    """The outcome of each policy of a backtest, as the page that `optagent backtest --html` writes."""
    return plots_response(await viewer.agent.backtest_page(process_id))


@router.get("/studies/{study_id}")
async def study_page(request: Request, study_id: ProcessId, viewer: Reader) -> Response:
    """A search with its trials, the importances of parameters, and the Pareto front."""
    report = await viewer.agent.study(study_id)
    return await render_page(
        request,
        "study.html",
        follows=f"process:{study_id}",
        report=report,
        trials=report.ranked_trials()[:_TRIALS],
        scores=charts.trials(report),
        importances=charts.importances(report),
    )


@router.get("/studies/{study_id}/plots")
async def study_plots_page(study_id: ProcessId, viewer: Reader) -> Response:
    """All plots of a search, as the page that `optagent studies STUDY --html` writes."""
    return plots_response(await viewer.agent.study_page(study_id))


def _mixture_values(mixture: MixtureStatus | None) -> dict[str, Any]:
    """The variables of the section of a mixture, which is left out for None."""
    if mixture is None:
        return {"mixture": None}
    mode = MixtureMode(mixture.mode)
    return {
        "mixture": mixture,
        "mode_words": MODE_WORDS[mode],
        "mixture_weights": charts.mixture_weights(mixture),
        "mixture_gains": charts.mixture_gains(mixture),
        "mixture_acts": {act: _EFFECTS[act] for act in _MIXTURE_ACTS[mode]},
    }


def _is_backtest(process: Process) -> bool:
    return process.kind == HANDLERS[BacktestModel].kind


def _possible_decisions(rollout: Rollout) -> list[str]:
    """The decisions by hand that the rules of the rollout allow now."""
    possible = []
    for name, decide in _DECISIONS.items():
        with contextlib.suppress(Conflict):
            decide(rollout, "", "", rollout.changed_at)
            possible.append(name)
    return possible


async def _answer_or_none(answer: Any) -> Any:
    """The awaited answer, None where it is refused: the rest of the page is shown without it."""
    try:
        return await answer
    except OptAgentError:
        return None
