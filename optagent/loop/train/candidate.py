"""Candidate search: a recipe, or several with their weights, by the stages that an optimization goes through."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from optagent.codec import decode
from optagent.domain.command import EngineerFeatures, OptimizeModel, TuneModel
from optagent.domain.gate import gates_from
from optagent.domain.policy import Stage
from optagent.domain.strategy import strategy_named
from optagent.domain.study import Study
from optagent.ensembles.bags import bag_like, bag_mean, whole_recipes
from optagent.errors import CorruptBundle, InvalidRequest, ModelNotFound
from optagent.loop.champion import champion_of
from optagent.loop.context import Optimization, Ports
from optagent.loop.process import Run
from optagent.loop.train.bags import BagGoal, bag_notes, search_bag
from optagent.loop.train.build import BuiltModel, build_recipe
from optagent.loop.train.ensemble import WeightSearch, build_members, search_weights_of_trials
from optagent.loop.train.features import current_recipe, propose_features
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.search import best_recipes, best_trial, known_predictions, run_search
from optagent.loop.train.search_clock import SearchClock
from optagent.loop.train.study import plan_study
from optagent.loop.train.track import track_study
from optagent.ports import Registry
from optagent.training.average import WeightedMean
from optagent.training.combined import Combined, from_json, to_json
from optagent.training.families.engineered import EngineeredModel
from optagent.training.families.ensemble import EnsembleModel
from optagent.training.metrics import metric_named
from optagent.training.plan import FeaturePlan
from optagent.training.recipe import OutOfFold, Recipe
from optagent.training.time_shares import AfterSearch

_FEATURES_SHARE = 0.3  # of the time left, where a search follows
_FITS = 2  # the candidate, and its refit


@dataclass(frozen=True, slots=True)
class CandidateRecipes:
    """Recipes of a model to build: one, or several under one weighting, all on the columns of the plan.

    `notes` are sentences about how they were found.
    """

    recipes: tuple[Recipe, ...]
    combined: Combined | None = None
    plan: FeaturePlan | None = None
    notes: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON, from which a runner that takes over restores the recipes."""
        combined = None if self.combined is None else to_json(self.combined).decode()
        recipes = [recipe.to_plain() for recipe in self.recipes]
        return {"recipes": recipes, "combined": combined, "said": list(self.notes)}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any], plan: FeaturePlan | None) -> "CandidateRecipes":
        combined = None if data["combined"] is None else from_json(data["combined"])
        recipes = tuple(Recipe.from_plain(recipe) for recipe in data["recipes"])
        return cls(recipes, combined, plan, tuple(data["said"]))


def champion_candidate(prepared: PreparedRows, registry: Registry) -> tuple["CandidateRecipes", tuple[str, ...]]:
    """The champion's recipes and features, to train it again; the first family's defaults without a champion.

    The notes name the parts of the champion that cannot be trained again.
    """
    champion = champion_of(prepared.spec.model_id, registry)
    try:
        predictor = None if champion is None else load_version(champion, registry)
    except (ModelNotFound, CorruptBundle):
        predictor = None
    if predictor is None:
        recipe, notes = current_recipe(prepared, registry)
        return CandidateRecipes((recipe,)), notes
    model, plan, notes = predictor.model, None, tuple[str, ...]()
    if isinstance(model, EngineeredModel):
        plan = model.plan
        model = model.inner.model
        if plan.columns != prepared.schema.names:
            plan, notes = None, ("the champion's features are of other columns: left out",)
    if isinstance(model, EnsembleModel):
        try:
            recipes = tuple(Recipe.from_plain(recipe) for recipe in predictor.manifest.params["recipes"])
            return CandidateRecipes(recipes, model.combined, plan, ("the champion's ensemble",)), notes
        except (KeyError, TypeError, InvalidRequest):
            notes = (*notes, "the champion's ensemble does not say how its members were trained")
    recipe, recipe_notes = current_recipe(prepared, registry)
    return CandidateRecipes((recipe,), None, plan), (*notes, *recipe_notes)


async def search_features(
    job: Optimization, recipe: Recipe, prepared: PreparedRows, searches: bool
) -> tuple[FeaturePlan | None, str]:
    """The plan that is better out of fold with the current parameters, or None; and the reason as text.

    `searches` says that a search for parameters follows, for which the larger share of the time is left.
    """
    command, ports, run = job.command, job.ports, job.run
    if "features" in run.stage_outputs:
        output = run.stage_outputs["features"]
        return None if output["plan"] is None else decode(FeaturePlan, output["plan"]), output["said"]
    await run.stage("engineer")
    features = EngineerFeatures(command.model_id, strategy=command.strategy, seed=command.seed)
    if run.deadline.is_set:
        share = _FEATURES_SHARE if searches else 1 - _FEATURES_SHARE
        features = replace(features, timeout_s=max(1.0, min(features.timeout_s, run.left_s() * share)))
    proposal = await asyncio.to_thread(propose_features, features, prepared, recipe, job.metric, ports, run)
    plan = proposal.plan if proposal.accepted else None
    await run.keep("features", {"plan": plan, "said": proposal.why})
    return plan, proposal.why


async def search_candidate(
    command: OptimizeModel,
    stages: tuple[Stage, ...],
    champion: CandidateRecipes,
    prepared: PreparedRows,
    ports: Ports,
    run: Run,
) -> CandidateRecipes:
    """The champion's recipes, or those that a search finds: the best one, or several under one weighting."""
    if "candidate" in run.stage_outputs:
        return CandidateRecipes.from_plain(run.stage_outputs["candidate"], prepared.plan)
    if Stage.TUNE not in stages:
        candidate = await _retrain(command, champion, prepared, ports, run)
    else:
        candidate = await _tune(command, stages, champion.recipes[0], prepared, ports, run)
    await run.keep("candidate", candidate.to_plain())
    return candidate


async def _retrain(
    command: OptimizeModel, champion: CandidateRecipes, prepared: PreparedRows, ports: Ports, run: Run
) -> CandidateRecipes:
    """The champion's recipes for the rows of today; bags stay bags.

    New weights of an ensemble replace the old ones where they are shown to be better than its best member.
    """
    wholes = whole_recipes(champion.recipes)
    notes = (*champion.notes, f"trained again: {', '.join(recipe.family for recipe in wholes)}")
    retrained = replace(champion, plan=prepared.plan, notes=notes)
    if champion.combined is None or len(wholes) < 2:
        return retrained
    weights = await _search_weights(wholes, command, prepared, ports, run)
    if isinstance(weights, str):
        return replace(retrained, notes=(*notes, weights))
    combined, reason = weights.choice.ensemble, weights.choice.reason
    if not weights.choice.accepted or combined is None:
        return replace(retrained, notes=(*notes, f"the weights are kept: {reason}"))
    notes = (*notes, f"fitted anew: {reason}")
    recipes = tuple(weights.recipes[name] for name in combined.names)
    if isinstance(combined, WeightedMean):
        recipes = bag_like(recipes, champion.recipes)
        combined = bag_mean(recipes, combined.task, combined)
    return replace(retrained, recipes=recipes, combined=combined, notes=notes)


async def _tune(
    command: OptimizeModel,
    stages: tuple[Stage, ...],
    recipe: Recipe,
    prepared: PreparedRows,
    ports: Ports,
    run: Run,
) -> CandidateRecipes:
    """The best trial of a search, or several of its trials under one weighting."""
    shared = replace(prepared, problem=await asyncio.to_thread(ports.tuner.share, prepared.problem))
    members = command.ensemble if Stage.ENSEMBLE in stages else 0
    found = await _search_recipes(command, recipe, shared, members, ports, run)
    single, notes = found.single, found.notes
    alone = CandidateRecipes((single,), None, prepared.plan, notes)
    if not members:
        return alone
    candidate = await _weigh(alone, found, command, shared, ports, run)
    return await _bag(candidate, command, shared, ports, run) if command.bag else candidate


async def _weigh(
    alone: CandidateRecipes,
    found: "_SearchedRecipes",
    command: OptimizeModel,
    prepared: PreparedRows,
    ports: Ports,
    run: Run,
) -> CandidateRecipes:
    """Several trials under one weighting where they are better than the best trial alone."""
    notes = alone.notes
    weights = await _search_weights(found.best, command, prepared, ports, run, found.known)
    if isinstance(weights, str):
        return replace(alone, notes=(*notes, weights))
    notes = (*notes, weights.choice.reason)
    combined = weights.choice.ensemble
    if not weights.choice.accepted or combined is None:
        return replace(alone, notes=notes)
    recipes = tuple(weights.recipes[name] for name in combined.names)
    return CandidateRecipes(recipes, combined, prepared.plan, notes)


async def _bag(
    candidate: CandidateRecipes,
    command: OptimizeModel,
    prepared: PreparedRows,
    ports: Ports,
    run: Run,
) -> CandidateRecipes:
    """The candidate, or its bag where that is better out of fold."""
    await run.stage("bag")
    goal = BagGoal(command.bag, _holdout_test(command, prepared), gates_from(command.gates).max_latency_ms)
    recipes, combined = candidate.recipes, candidate.combined
    bag = await asyncio.to_thread(search_bag, recipes, combined, goal, ports, run)
    candidate = replace(candidate, notes=(*candidate.notes, *bag_notes(bag)))
    if isinstance(bag, str):
        return candidate
    return replace(candidate, recipes=bag.recipes, combined=bag.mean)


def _holdout_test(command: OptimizeModel, prepared: PreparedRows) -> HoldoutTest:
    metric = metric_named(prepared.spec.metric, prepared.spec.task)
    return HoldoutTest(prepared, metric, strategy_named(command.strategy).alpha, command.seed)


async def _search_weights(
    recipes: Sequence[Recipe],
    command: OptimizeModel,
    prepared: PreparedRows,
    ports: Ports,
    run: Run,
    known: Mapping[str, OutOfFold] = MappingProxyType({}),
) -> WeightSearch | str:
    await run.stage("ensemble")
    test = _holdout_test(command, prepared)
    return await asyncio.to_thread(search_weights_of_trials, recipes, test, ports, run, known)


@dataclass(frozen=True, slots=True)
class _SearchedRecipes:
    """The recipe that a search chose, the best of its trials with the predictions that it has kept, and notes."""

    single: Recipe
    best: list[Recipe]
    notes: tuple[str, ...]
    known: Mapping[str, OutOfFold] = field(default_factory=dict)


async def _search_recipes(
    command: OptimizeModel, recipe: Recipe, prepared: PreparedRows, members: int, ports: Ports, run: Run
) -> _SearchedRecipes:
    if "search" in run.stage_outputs:
        output = run.stage_outputs["search"]
        best = [Recipe.from_plain(data) for data in output["best"]]
        return _SearchedRecipes(Recipe.from_plain(output["single"]), best, tuple(output["said"]))
    await run.stage("search")
    study = replace(_plan_study(command, recipe, prepared, ports, run), kept_predictions=members)
    clock = SearchClock(study, prepared, AfterSearch(_FITS, members, bag=command.bag if members else 0), run)
    async with track_study(study, ports, run) as record:
        record.tags = {"process": run.process.process_id}
        outcome = await run_search(study, prepared, ports, run, clock)
        trial = best_trial(study, outcome, strategy_named(command.strategy).margin)
        assert trial is not None, "a search without a score has raised"
        record.metrics = {f"cv_{study.metric}": float("nan") if trial.score is None else trial.score}
    single = Recipe(f"trial {trial.number}", trial.family, trial.params, trial.rounds)
    best = clock.affordable_recipes(best_recipes(study, outcome, members), outcome)
    trials = f"{len(outcome.trials)} trials, the best ({study.metric} {trial.score:.5g} over the folds)"
    notes = (f"{trials}: {trial.family}",)
    output = {"single": single.to_plain(), "best": [each.to_plain() for each in best], "said": notes}
    await run.keep("search", {**output, "trials": len(outcome.trials)})
    return _SearchedRecipes(single, best, notes, known_predictions(outcome))


def _plan_study(command: OptimizeModel, recipe: Recipe, prepared: PreparedRows, ports: Ports, run: Run) -> Study:
    search = TuneModel(
        command.model_id,
        trials=command.trials,
        timeout_s=command.timeout_s,
        strategy=command.strategy,
        seed=command.seed,
    )
    champion = (recipe.family, recipe.params)
    study = plan_study(run.process.process_id, prepared.spec, search, ports.limits, champion)
    return replace(study, data_digest=prepared.digest)


def build_candidate(candidate: CandidateRecipes, prepared: PreparedRows, seed: int, threads: int) -> BuiltModel:
    """The model of all development rows; the same each time, for the same rows and seed."""
    combined = candidate.combined
    if combined is None:
        return build_recipe(candidate.recipes[0], prepared, seed, threads)
    weights = {"weights": dict(zip(combined.names, combined.weights, strict=True))}
    return build_members(combined, candidate.recipes, prepared, seed, threads, weights)
