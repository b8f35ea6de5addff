"""Optimize: search for better parameters, and build the model of the best ones."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from optagent.domain.command import TuneModel
from optagent.domain.model import ModelSpec
from optagent.domain.space import SearchSpace
from optagent.domain.strategy import Strategy, strategy_named
from optagent.domain.study import Budget, SearchOutcome, Study, Trial, TrialState, method_named
from optagent.errors import InvalidRequest, SearchFailed
from optagent.loop.prepare import Prepared
from optagent.loop.process import Run
from optagent.ports import Tracker, Tuner
from optagent.training.families.family import Family, FittedModel
from optagent.training.families.registry import families_for, family_named
from optagent.training.metrics import metric_named
from optagent.training.refit import refit

DEFAULT_FAMILY = "lightgbm"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a search may spend unless its command says otherwise."""

    trials: int = 100
    timeout_s: float = 3600.0
    early_stopping_rounds: int = 50


@dataclass(frozen=True, slots=True)
class Built:
    """A family with parameters, trained on every row but the holdout; `score` is its mean over the folds, if known."""

    family: str
    params: Mapping[str, Any]
    rounds: int
    model: FittedModel
    score: float = math.nan


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
    """Refuses a model whose metric, families or overrides are unknown, unfit for its task, or out of bounds."""
    metric_named(spec.metric, spec.task)
    spaces_of(spec)


def plan_study(process_id: str, spec: ModelSpec, command: TuneModel, limits: Limits) -> Study:
    """The study that a command means for a model; pure."""
    strategy = strategy_named(command.strategy)
    metric = metric_named(spec.metric, spec.task)
    return Study(
        study_id=process_id,
        model_id=spec.model_id,
        task=spec.task,
        metric=metric.name,
        maximize=metric.maximize,
        spaces=spaces_of(spec),
        defaults={family.name: family.defaults(spec.task) for family in families_of(spec)},
        sampler=method_named(command.method),
        trials=command.trials if command.trials is not None else max(1, round(limits.trials * strategy.trials)),
        timeout_s=command.timeout_s if command.timeout_s is not None else max(1.0, limits.timeout_s * strategy.timeout),
        concurrency=command.max_concurrent,
        cpus_per_trial=command.cpus_per_trial,
        seed=command.seed,
        budget=_budget(strategy, limits),
    )


def _budget(strategy: Strategy, limits: Limits) -> Budget:
    return Budget(
        grace_units=strategy.grace_units,
        reduction_factor=strategy.reduction_factor,
        patience_rounds=limits.early_stopping_rounds,
    )


async def search(study: Study, prepared: Prepared, tuner: Tuner, tracker: Tracker, run: Run) -> SearchOutcome:
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


def chosen(study: Study, outcome: SearchOutcome) -> Trial | None:
    """The best complete trial; where the time limit left none, the best of those that have a score."""
    best = outcome.best(study.maximize)
    if best is not None:
        return best
    sign = 1 if study.maximize else -1
    scored = [(sign * trial.score, trial) for trial in outcome.trials if trial.score is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def build(trial: Trial, prepared: Prepared, study: Study, threads: int) -> Built:
    """The model of a scored trial, with the number of rounds that scored best."""
    model = _fit(trial.family, trial.params, trial.rounds, prepared, study, threads)
    return Built(trial.family, trial.params, trial.rounds, model, math.nan if trial.score is None else trial.score)


def build_default(family_name: str, prepared: Prepared, study: Study, threads: int) -> Built:
    """The family as its library ships it: the baseline of a tuned model."""
    family = family_named(family_name)
    params, rounds = family.defaults(study.task), family.default_rounds
    return Built(family_name, params, rounds, _fit(family_name, params, rounds, prepared, study, threads))


def _fit(
    family: str, params: Mapping[str, Any], rounds: int, prepared: Prepared, study: Study, threads: int
) -> FittedModel:
    data = prepared.problem.data
    rows = np.arange(len(data))
    return refit(family_named(family), params, data, rows, rounds, seed=study.seed, threads=threads)


def _why_none(study: Study, outcome: SearchOutcome) -> str:
    if not outcome.trials or outcome.count(TrialState.FAILED, TrialState.INFEASIBLE) == 0 or outcome.timed_out:
        return f"no trial came to a score within the time limit of {study.timeout_s:g} s: allow more time or fewer rows"
    reasons = [trial.error or "no reason given" for trial in outcome.trials]
    common = max(set(reasons), key=reasons.count)
    return f"all {len(outcome.trials)} trials failed; {reasons.count(common)} of them with: {common}"
