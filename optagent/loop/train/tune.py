"""Hyperparameter tuning: a search for parameters, from rows to a registered version."""

import asyncio
from dataclasses import replace

from optagent.analysis.selection_skill import judge_selection
from optagent.arrays import Prediction
from optagent.domain.command import TuneModel
from optagent.domain.model import ModelSpec
from optagent.domain.strategy import strategy_named
from optagent.domain.study import SearchOutcome, Study, Trial, TrialState, TuningResult
from optagent.errors import CorruptBundle, ModelNotFound
from optagent.loop.champion import champion_of
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train.bags import Bag, BagGoal, bag_notes, build_bag, latency_limit, search_bag
from optagent.loop.train.build import BuiltModel, build_default, build_trial, recipe_of_trial
from optagent.loop.train.ensemble import WeightSearch, build_ensemble, search_weights_of_trials
from optagent.loop.train.holdout import Baseline, HoldoutTest, baseline_for, constant_scores
from optagent.loop.train.holdout_looks import prove_on_holdout
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows, prepare
from optagent.loop.train.register import register_result
from optagent.loop.train.search import (
    best_recipes,
    best_trial,
    hypervolume_over_time,
    known_predictions,
    pareto_front,
    run_search,
)
from optagent.loop.train.search_clock import SearchClock
from optagent.loop.train.start import starting
from optagent.loop.train.study import champion_params, plan_study
from optagent.loop.train.track import track_study
from optagent.ports import Registry
from optagent.training.combined import Combined
from optagent.training.families.engineered import Engineered, EngineeredModel
from optagent.training.metrics import metric_named
from optagent.training.plan import FeaturePlan
from optagent.training.recipe import Recipe
from optagent.training.time_shares import AfterSearch


async def tune(command: TuneModel, spec: ModelSpec, ports: Ports, run: Run) -> TuningResult:
    """Prepares rows, searches, builds, validates and registers; each stage is stored before it starts."""
    await run.stage("prepare")
    async with starting(ports.tuner, spec):
        study, prepared, notes = await asyncio.to_thread(_prepare_study, command, spec, ports, run)
    await run.stage("search")
    run.set_end_aside()
    prepared = replace(prepared, problem=await asyncio.to_thread(ports.tuner.share, prepared.problem))
    strategy = strategy_named(command.strategy)
    test = HoldoutTest(prepared, metric_named(study.metric, study.task), strategy.alpha, study.seed)
    clock = SearchClock(study, prepared, AfterSearch(1, command.ensemble, has_baseline=True, bag=command.bag), run)
    async with track_study(study, ports, run) as record:
        outcome = await run_search(study, prepared, ports, run, clock)
        best = best_trial(study, outcome, strategy.margin)
        assert best is not None, "a search without a score has raised"
        weights: WeightSearch | str | None = None
        if command.ensemble:
            await run.stage("ensemble")
            recipes = clock.affordable_recipes(best_recipes(study, outcome, command.ensemble), outcome)
            known = known_predictions(outcome)
            weights = await asyncio.to_thread(search_weights_of_trials, recipes, test, ports, run, known)
        bag = await _try_bag(BagGoal(command.bag, test, latency_limit(spec.policy)), best, weights, ports, run)
        await run.stage("validate")
        built = await asyncio.to_thread(
            _build, best, bag if isinstance(bag, Bag) else weights, study, prepared, ports.threads
        )
        prediction, baseline, note = await asyncio.to_thread(_predict_holdout, built, best, study, prepared, ports)
        comparison = await prove_on_holdout(prediction, baseline, test, run.process.process_id, ports)
        notes = (*notes, *_weight_notes(weights), *bag_notes(bag), *((note,) if note else ()))
        result = _tuning_result(study, outcome, built, notes, run)
        scores = {**comparison.scores(study.metric), **constant_scores(prepared, test.metric)}
        record.metrics = {f"cv_{study.metric}": built.score, **scores}
        result = await register_result(result, built, comparison, record.metrics, prepared, ports, run)
        record.tags = {"version": str(result.version), "verdict": str(result.verdict)}
        record.with_plots = True
    return result


def _prepare_study(
    command: TuneModel, spec: ModelSpec, ports: Ports, run: Run
) -> tuple[Study, PreparedRows, tuple[str, ...]]:
    """The study, the rows with the champion's features, and notes about both."""
    champion = champion_params(spec.model_id, ports.registry)
    study = plan_study(run.process.process_id, spec, command, ports.limits, champion)
    prepared = prepare(spec, ports.datasets, command.seed)
    plan, notes = champion_plan(prepared, ports.registry)
    prepared = prepared if plan is None else prepared.with_plan(plan)
    study = replace(study, data_digest=prepared.digest, kept_predictions=command.ensemble)
    return study, prepared, (*prepared.notes, *notes)


def champion_plan(prepared: PreparedRows, registry: Registry) -> tuple[FeaturePlan | None, tuple[str, ...]]:
    """The plan of the champion's features, None with a note where it does not fit these columns."""
    version = champion_of(prepared.spec.model_id, registry)
    if version is None or version.tags.get("form") != Engineered.name:
        return None, ()
    try:
        model = load_version(version, registry).model
    except ModelNotFound:
        return None, ()
    except CorruptBundle as error:
        return None, (f"the champion's features are left out: {error}",)
    if not isinstance(model, EngineeredModel) or model.plan.columns != prepared.problem.data.names:
        return None, (f"the features of champion version {version.version} are of other columns: left out",)
    return model.plan, ()


async def _try_bag(
    goal: BagGoal, best: Trial, weights: WeightSearch | str | None, ports: Ports, run: Run
) -> Bag | str | None:
    """The bag of what the search came to, where one is asked for."""
    if not goal.models:
        return None
    await run.stage("bag")
    return await asyncio.to_thread(search_bag, *_recipes_of(best, weights), goal, ports, run)


def _build(
    best: Trial, outcome: Bag | WeightSearch | str | None, study: Study, prepared: PreparedRows, threads: int
) -> BuiltModel:
    """The bag, or the ensemble of the best trials, where it was accepted, the best trial alone otherwise."""
    if isinstance(outcome, Bag):
        return build_bag(outcome, prepared, study.seed, threads)
    if isinstance(outcome, WeightSearch) and outcome.choice.accepted:
        return build_ensemble(outcome, prepared, study.seed, threads)
    return build_trial(best, prepared, study, threads)


def _recipes_of(best: Trial, weights: WeightSearch | str | None) -> tuple[tuple[Recipe, ...], Combined | None]:
    """The recipes of the ensemble that was accepted, and its weighting, or those of the best trial alone."""
    combined = weights.choice.ensemble if isinstance(weights, WeightSearch) and weights.choice.accepted else None
    if combined is None or isinstance(weights, str | None):
        return (recipe_of_trial(best),), None
    return tuple(weights.recipes[name] for name in combined.names), combined


def _weight_notes(weights: WeightSearch | str | None) -> tuple[str, ...]:
    if weights is None:
        return ()
    return (weights if isinstance(weights, str) else weights.choice.reason,)


def _predict_holdout(
    built: BuiltModel, best: Trial, study: Study, prepared: PreparedRows, ports: Ports
) -> tuple[Prediction, Baseline, str | None]:
    """The predictions on the holdout of the tuned model, and of the baseline with a note about it."""
    x = prepared.holdout.x
    baseline, note = baseline_for(
        prepared,
        ports.registry,
        lambda: build_default(best.family, prepared, study, ports.threads).model.predict(x),
    )
    return built.model.predict(x), baseline, note


def _tuning_result(
    study: Study, outcome: SearchOutcome, built: BuiltModel, notes: tuple[str, ...], run: Run
) -> TuningResult:
    return TuningResult(
        process_id=run.process.process_id,
        model_id=study.model_id,
        metric=study.metric,
        best_params={"family": built.family, **built.params},
        best_score=built.score,
        front=pareto_front(study, outcome),
        hypervolume=hypervolume_over_time(study, outcome),
        selection=judge_selection(outcome.trials, study.maximize),
        trials=len(outcome.trials),
        pruned=outcome.count(TrialState.PRUNED),
        failed=outcome.count(TrialState.FAILED, TrialState.INFEASIBLE),
        timed_out=outcome.timed_out,
        notes=notes,
    )
