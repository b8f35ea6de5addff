"""Tune: the loop's stages from rows to a registered version, for one command."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from optagent.domain.command import TuneModel
from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion
from optagent.domain.strategy import strategy_named
from optagent.domain.study import SearchOutcome, Study, TrialState, TuningResult
from optagent.errors import CorruptBundle, ModelNotFound, NotFound
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train import holdout, register, search
from optagent.loop.train.ensemble import WeightSearch, built_of, tried_together
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows, prepare
from optagent.ports import Clock, Registry, Studies
from optagent.training.families.engineered import Engineered, EngineeredModel
from optagent.training.metrics import metric_named
from optagent.training.plan import FeaturePlan

_log = logging.getLogger(__name__)


async def tune(command: TuneModel, spec: ModelSpec, outside: Ports, run: Run) -> TuningResult:
    """Prepares, searches, builds, validates and registers; each stage is stored before it starts."""
    await run.stage("prepare")
    champion = await asyncio.to_thread(search.champion_params, spec.model_id, outside.registry)
    study = search.plan_study(run.process.process_id, spec, command, outside.limits, champion)
    prepared = await asyncio.to_thread(prepare, spec, outside.datasets, command.seed)
    plan, plan_note = await asyncio.to_thread(champion_plan, prepared, outside.registry)
    prepared = prepared if plan is None else prepared.planned(plan)
    study = replace(study, data_digest=prepared.digest)
    await run.stage("search")
    prepared = replace(prepared, problem=await asyncio.to_thread(outside.tuner.share, prepared.problem))
    outside.tracker.begin(study)
    metrics: Mapping[str, float] = {}
    tags: Mapping[str, str] = {}
    succeeded = False
    try:
        outcome = await search.search(study, prepared, outside.tuner, outside.tracker, run)
        together = None
        if command.ensemble:
            await run.stage("ensemble")
            together = await asyncio.to_thread(_together, command, study, outcome, prepared, outside, run)
        await run.stage("validate")
        built, comparison, notes = await asyncio.to_thread(_judge, command, study, outcome, together, prepared, outside)
        metrics = {f"cv_{study.metric}": built.score, **comparison.scores(study.metric)}
        await run.stage("register")
        version = await asyncio.to_thread(
            register.register,
            built,
            prepared,
            comparison.verdict,
            metrics,
            run.process.process_id,
            outside.clock.now(),
            outside.registry,
            outside.observations,
        )
        tags, succeeded = {"version": version.version, "verdict": str(comparison.verdict)}, True
    finally:
        if not run.is_lost:
            await asyncio.to_thread(_close, study, succeeded, metrics, tags, outside)
    return _result(
        study, outcome, built, comparison, version, (*prepared.notes, *plan_note, *notes), run, outside.clock
    )


def _close(
    study: Study, succeeded: bool, metrics: Mapping[str, float], tags: Mapping[str, str], outside: Ports
) -> None:
    """Ends the tracking of the study, with its plots where it succeeded."""
    with tempfile.TemporaryDirectory(prefix="optagent-study-") as folder:
        drawn = Path(folder) if succeeded and _drawn(study.study_id, outside.studies, Path(folder)) else None
        outside.tracker.end(study, succeeded, metrics, tags, drawn)


def _drawn(study_id: str, studies: Studies | None, folder: Path) -> bool:
    """Whether the study's plots and importances are in `folder`; what prevents it is logged."""
    if studies is None:
        return False
    try:
        page = studies.draw(study_id)
        (folder / "study.html").write_text(page, encoding="utf-8")
        importances = dict(studies.study(study_id).importances)
        (folder / "importances.json").write_text(json.dumps(importances, indent=2), encoding="utf-8")
    except NotFound:  # a tuner that keeps no trials
        return False
    except Exception as error:
        _log.warning("the plots of %s are not drawn: %s: %s", study_id, type(error).__name__, error)
        return False
    return True


def champion_plan(prepared: PreparedRows, registry: Registry) -> tuple[FeaturePlan | None, tuple[str, ...]]:
    """The plan that the champion's features are made by, where these columns can be given to it; else a note."""
    try:
        version = registry.version(prepared.spec.model_id, CHAMPION)
        if version.tags.get("form") != Engineered.name:
            return None, ()
        model = load_version(version, registry).model
    except ModelNotFound:
        return None, ()
    except CorruptBundle as error:
        return None, (f"the champion's features are left out: {error}",)
    if not isinstance(model, EngineeredModel) or model.plan.columns != prepared.problem.data.names:
        return None, (f"the features of champion version {version.version} are of other columns: left out",)
    return model.plan, ()


def _together(
    command: TuneModel, study: Study, outcome: SearchOutcome, prepared: PreparedRows, outside: Ports, run: Run
) -> WeightSearch | str:
    """The search for weights of the best trials, or why there was none: that fails no search for parameters."""
    recipes = search.best_recipes(study, outcome, command.ensemble)
    metric, alpha = metric_named(study.metric, study.task), strategy_named(command.strategy).alpha
    return tried_together(recipes, prepared, metric, alpha, study.seed, outside, run)


def _judge(
    command: TuneModel,
    study: Study,
    outcome: SearchOutcome,
    together: WeightSearch | str | None,
    prepared: PreparedRows,
    outside: Ports,
) -> tuple[search.BuiltModel, holdout.Comparison, tuple[str, ...]]:
    strategy = strategy_named(command.strategy)
    best = search.chosen(study, outcome, strategy.margin)
    assert best is not None  # search.search has refused a search without a score
    said = () if together is None else (together if isinstance(together, str) else together.choice.reason,)
    if isinstance(together, WeightSearch) and together.choice.accepted:
        built = built_of(together, prepared, study.seed, outside.threads)
    else:
        built = search.build(best, prepared, study, outside.threads)
    x = prepared.holdout.x
    baseline, note = holdout.baseline_for(
        prepared,
        outside.registry,
        lambda: search.build_default(best.family, prepared, study, outside.threads).model.predict(x),
    )
    metric = metric_named(study.metric, study.task)
    comparison = holdout.compare(built.model.predict(x), baseline, prepared, metric, strategy.alpha, study.seed)
    return built, comparison, (*said, note) if note else said


def _result(
    study: Study,
    outcome: SearchOutcome,
    built: search.BuiltModel,
    comparison: holdout.Comparison,
    version: ModelVersion,
    notes: tuple[str, ...],
    run: Run,
    clock: Clock,
) -> TuningResult:
    return TuningResult(
        process_id=run.process.process_id,
        model_id=study.model_id,
        metric=study.metric,
        best_params={"family": built.family, **built.params},
        best_score=built.score,
        front=search.front(study, outcome),
        hypervolume=search.hypervolume_over_time(study, outcome),
        **comparison.answer(version),
        trials=len(outcome.trials),
        pruned=outcome.count(TrialState.PRUNED),
        failed=outcome.count(TrialState.FAILED, TrialState.INFEASIBLE),
        timed_out=outcome.timed_out,
        duration_s=clock.now() - run.process.created_at,
        notes=notes,
    )
