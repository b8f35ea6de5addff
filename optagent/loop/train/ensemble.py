"""Ensemble search: weights for several models, registered where they beat the best of these on rows that none saw."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from optagent.arrays import Counts, Rows, Vector
from optagent.codec import plain
from optagent.domain.command import EnsembleModels, parse_base
from optagent.domain.ensemble_result import EnsembleResult
from optagent.domain.model import ModelSpec
from optagent.domain.strategy import strategy_named
from optagent.ensembles.bags import bagged_recipe
from optagent.ensembles.budget import EnsembleBudget
from optagent.ensembles.choice import EnsembleChoice
from optagent.ensembles.correlation import redundant_groups
from optagent.ensembles.diversity import diversity
from optagent.ensembles.greedy import Gains
from optagent.ensembles.members import Members
from optagent.ensembles.methods import gains_in_process
from optagent.ensembles.out_of_fold import out_of_fold
from optagent.ensembles.select import EnsembleGoal, MemberData, choose_ensemble
from optagent.ensembles.shares import weights_of
from optagent.ensembles.stack_loss import StackFeatures
from optagent.ensembles.target import Target, gains, target_of
from optagent.errors import Infeasible, InvalidData, InvalidRequest, SearchFailed
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train.build import BuiltModel, put_behind_plan
from optagent.loop.train.holdout import Baseline, HoldoutTest, champion_on_holdout
from optagent.loop.train.holdout_looks import prove_on_holdout
from optagent.loop.train.load import load_version
from optagent.loop.train.members import train_members, with_costs
from optagent.loop.train.prepare import PreparedRows, prepare
from optagent.loop.train.register import register_result
from optagent.ports import Registry, Workers
from optagent.training.combined import Combined
from optagent.training.families.engineered import Engineered, EngineeredModel
from optagent.training.families.ensemble import Ensemble, EnsembleModel
from optagent.training.families.parts import ModelPart, check_part
from optagent.training.families.registry import family_named
from optagent.training.metrics import Metric, metric_named
from optagent.training.recipe import OutOfFold, Recipe, train_recipe

_ONE_ROW_SET = (
    *(
        "task",
        "data",
        "target",
        "time_column",
        "rows_in_time_order",
        "label_horizon",
        "holdout_fraction",
        "entity",
        "history",
    ),
)
_WORTH_SHARING = 5_000_000  # predictions: fewer are computed here sooner than they are handed over


@dataclass(frozen=True, slots=True)
class WeightSearch:
    """The outcome of a search for weights: the choice, and the members with the recipes that they were trained by."""

    choice: EnsembleChoice
    members: Members
    target: Target
    recipes: Mapping[str, Recipe]


def check_base_models(command: EnsembleModels, specs: Mapping[str, ModelSpec]) -> None:
    """Raises InvalidRequest for base models that do not learn the same from the same rows, or unknown metrics."""
    target = specs[command.target_model_id]
    metrics_of(command.metrics, target)
    for name in command.base_models:
        other = specs[parse_base(name)[0]]
        for fact in _ONE_ROW_SET:
            mine, theirs = getattr(target, fact), getattr(other, fact)
            if mine != theirs:
                raise InvalidRequest(
                    f"base_models: {name} has the {fact} {theirs!r}, {target.model_id} has {mine!r}:"
                    " an ensemble is of models that learn the same from the same rows"
                )


def metrics_of(names: Sequence[str], spec: ModelSpec) -> tuple[Metric, ...]:
    """The metrics of these names, the model's own without any; InvalidRequest for one that its task does not have."""
    return tuple(metric_named(name, spec.task) for name in names or (spec.metric,))


async def create_ensemble(command: EnsembleModels, spec: ModelSpec, ports: Ports, run: Run) -> EnsembleResult:
    """Prepares, trains members fold by fold, weighs them, and validates and registers an accepted ensemble."""
    await run.stage("prepare")
    prepared = await asyncio.to_thread(prepare, spec, ports.datasets, command.seed)
    recipes = await asyncio.to_thread(
        lambda: [recipe_of(name, prepared, ports.registry) for name in command.base_models]
    )
    await run.stage("ensemble")
    run.set_end_aside()
    strategy = strategy_named(command.strategy)
    budget = EnsembleBudget(command.max_latency_ms, command.max_size_mb, command.max_models)
    goal = EnsembleGoal(metrics_of(command.metrics, spec), command.method, budget, strategy.alpha, command.seed)
    weights = await asyncio.to_thread(search_weights, recipes, prepared, goal, ports.require("workers"), run)
    result = _ensemble_result(weights, prepared, run, ports)
    if not weights.choice.accepted:
        return result
    await run.stage("validate")
    test = HoldoutTest(prepared, goal.metrics[0], goal.alpha, goal.seed)
    built, baseline, note = await asyncio.to_thread(_build_beside_baseline, weights, test, ports)
    prediction = await asyncio.to_thread(built.model.predict, prepared.holdout.x)
    comparison = await prove_on_holdout(prediction, baseline, test, run.process.process_id, ports)
    result = replace(result, notes=(*result.notes, *((note,) if note else ())))
    metrics = comparison.scores(test.metric.name)
    return await register_result(result, built, comparison, metrics, prepared, ports, run)


def recipe_of(name: str, prepared: PreparedRows, registry: Registry) -> Recipe:
    """The recipe that a registered version was trained by.

    That of a bag of one recipe is this recipe. Raises ModelNotFound, CorruptBundle, and InvalidRequest where it cannot
    be trained again on these rows.
    """
    version = registry.version(*parse_base(name))
    predictor = load_version(version, registry)
    model = predictor.model
    inner = model.inner if isinstance(model, EngineeredModel) else ModelPart(predictor.manifest.family, model)
    if predictor.schema.names != prepared.schema.names:
        raise InvalidRequest(f"{name}: it reads the columns {predictor.schema.names}, not {prepared.schema.names}")
    if predictor.schema.classes != prepared.schema.classes:
        raise InvalidRequest(f"{name}: it knows the classes {predictor.schema.classes}, not {prepared.schema.classes}")
    plan = model.plan if isinstance(model, EngineeredModel) else None
    recipe = Recipe(name, inner.family, predictor.manifest.params, predictor.manifest.rounds, plan)
    if isinstance(inner.model, EnsembleModel):
        whole = bagged_recipe(predictor.manifest.params)
        if whole is None:
            raise InvalidRequest(f"{name}: it is an ensemble itself; name its members")
        recipe = replace(whole, name=name, plan=plan)
    check_part(name, recipe.family)
    family = family_named(recipe.family)
    if not family.supports(prepared.spec.task):
        raise InvalidRequest(f"{name}: a model of the family {recipe.family} cannot be trained again")
    return replace(recipe, params={**family.defaults(prepared.spec.task), **recipe.params})


def search_weights(
    recipes: Sequence[Recipe],
    prepared: PreparedRows,
    goal: EnsembleGoal,
    workers: Workers,
    run: Run,
    known: Mapping[str, OutOfFold] = MappingProxyType({}),
) -> WeightSearch:
    """Searches for weights by out-of-fold predictions: those `known` by a recipe's name, the others trained. Blocks.

    Members for whose training the command's time does not suffice are left out; raises SearchFailed where fewer than
    two are left.
    """
    problem, spec = prepared.problem, prepared.spec
    unknown = [recipe for recipe in recipes if recipe.name not in known]
    by_name = {**known, **(train_members(unknown, problem, goal.seed, workers, run) if unknown else {})}
    recipes = [recipe for recipe in recipes if recipe.name in by_name]
    if len(recipes) < 2:
        limit = f"the time limit of {run.deadline.limit_s:g} s"
        raise SearchFailed(f"{len(recipes)} models were trained fold by fold within {limit}: allow more time")
    predictions = {recipe.name: by_name[recipe.name].predictions for recipe in recipes}
    members, rows = out_of_fold(spec.task, problem.data.y, problem.folds, predictions)
    members = with_costs(members, by_name)
    time = None if prepared.dev_time is None else prepared.dev_time[rows]
    entity = None if prepared.dev_entity is None else prepared.dev_entity[rows]
    data = MemberData(members, spec, time, _stack_features(prepared, rows), entity)
    target = target_of(members, goal.metrics)
    with _PooledGains(workers) as gains_for:
        choice = choose_ensemble(data, goal, gains_for)
    return WeightSearch(choice, members, target, {recipe.name: recipe for recipe in recipes})


def search_weights_of_trials(
    recipes: Sequence[Recipe],
    test: HoldoutTest,
    ports: Ports,
    run: Run,
    known: Mapping[str, OutOfFold] = MappingProxyType({}),
) -> WeightSearch | str:
    """The search for weights of these recipes, or the reason why there was none, as text: the search for parameters
    that asked for it does not fail. `known` are the predictions that it has kept. Blocks."""
    if len(recipes) < 2:
        within = f" that fit into the time limit of {run.deadline.limit_s:g} s" if run.deadline.is_set else ""
        return f"no ensemble: {len(recipes)} of the trials was trained to its end{within}"
    goal = EnsembleGoal((test.metric,), "weighted", alpha=test.alpha, seed=test.seed)
    try:
        return search_weights(recipes, test.prepared, goal, ports.require("workers"), run, known)
    except (Infeasible, InvalidData, InvalidRequest, SearchFailed) as error:
        return f"no ensemble: {error}"


def build_ensemble(weights: WeightSearch, prepared: PreparedRows, seed: int, threads: int) -> BuiltModel:
    """The ensemble that was accepted, its members trained on all development rows."""
    combined = weights.choice.ensemble
    assert combined is not None, "an ensemble was accepted"
    recipes = [weights.recipes[name] for name in combined.names]
    facts = {"search": weights.choice.search, "weights": _shares(weights.members, combined)}
    score = weights.choice.metrics.get(weights.target.metrics[0].name, math.nan)
    return build_members(combined, recipes, prepared, seed, threads, facts, score)


def build_members(
    combined: Combined,
    recipes: Sequence[Recipe],
    prepared: PreparedRows,
    seed: int,
    threads: int,
    facts: Mapping[str, Any],
    score: float = math.nan,
) -> BuiltModel:
    """Members trained on all development rows, under one weighting; `facts` are kept beside their recipes."""
    members = {recipe.name: _build_part(recipe, prepared, seed, threads) for recipe in recipes}
    params = {**facts, "recipes": [recipe.to_plain() for recipe in recipes]}
    rounds = max(recipe.rounds for recipe in recipes)
    return put_behind_plan(BuiltModel(Ensemble.name, params, rounds, EnsembleModel(combined, members), score), prepared)


def _build_part(recipe: Recipe, prepared: PreparedRows, seed: int, threads: int) -> ModelPart:
    model = train_recipe(prepared.problem, recipe, seed, threads)
    return ModelPart(Engineered.name if recipe.plan is not None else recipe.family, model)


def _build_beside_baseline(
    weights: WeightSearch, test: HoldoutTest, ports: Ports
) -> tuple[BuiltModel, Baseline, str | None]:
    """The accepted ensemble beside the champion, or beside the best single model where there is none."""
    prepared = test.prepared
    built = build_ensemble(weights, prepared, test.seed, ports.threads)
    baseline, note = champion_on_holdout(prepared, ports.registry)
    if baseline is None:
        single = weights.recipes[weights.choice.single]
        model = train_recipe(prepared.problem, single, test.seed, ports.threads)
        baseline = Baseline(f"the best single model ({single.name})", model.predict(prepared.holdout.x))
    return built, baseline, note


class _PooledGains:
    """Gains of a further member, computed in this process, or by a pool of workers where the matrix is large.

    A pool uses all cores and shares one matrix. Searches run one after the other, and the next one has another matrix.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._pool = ExitStack()

    def __enter__(self) -> "_PooledGains":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def __call__(self, members: Members, target: Target) -> Gains:
        self._pool.close()
        if members.predictions.size < _WORTH_SHARING:
            return gains_in_process(members, target)
        pool = self._pool.enter_context(self._workers.share(members))

        def gains_of(counts: Counts, candidates: Rows) -> Vector:
            parts = [part for part in np.array_split(candidates, pool.size) if len(part)]
            return np.concatenate(pool.map(partial(_gains_of_part, target=target, counts=counts), parts))

        return gains_of


def _gains_of_part(members: Members, candidates: Rows, target: Target, counts: Counts) -> Vector:
    return gains(members, target, counts, candidates)


def _stack_features(prepared: PreparedRows, rows: Rows) -> StackFeatures:
    """The numeric ones of the encoded columns: the code of a category is no quantity."""
    data = prepared.problem.data
    numbers = [index for index in range(len(data.names)) if index not in data.categorical]
    return StackFeatures(data.x_of(rows), tuple(numbers))


def _shares(members: Members, combined: Combined) -> dict[str, float]:
    shares = weights_of(members, combined)
    return {name: float(share) for name, share in zip(members.names, shares, strict=True) if share > 0}


def _ensemble_result(weights: WeightSearch, prepared: PreparedRows, run: Run, ports: Ports) -> EnsembleResult:
    choice, members = weights.choice, weights.members
    groups = redundant_groups(members, weights.target)
    return EnsembleResult(
        process_id=run.process.process_id,
        model_id=prepared.spec.model_id,
        accepted=choice.accepted,
        reason=choice.reason,
        search=choice.search,
        weights=None if choice.ensemble is None else _shares(members, choice.ensemble),
        metrics=choice.metrics,
        diversity_score=diversity(members).score if choice.diversity is None else choice.diversity.score,
        diversity=plain(choice.diversity or diversity(members)),
        single=choice.single,
        single_metrics=choice.single_metrics,
        improvements=choice.improvements,
        judged_rows=choice.judged_rows,
        latency_ms=choice.latency_ms,
        options=tuple(plain(option) for option in choice.options),
        redundant=tuple((group.best, *group.others) for group in groups),
        duration_s=ports.clock.now() - run.process.created_at,
        notes=(*prepared.notes, *choice.notes),
    )
