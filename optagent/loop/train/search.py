"""Optimize: search for better parameters, and build the model of the best ones."""

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optagent.analysis.expression import compile_expression
from optagent.analysis.pareto import front_of, hypervolume, points_of
from optagent.domain.command import TuneModel
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.space import SearchSpace
from optagent.domain.strategy import Strategy, strategy_named
from optagent.domain.study import Budget, Objective, SearchOutcome, Study, Trial, TrialState, method_named
from optagent.errors import InvalidRequest, ModelNotFound, SearchFailed
from optagent.loop.process import Run
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Registry, Tracker, Tuner
from optagent.training.cost import COSTS, objective_named
from optagent.training.families.engineered import Engineered, EngineeredModel
from optagent.training.families.family import Family, FittedModel
from optagent.training.families.parts import ModelPart
from optagent.training.families.registry import families_for, family_named
from optagent.training.metrics import metric_named
from optagent.training.recipe import Recipe, trained

DEFAULT_FAMILY = "lightgbm"

Champion = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """What a search may spend unless its command says otherwise."""

    trials: int = 100
    timeout_s: float = 3600.0
    early_stopping_rounds: int = 50


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A family with parameters, trained on every row but the holdout; `score` is its mean over the folds, if known.

    `form` is the family that loads the model where that is not the one that was trained: it stands behind a plan.
    """

    family: str
    params: Mapping[str, Any]
    rounds: int
    model: FittedModel
    score: float = math.nan
    form: str = ""

    @property
    def bundled_as(self) -> str:
        return self.form or self.family


def families_of(spec: ModelSpec) -> list[Family]:
    """The families of a model, LightGBM where it names none; InvalidRequest for one that does not do its task."""
    families = [family_named(name) for name in spec.families or (DEFAULT_FAMILY,)]
    for family in families:
        if not family.supports(spec.task):
            known = sorted(other.name for other in families_for(spec.task))
            raise InvalidRequest(f"family {family.name!r} does not do {spec.task}; one of {known}")
    return families


def spaces_of(spec: ModelSpec) -> dict[str, SearchSpace]:
    """The search space of each family with the model's overrides; InvalidRequest names family and parameter."""
    families = families_of(spec)
    unused = sorted(set(spec.search_space) - {family.name for family in families})
    if unused:
        raise InvalidRequest(f"search_space: {unused} are not among the model's families {[f.name for f in families]}")
    spaces = {}
    for family in families:
        try:
            overrides = spec.search_space.get(family.name, {})
            spaces[family.name] = family.space(spec.task).overridden(overrides, family.limits)
        except InvalidRequest as error:
            raise InvalidRequest(f"search_space: {family.name}: {error}") from None
    return spaces


def check_spec(spec: ModelSpec) -> None:
    """Refuses a model whose metric, families, overrides or expressions are unknown, unfit for its task, or wrong."""
    metric_named(spec.metric, spec.task)
    spaces_of(spec)
    for name, text in (spec.monitoring.business if spec.monitoring else {}).items():
        try:
            compile_expression(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"monitoring: business: {name}: {error}") from None


def plan_study(
    process_id: str, spec: ModelSpec, command: TuneModel, limits: SearchLimits, champion: Champion | None = None
) -> Study:
    """The study that a command means for a model; pure. Raises InvalidRequest for objectives that do not fit."""
    strategy = strategy_named(command.strategy)
    metric, *others = objectives_of(spec, command)
    trials = command.trials if command.trials is not None else max(1, round(limits.trials * strategy.trials))
    timeout = command.timeout_s if command.timeout_s is not None else max(1.0, limits.timeout_s * strategy.timeout)
    return Study(
        study_id=command.resume or process_id,
        model_id=spec.model_id,
        task=spec.task,
        metric=metric.name,
        maximize=metric.maximize,
        spaces=spaces_of(spec),
        defaults={family.name: family.defaults(spec.task) for family in families_of(spec)},
        sampler=method_named(command.method),
        trials=trials,
        timeout_s=timeout,
        concurrency=command.max_concurrent,
        cpus_per_trial=command.cpus_per_trial,
        gpus_per_trial=command.gpus_per_trial,
        seed=command.seed,
        budget=_budget(strategy, limits),
        others=tuple(others),
        champion=champion,
        transfer=command.transfer,
        stopping=command.stopping,
        trial_timeout_s=command.trial_timeout_s,
        trial_memory_mb=command.trial_memory_mb,
        max_cpu_s=command.max_cpu_s,
    )


def objectives_of(spec: ModelSpec, command: TuneModel) -> list[Objective]:
    """The objectives, a metric first; InvalidRequest where the first is a cost."""
    names = command.objectives or (metric_named(spec.metric, spec.task).name,)
    found = [objective_named(name, spec.task) for name in names]
    if found[0].name in COSTS:
        raise InvalidRequest(f"the first objective must be a metric, got the cost {found[0].name!r}")
    return found


def champion_params(model_id: str, registry: Registry) -> Champion | None:
    """Family and parameters of the champion, None where there is none or it does not say."""
    try:
        tags = registry.version(model_id, CHAMPION).tags
    except ModelNotFound:
        return None
    try:
        params = json.loads(tags["params"])
    except (KeyError, ValueError):
        return None
    return (tags["family"], params) if isinstance(params, dict) and "family" in tags else None


def _budget(strategy: Strategy, limits: SearchLimits) -> Budget:
    return Budget(
        grace_units=strategy.grace_units,
        reduction_factor=strategy.reduction_factor,
        patience_rounds=limits.early_stopping_rounds,
    )


async def search(study: Study, prepared: PreparedRows, tuner: Tuner, tracker: Tracker, run: Run) -> SearchOutcome:
    """Runs the study; raises SearchFailed, with the reason most trials gave, when none came to a score."""
    outcome = await asyncio.to_thread(
        tuner.search,
        study,
        prepared.problem,
        on_progress=run.report,
        on_trial=lambda trial: tracker.trial(study, trial),
        cancelled=run.cancelled,
    )
    if chosen(study, outcome) is None:
        raise SearchFailed(_why_none(study, outcome))
    return outcome


def chosen(study: Study, outcome: SearchOutcome, tolerance: float = 0.0) -> Trial | None:
    """The best complete trial; where the time limit left none, the best of those that have a score.

    With a cost among the objectives: the cheapest of those whose score is within `tolerance` (a share) of the best.
    """
    best = outcome.best(study.maximize)
    if best is None:
        sign = 1 if study.maximize else -1
        scored = [(sign * trial.score, trial) for trial in outcome.trials if trial.score is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored else None
    cost = next((objective for objective in study.others if not objective.maximize and objective.name in COSTS), None)
    if cost is None or best.score is None:
        return best
    least = study.objectives[0].sign * best.score - tolerance * abs(best.score)
    near = [trial for trial in complete(outcome) if study.objectives[0].sign * (trial.score or 0.0) >= least]
    return min(near, key=lambda trial: trial.others[cost.name])


def complete(outcome: SearchOutcome) -> list[Trial]:
    """The trials that were trained to their end."""
    return [trial for trial in outcome.trials if trial.state is TrialState.COMPLETE and trial.score is not None]


def best_recipes(study: Study, outcome: SearchOutcome, count: int) -> list[Recipe]:
    """Recipes of the best complete trials, the best first, each set of parameters once."""
    sign = study.objectives[0].sign
    ranked = sorted(complete(outcome), key=lambda trial: -sign * (trial.score or 0.0))
    unlike: dict[str, Trial] = {}
    for trial in ranked:
        unlike.setdefault(f"{trial.family} {json.dumps(dict(trial.params), sort_keys=True, default=str)}", trial)
    return [
        Recipe(f"trial {trial.number}", trial.family, trial.params, trial.rounds)
        for trial in list(unlike.values())[:count]
    ]


def front(study: Study, outcome: SearchOutcome) -> tuple[dict[str, Any], ...]:
    """The complete trials that no other beats in every objective, by the first one; empty for a single objective."""
    return tuple(
        {
            "trial": trial.number,
            study.metric: trial.score,
            **trial.others,
            "params": {"family": trial.family, **trial.params},
        }
        for trial in front_of(study.objectives, outcome.trials)
    )


def hypervolume_over_time(study: Study, outcome: SearchOutcome) -> tuple[float, ...]:
    """The volume that the front covers after each complete trial, against the worst seen of each objective."""
    trials = complete(outcome)
    if not study.others or not trials:
        return ()
    points = points_of(study.objectives, trials)
    reference = points.min(axis=0) - 1e-9
    return tuple(hypervolume(points[: count + 1], reference) for count in range(len(points)))


def build(trial: Trial, prepared: PreparedRows, study: Study, threads: int) -> BuiltModel:
    """The model of a scored trial, with the number of rounds that scored best."""
    recipe = Recipe(f"trial {trial.number}", trial.family, trial.params, trial.rounds)
    return built_of(recipe, prepared, study.seed, threads, math.nan if trial.score is None else trial.score)


def build_default(family_name: str, prepared: PreparedRows, study: Study, threads: int) -> BuiltModel:
    """The family as its library ships it: the baseline of a tuned model."""
    family = family_named(family_name)
    recipe = Recipe("defaults", family_name, family.defaults(study.task), family.default_rounds)
    return built_of(recipe, prepared, study.seed, threads)


def built_of(recipe: Recipe, prepared: PreparedRows, seed: int, threads: int, score: float = math.nan) -> BuiltModel:
    """The recipe's model of all development rows, behind the plan that made their columns."""
    model = trained(prepared.problem, recipe, seed, threads)
    return planned(BuiltModel(recipe.family, recipe.params, recipe.rounds, model, score), prepared)


def planned(built: BuiltModel, prepared: PreparedRows) -> BuiltModel:
    """Behind the plan of the rows that it was trained on, if they have one."""
    if prepared.plan is None:
        return built
    model = EngineeredModel(prepared.plan, ModelPart(built.bundled_as, built.model))
    return replace(built, model=model, form=Engineered.name)


def _why_none(study: Study, outcome: SearchOutcome) -> str:
    if not outcome.trials or outcome.count(TrialState.FAILED, TrialState.INFEASIBLE) == 0 or outcome.timed_out:
        return f"no trial came to a score within the time limit of {study.timeout_s:g} s: allow more time or fewer rows"
    reasons = [trial.error or "no reason given" for trial in outcome.trials]
    common = max(set(reasons), key=reasons.count)
    return f"all {len(outcome.trials)} trials failed; {reasons.count(common)} of them with: {common}"
