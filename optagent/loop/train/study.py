"""Study plan: the study of a tuning command for a model, with its spaces, objectives and budget."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.analysis.expression import compile_expression
from optagent.analysis.trading import check_trading_rule
from optagent.domain.command import TuneModel
from optagent.domain.model import ModelSpec
from optagent.domain.space import SearchSpace
from optagent.domain.strategy import Strategy, strategy_named
from optagent.domain.study import Budget, Objective, Study, method_named
from optagent.ensembles.bags import bagged_recipe
from optagent.errors import InvalidRequest
from optagent.loop.champion import champion_of
from optagent.ports import Registry
from optagent.training.cost import COSTS, objective_named
from optagent.training.families.family import Family
from optagent.training.families.registry import families_for, family_named, fast_first
from optagent.training.families.starting_points import starting_points_of
from optagent.training.metrics import metric_named, quantile_of

DEFAULT_FAMILY = "lightgbm"

Champion = tuple[str, Mapping[str, Any]]
"""Family and parameters of the champion."""


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """The limits of a search whose command sets none: trials, seconds, and rounds without an improvement."""

    trials: int = 100
    timeout_s: float = 3600.0
    early_stopping_rounds: int = 50


def families_of(spec: ModelSpec) -> list[Family]:
    """The families of a model, LightGBM where it names none; InvalidRequest for one that cannot do its task."""
    families = [family_named(name) for name in spec.families or (DEFAULT_FAMILY,)]
    for family in families:
        if not family.supports(spec.task):
            names = sorted(other.name for other in families_for(spec.task))
            raise InvalidRequest(f"family {family.name!r} does not do {spec.task}; one of {names}")
    return families


def spaces_of(spec: ModelSpec) -> dict[str, SearchSpace]:
    """The search space of each family with the model's overrides; InvalidRequest names family and parameter.

    The families that are trained fast come first, as their defaults are tried in this order: a limit may leave no time
    for the slow ones.
    """
    families = fast_first(families_of(spec))
    unused = sorted(set(spec.search_space) - {family.name for family in families})
    if unused:
        raise InvalidRequest(f"search_space: {unused} are not among the model's families {[f.name for f in families]}")
    spaces = {}
    for family in families:
        try:
            overrides = spec.search_space.get(family.name, {})
            spaces[family.name] = family.space(spec.task).with_overrides(overrides, family.limits)
        except InvalidRequest as error:
            raise InvalidRequest(f"search_space: {family.name}: {error}") from None
    return spaces


def check_spec(spec: ModelSpec) -> None:
    """Raises InvalidRequest for a metric, family, override or expression that is unknown, wrong or does not fit."""
    metric_named(spec.metric, spec.task)
    spaces_of(spec)
    if quantile_of(spec.metric) is not None and spec.policy is not None and spec.policy.is_mixed:
        raise InvalidRequest(
            f"policy: a mixture answers the mean, and the metric {spec.metric} asks for a quantile: write the policy"
            " out, with `answer: champion`"
        )
    for name, text in (spec.monitoring.business if spec.monitoring else {}).items():
        try:
            compile_expression(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"monitoring: business: {name}: {error}") from None
    if spec.monitoring is not None and spec.monitoring.trading is not None:
        check_trading_rule(spec.monitoring.trading, spec.target)


def plan_study(
    process_id: str, spec: ModelSpec, command: TuneModel, limits: SearchLimits, champion: Champion | None = None
) -> Study:
    """The study of a tuning command for a model; pure. Raises InvalidRequest for objectives that do not fit."""
    strategy = strategy_named(command.strategy)
    metric, *others = objectives_of(spec, command)
    trials = command.trials if command.trials is not None else max(1, round(limits.trials * strategy.trials))
    timeout = command.timeout_s if command.timeout_s is not None else max(1.0, limits.timeout_s * strategy.timeout)
    spaces = spaces_of(spec)
    return Study(
        study_id=command.resume or process_id,
        model_id=spec.model_id,
        task=spec.task,
        metric=metric.name,
        maximize=metric.maximize,
        spaces=spaces,
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
        starting_points=starting_points_of(spaces, spec.task) if command.starting_points else (),
    )


def objectives_of(spec: ModelSpec, command: TuneModel) -> list[Objective]:
    """The objectives of a command, a metric first; InvalidRequest where the first is a cost."""
    names = command.objectives or (metric_named(spec.metric, spec.task).name,)
    objectives = [objective_named(name, spec.task) for name in names]
    if objectives[0].name in COSTS:
        raise InvalidRequest(f"the first objective must be a metric, got the cost {objectives[0].name!r}")
    return objectives


def champion_params(model_id: str, registry: Registry) -> Champion | None:
    """Family and parameters of the champion, or of the recipe that it is a bag of.

    None where there is no champion or its tags do not hold them.
    """
    champion = champion_of(model_id, registry)
    if champion is None or "family" not in champion.tags:
        return None
    try:
        params = json.loads(champion.tags["params"])
    except (KeyError, ValueError):
        return None
    if not isinstance(params, dict):
        return None
    whole = bagged_recipe(params)
    return (champion.tags["family"], params) if whole is None else (whole.family, dict(whole.params))


def _budget(strategy: Strategy, limits: SearchLimits) -> Budget:
    return Budget(
        grace_units=strategy.grace_units,
        reduction_factor=strategy.reduction_factor,
        patience_rounds=limits.early_stopping_rounds,
    )
