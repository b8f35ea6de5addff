"""Candidate: a recipe, or several with their weights, found by the stages that an optimization goes through."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optagent.codec import decode
from optagent.domain.command import EngineerFeatures, OptimizeModel, TuneModel
from optagent.domain.model import CHAMPION
from optagent.domain.policy import Stage
from optagent.domain.strategy import strategy_named
from optagent.errors import CorruptBundle, InvalidRequest, ModelNotFound
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train import search
from optagent.loop.train.ensemble import WeightSearch, built_together, tried_together
from optagent.loop.train.features import current_recipe, propose
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.search import BuiltModel
from optagent.ports import Registry
from optagent.training.combined import Combined, from_json, to_json
from optagent.training.families.engineered import EngineeredModel
from optagent.training.families.ensemble import EnsembleModel
from optagent.training.metrics import Metric, metric_named
from optagent.training.plan import FeaturePlan
from optagent.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class CandidateRecipes:
    """What is to be built: one recipe, or several under one weighting, all on the columns of the plan.

    `said` tells in words how it was found.
    """

    recipes: tuple[Recipe, ...]
    combined: Combined | None = None
    plan: FeaturePlan | None = None
    said: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it; a runner that takes over makes it of that again."""
        combined = None if self.combined is None else to_json(self.combined).decode()
        return {"recipes": [one.to_plain() for one in self.recipes], "combined": combined, "said": list(self.said)}

    @classmethod
    def from_plain(cls, kept: Mapping[str, Any], plan: FeaturePlan | None) -> "CandidateRecipes":
        combined = None if kept["combined"] is None else from_json(kept["combined"])
        recipes = tuple(Recipe.from_plain(one) for one in kept["recipes"])
        return cls(recipes, combined, plan, tuple(kept["said"]))


def champion_candidate(prepared: PreparedRows, registry: Registry) -> tuple["CandidateRecipes", tuple[str, ...]]:
    """The champion as it would be trained again, with its features; the first family's defaults without one.

    The notes say what of it cannot be trained again.
    """
    spec = prepared.spec
    try:
        predictor = load_version(registry.version(spec.model_id, CHAMPION), registry)
    except (ModelNotFound, CorruptBundle):
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
            recipes = tuple(Recipe.from_plain(one) for one in predictor.manifest.params["recipes"])
            return CandidateRecipes(recipes, model.combined, plan, ("the champion's ensemble",)), notes
        except (KeyError, TypeError, InvalidRequest):
            notes = (*notes, "the champion's ensemble does not say how its members were trained")
    recipe, said = current_recipe(prepared, registry)
    return CandidateRecipes((recipe,), None, plan), (*notes, *said)


async def found_features(
    command: OptimizeModel, recipe: Recipe, prepared: PreparedRows, metric: Metric, outside: Ports, run: Run
) -> tuple[FeaturePlan | None, str]:
    """The plan that is better out of fold with the current parameters, or None; and why, in words."""
    if "features" in run.kept:
        kept = run.kept["features"]
        return None if kept["plan"] is None else decode(FeaturePlan, kept["plan"]), kept["said"]
    await run.stage("engineer")
    asked = EngineerFeatures(command.model_id, strategy=command.strategy, seed=command.seed)
    if command.timeout_s is not None:
        asked = replace(asked, timeout_s=command.timeout_s)
    proposal = await asyncio.to_thread(propose, asked, prepared, recipe, metric, outside, run)
    plan = proposal.plan if proposal.accepted else None
    await run.keep("features", {"plan": plan, "said": proposal.why})
    return plan, proposal.why


async def searched(
    command: OptimizeModel,
    stages: tuple[Stage, ...],
    champion: CandidateRecipes,
    prepared: PreparedRows,
    outside: Ports,
    run: Run,
) -> CandidateRecipes:
    """The champion as it was trained, or the best that a search finds, alone or with others."""
    if "candidate" in run.kept:
        return CandidateRecipes.from_plain(run.kept["candidate"], prepared.plan)
    if Stage.TUNE not in stages:
        candidate = await _again(command, champion, prepared, outside, run)
    else:
        candidate = await _tuned(command, stages, champion.recipes[0], prepared, outside, run)
    await run.keep("candidate", candidate.to_plain())
    return candidate


async def _again(
    command: OptimizeModel, champion: CandidateRecipes, prepared: PreparedRows, outside: Ports, run: Run
) -> CandidateRecipes:
    """The champion on the rows of today; the weights of an ensemble are fitted anew where that is shown to be better
    than its best member, and kept otherwise."""
    said = (*champion.said, f"trained again: {', '.join(recipe.family for recipe in champion.recipes)}")
    again = replace(champion, plan=prepared.plan, said=said)
    if champion.combined is None:
        return again
    await run.stage("ensemble")
    weighed = await asyncio.to_thread(_together, command, list(champion.recipes), prepared, outside, run)
    if isinstance(weighed, str):
        return replace(again, said=(*said, weighed))
    combined, reason = weighed.choice.ensemble, weighed.choice.reason
    if not weighed.choice.accepted or combined is None:
        return replace(again, said=(*said, f"the weights are kept: {reason}"))
    recipes = tuple(weighed.recipes[name] for name in combined.names)
    return replace(again, recipes=recipes, combined=combined, said=(*said, f"fitted anew: {reason}"))


async def _tuned(
    command: OptimizeModel,
    stages: tuple[Stage, ...],
    recipe: Recipe,
    prepared: PreparedRows,
    outside: Ports,
    run: Run,
) -> CandidateRecipes:
    shared = replace(prepared, problem=await asyncio.to_thread(outside.tuner.share, prepared.problem))
    single, best, said = await _best(command, recipe, shared, outside, run)
    if Stage.ENSEMBLE not in stages:
        return CandidateRecipes((single,), None, prepared.plan, said)
    await run.stage("ensemble")
    weighed = await asyncio.to_thread(_together, command, best, prepared, outside, run)
    if isinstance(weighed, str):
        return CandidateRecipes((single,), None, prepared.plan, (*said, weighed))
    said = (*said, weighed.choice.reason)
    combined = weighed.choice.ensemble
    if not weighed.choice.accepted or combined is None:
        return CandidateRecipes((single,), None, prepared.plan, said)
    return CandidateRecipes(tuple(weighed.recipes[name] for name in combined.names), combined, prepared.plan, said)


async def _best(
    command: OptimizeModel, recipe: Recipe, prepared: PreparedRows, outside: Ports, run: Run
) -> tuple[Recipe, list[Recipe], tuple[str, ...]]:
    """The recipe that a search chose, the best of its trials, and what there is to say."""
    if "search" in run.kept:
        kept = run.kept["search"]
        best = [Recipe.from_plain(one) for one in kept["best"]]
        return Recipe.from_plain(kept["single"]), best, tuple(kept["said"])
    await run.stage("search")
    asked = TuneModel(
        command.model_id,
        trials=command.trials,
        timeout_s=command.timeout_s,
        strategy=command.strategy,
        seed=command.seed,
    )
    champion = (recipe.family, recipe.params)
    study = search.plan_study(run.process.process_id, prepared.spec, asked, outside.limits, champion)
    study = replace(study, data_digest=prepared.digest)
    outside.tracker.begin(study)
    succeeded, metrics = False, {}
    try:
        outcome = await search.search(study, prepared, outside.tuner, outside.tracker, run)
        chosen = search.chosen(study, outcome, strategy_named(command.strategy).margin)
        assert chosen is not None, "a search without a score has raised"
        succeeded, metrics = True, {f"cv_{study.metric}": float("nan") if chosen.score is None else chosen.score}
    finally:
        if not run.is_lost:
            tags = {"process": run.process.process_id}
            await asyncio.to_thread(outside.tracker.end, study, succeeded, metrics, tags)
    single = Recipe(f"trial {chosen.number}", chosen.family, chosen.params, chosen.rounds)
    best = search.best_recipes(study, outcome, command.ensemble)
    of = f"{len(outcome.trials)} trials, the best ({study.metric} {chosen.score:.5g} over the folds)"
    said = (f"{of}: {chosen.family}",)
    kept = {"single": single.to_plain(), "best": [one.to_plain() for one in best], "said": said}
    await run.keep("search", {**kept, "trials": len(outcome.trials)})
    return single, best, said


def _together(
    command: OptimizeModel, recipes: list[Recipe], prepared: PreparedRows, outside: Ports, run: Run
) -> WeightSearch | str:
    metric = metric_named(prepared.spec.metric, prepared.spec.task)
    alpha = strategy_named(command.strategy).alpha
    return tried_together(recipes, prepared, metric, alpha, command.seed, outside, run)


def built(candidate: CandidateRecipes, prepared: PreparedRows, seed: int, threads: int) -> BuiltModel:
    """The model of all development rows; the same each time, for the same rows and seed."""
    combined = candidate.combined
    if combined is None:
        return search.built_of(candidate.recipes[0], prepared, seed, threads)
    weights = {"weights": dict(zip(combined.names, combined.weights, strict=True))}
    return built_together(combined, candidate.recipes, prepared, seed, threads, weights)
