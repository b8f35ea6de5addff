"""Commands: the validated requests to the loop. A request that breaks a rule never becomes a command."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optagent.domain.backtest import BacktestAsk
from optagent.domain.dataset import DataSource
from optagent.domain.gate import gates_from
from optagent.domain.model import CHAMPION
from optagent.domain.monitoring import AnalysisType
from optagent.domain.policy import Action, OptimizationType, check_refit, check_window
from optagent.domain.strategy import strategy_named
from optagent.domain.study import method_named
from optagent.errors import InvalidRequest

STOPPING = ("asha", "median", "none")
MOST_OF_BAG = 50
ENSEMBLE_METHODS = ("weighted", "stacking", "voting", "auto")
_BASE = re.compile(
    r"(?P<model>[A-Za-z0-9][A-Za-z0-9_.-]{0,99})(@(?P<alias>[a-z][a-z0-9_-]{0,49})|/(?P<version>\d{1,9}))?"
)


@dataclass(frozen=True, slots=True)
class TuneModel:
    """Search for better parameters of a model. None means the setting, scaled by the strategy.

    `timeout_s` is the limit of the whole command, the ensemble and the validation included; the setting is one of the
    search alone. Empty `objectives` mean the model's metric; otherwise the first is a metric, and the others are
    further metrics or costs. `resume` is the id of a study to continue. `ensemble` is the number of best trials to
    build an ensemble of at the end; 0 means none. `bag` is the number of models of one recipe, by folds or by seeds,
    whose mean is tried in its place at the end; 0 means none. `starting_points` asks parameters first that were good on
    public tables.
    """

    model_id: str
    method: str = "optuna"
    trials: int | None = None
    timeout_s: float | None = None
    strategy: str = "balanced"
    max_concurrent: int | None = None
    cpus_per_trial: int = 1
    seed: int = 0
    gpus_per_trial: int = 0
    objectives: tuple[str, ...] = ()
    stopping: str = "asha"
    trial_timeout_s: float | None = None
    trial_memory_mb: float | None = None
    max_cpu_s: float | None = None
    transfer: bool = True
    resume: str | None = None
    ensemble: int = 0
    starting_points: bool = True
    bag: int = 0

    def __post_init__(self) -> None:
        _check_model_id(self.model_id)
        method_named(self.method)
        strategy_named(self.strategy)
        for name in ("trials", "max_concurrent", "cpus_per_trial"):
            _check_whole_number(name, getattr(self, name), at_least=1)
        for name in ("seed", "gpus_per_trial", "ensemble"):
            _check_whole_number(name, getattr(self, name), at_least=0)
        if self.ensemble == 1:
            raise InvalidRequest("ensemble: the number of trials must be 0 or at least 2, got 1")
        _check_bag(self.bag)
        for name in ("timeout_s", "trial_timeout_s", "max_cpu_s"):
            _check_at_least_one(name, getattr(self, name), "second")
        _check_at_least_one("trial_memory_mb", self.trial_memory_mb, "megabyte")
        if self.stopping not in STOPPING:
            raise InvalidRequest(f"unknown early stopping {self.stopping!r}; one of {list(STOPPING)}")
        if len(set(self.objectives)) != len(self.objectives):
            raise InvalidRequest(f"objectives: a name stands twice in {list(self.objectives)}")


def _check_bag(models: Any) -> None:
    _check_whole_number("bag", models, at_least=0)
    if models == 1 or models > MOST_OF_BAG:
        raise InvalidRequest(f"bag: the number of models must be 0 or from 2 to {MOST_OF_BAG}, got {models}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_at_least_one(name: str, value: Any, unit: str) -> None:
    if value is not None and not (_is_number(value) and math.isfinite(value) and value >= 1):
        raise InvalidRequest(f"{name} must be at least 1 {unit}, got {value!r}")


def _check_whole_number(name: str, value: Any, at_least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InvalidRequest(f"{name} must be a whole number of at least {at_least}, got {value!r}")


@dataclass(frozen=True, slots=True)
class AnalyzeModel:
    """Analyze the requests and answers of a model in a stretch of time.

    `time_range` is a duration back from now such as `24h`, two instants, or `START..END`. `version` is a version or
    an alias. `separability` adds a classifier of reference against current rows.
    """

    model_id: str
    analysis_type: str = "full"
    time_range: Any = "24h"
    version: str = CHAMPION
    separability: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_model_id(self.model_id)
        if self.analysis_type not in list(AnalysisType):
            names = [str(kind) for kind in AnalysisType]
            raise InvalidRequest(f"unknown analysis_type {self.analysis_type!r}; one of {names}")
        _check_whole_number("seed", self.seed, at_least=0)

    def wants(self, part: AnalysisType) -> bool:
        return AnalysisType(self.analysis_type) in (part, AnalysisType.FULL)


@dataclass(frozen=True, slots=True)
class EnsembleModels:
    """Search for an ensemble of models that is better than the best of them.

    `base_models` are two or more of `MODEL` (its champion), `MODEL@ALIAS` or `MODEL/VERSION`; all must learn the same
    target from the same rows. `method` is weighted, stacking, voting or auto. Empty `metrics` mean the metric of the
    model; the first has to improve, no other may become worse. The ensemble becomes a version of `model_id`, by default
    the model of the first base model. None means no limit; `timeout_s` is that of the whole command.
    """

    base_models: tuple[str, ...]
    method: str = "weighted"
    metrics: tuple[str, ...] = ()
    model_id: str | None = None
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_models: int | None = None
    strategy: str = "balanced"
    seed: int = 0
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name in self.base_models:
            parse_base(name)
        if len(self.base_models) < 2:
            raise InvalidRequest(f"base_models: an ensemble needs at least 2 models, got {list(self.base_models)}")
        duplicates = sorted(name for name, count in Counter(self.base_models).items() if count > 1)
        if duplicates:
            raise InvalidRequest(f"base_models: named twice: {', '.join(duplicates)}")
        if self.method not in ENSEMBLE_METHODS:
            raise InvalidRequest(f"unknown ensemble method {self.method!r}; one of {list(ENSEMBLE_METHODS)}")
        if len(set(self.metrics)) != len(self.metrics):
            raise InvalidRequest(f"metrics: a name stands twice in {list(self.metrics)}")
        strategy_named(self.strategy)
        _check_whole_number("seed", self.seed, at_least=0)
        _check_whole_number("max_models", self.max_models, at_least=1)
        for name in ("max_latency_ms", "max_size_mb"):
            _check_above_zero(name, getattr(self, name))
        _check_at_least_one("timeout_s", self.timeout_s, "second")

    @property
    def target_model_id(self) -> str:
        """The id of the model that the ensemble becomes a version of."""
        return self.model_id or parse_base(self.base_models[0])[0]


def parse_base(name: str) -> tuple[str, str]:
    """The model id of a base model, and its version or alias.

    >>> parse_base("churn"), parse_base("churn@challenger"), parse_base("churn/3")
    (('churn', 'champion'), ('churn', 'challenger'), ('churn', '3'))
    """
    match = _BASE.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise InvalidRequest(f"base_models: MODEL, MODEL@ALIAS or MODEL/VERSION is needed, got {name!r}")
    return match["model"], match["alias"] or match["version"] or CHAMPION


@dataclass(frozen=True, slots=True)
class EngineerFeatures:
    """Search for features, derived from a model's columns, that improve the model at its champion's parameters.

    At most `max_features` are added. `timeout_s` and `memory_mb` limit the search.
    """

    model_id: str
    max_features: int = 20
    timeout_s: float = 900.0
    memory_mb: float = 1024.0
    strategy: str = "balanced"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_model_id(self.model_id)
        strategy_named(self.strategy)
        _check_whole_number("max_features", self.max_features, at_least=1)
        _check_whole_number("seed", self.seed, at_least=0)
        _check_at_least_one("timeout_s", self.timeout_s, "second")
        _check_at_least_one("memory_mb", self.memory_mb, "megabyte")


@dataclass(frozen=True, slots=True)
class OptimizeModel:
    """Run the whole loop for a model: diagnose, train on the newest rows, find a candidate, gate it, roll it out.

    `optimization_type` is full, retrain, tune, features, ensemble or auto (the stages of the diagnosed remedy).
    `action` is candidate (it is registered, and becomes challenger where it passed), shadow (it competes in shadow,
    then waits) or full (it goes on to become champion); the latter two need a model that is served. `window` selects
    the rows to learn from: auto, expanding, sliding, weighted, since_change, or a duration. `gates` are arguments of
    `optagent.domain.gate.gates_from`, `rollout` are fields of `RolloutPolicy`. `trigger` and `reason` say why the
    optimization runs. With `refit`, a candidate that passed and goes to shadow learns from the holdout's rows too, and
    that version competes there; a candidate that a person decides on (action candidate) is the one that was measured.
    `bag` is the number of models of a bag, which is tried where an ensemble is; 0 means none.
    """

    model_id: str
    optimization_type: str = "full"
    action: str = "candidate"
    strategy: str = "balanced"
    trials: int | None = None
    timeout_s: float | None = None
    window: str = "auto"
    gates: Mapping[str, Any] = field(default_factory=dict)
    rollout: Mapping[str, Any] = field(default_factory=dict)
    ensemble: int = 10
    trigger: str = "manual"
    reason: str = ""
    time_range: str = "24h"
    seed: int = 0
    refit: bool = True
    bag: int = 0

    def __post_init__(self) -> None:
        _check_model_id(self.model_id)
        check_refit(self.refit)
        _check_bag(self.bag)
        for name, choices in (
            ("optimization_type", OptimizationType),
            ("action", (Action.CANDIDATE, Action.SHADOW, Action.FULL)),
        ):
            if getattr(self, name) not in list(choices):
                names = [str(choice) for choice in choices]
                raise InvalidRequest(f"unknown {name} {getattr(self, name)!r}; one of {names}")
        check_window(self.window)
        strategy_named(self.strategy)
        gates_from(self.gates)
        _check_whole_number("trials", self.trials, at_least=1)
        _check_whole_number("ensemble", self.ensemble, at_least=2)
        _check_whole_number("seed", self.seed, at_least=0)
        _check_at_least_one("timeout_s", self.timeout_s, "second")


@dataclass(frozen=True, slots=True)
class BacktestModel:
    """Replay a model's history under the policies of `ask`. `data` holds the rows with their labels and dates.

    None means the model's own data when the replay runs: a command is kept and shown, so it holds the reference and not
    a copy, whose URL may have a password.
    """

    model_id: str
    data: DataSource | None
    ask: BacktestAsk

    def __post_init__(self) -> None:
        _check_model_id(self.model_id)


def _check_model_id(model_id: Any) -> None:
    if not isinstance(model_id, str) or not model_id:
        raise InvalidRequest(f"model_id must be the id of a registered model, got {model_id!r}")


def _check_above_zero(name: str, value: Any) -> None:
    if value is not None and not (_is_number(value) and math.isfinite(value) and value > 0):
        raise InvalidRequest(f"{name} must be a number above 0, got {value!r}")
