"""Bodies of requests for analyses, searches, optimizations and tokens, with bounds against nonsense and excess.

The rules themselves are those of the domain, which refuses a value in its own words.
"""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import to_json

from optagent.domain.command import (
    ENSEMBLE_METHODS,
    MOST_OF_BAG,
    STOPPING,
    EngineerFeatures,
    EnsembleModels,
    OptimizeModel,
    TuneModel,
)
from optagent.domain.monitoring import AnalysisType
from optagent.domain.policy import WINDOWS, Action, OptimizationType
from optagent.domain.strategy import STRATEGIES
from optagent.domain.study import METHODS
from optagent.domain.token import MOST_MODELS, Scope

ID = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$"


def one_of(names: Any, **options: Any) -> Any:
    """A field for one of the names that the domain knows: they are documented here, and unknown ones refused there."""
    return Field(max_length=100, json_schema_extra={"enum": [str(name) for name in names]}, **options)


WINDOW = f"the rows that are learned from: {', '.join(WINDOWS)}, or a duration such as 90d"
REFIT = "what passed and goes to shadow is trained again on all labelled rows, the holdout's too, and judged there"
BAG = "at the end, try the mean of so many models of the outcome, by folds or by seeds; 0: none"
ModelId = Annotated[str, Path(pattern=ID, examples=["churn"], description="id of a registered model")]
ProcessId = Annotated[str, Path(pattern=ID, examples=["tune-3f2a9c0d1e4b"], description="id of a process")]
Limit = Annotated[int, Query(ge=1, le=1000, description="most that are answered")]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
Seconds = Annotated[float, Field(ge=1, le=1e9)]
Share = Annotated[float, Field(gt=0, lt=1)]


def small_json(limit: int) -> AfterValidator:
    """A rule for a field of any shape: at most `limit` bytes of JSON, for it is stored, shown and logged."""

    def check(value: Any) -> Any:
        size = len(to_json(value))
        if size > limit:
            raise ValueError(f"must be at most {limit} bytes of JSON, got {size}")
        return value

    return AfterValidator(check)


SearchSpaces = Annotated[
    dict[Name, Annotated[dict[Name, Any], Field(max_length=100)]],
    Field(max_length=20, description="by family and parameter: {low, high, log}, a list of choices, a value"),
    small_json(20_000),
]
GateLimits = Annotated[
    dict[Name, bool | Annotated[int, Field(ge=-(10**15), le=10**15)] | float | Annotated[str, Field(max_length=100)]],
    Field(max_length=100),
]
Whole = Annotated[int, Field(ge=1, le=1_000_000_000)]
ModelField = Annotated[str, Field(pattern=ID, examples=["churn"], description="id of a registered model")]
StrategyField = Annotated[str, one_of(STRATEGIES, description="gives what is left out: limits, trials, margins")]
SeedField = Annotated[int, Field(ge=0, le=2**31 - 1, description="of all that is drawn at random")]
TrialsField = Annotated[
    Annotated[int, Field(ge=1, le=100_000)] | None, Field(description="most trials; left out: the strategy's")
]
TimeoutField = Annotated[
    Seconds | None, Field(description="most seconds of the whole command; left out: the strategy's, for its search")
]
EnsembleTimeoutField = Annotated[Seconds | None, Field(description="most seconds of the whole command")]


class Request(BaseModel):
    """A body: unknown fields and texts instead of numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class AnalyzeRequest(Request):
    """Analyze the requests and answers of a model in a time range."""

    model_id: ModelField
    analysis_type: Annotated[str, one_of(AnalysisType, description="the sections of the report")] = "full"
    time_range: Annotated[
        Annotated[str, Field(max_length=100)]
        | Annotated[list[Annotated[str, Field(max_length=100)] | float], Field(min_length=2, max_length=2)],
        Field(description="a duration back from now (`90m`, `24h`, `7d`), START..END, or two instants"),
    ] = "24h"
    version: Annotated[Name, Field(description="a version or an alias")] = "champion"
    separability: Annotated[
        bool, Field(description="ask a classifier whether it tells these rows from the reference's")
    ] = False
    seed: SeedField = 0


class HyperparameterRequest(Request):
    """Search for better parameters of a model; the settings and the strategy give the fields that are left out."""

    model_id: ModelField
    optimization_method: Annotated[str, one_of(METHODS, description="the sampler of trials")] = "optuna"
    max_trials: TrialsField = None
    timeout_seconds: TimeoutField = None
    strategy: StrategyField = "balanced"
    objectives: Annotated[
        list[Name], Field(max_length=10, description="a metric first, then further metrics or costs")
    ] = []
    early_stopping: Annotated[str, one_of(STOPPING, description="the rule by which a poor trial ends early")] = "asha"
    max_concurrent: Annotated[
        Annotated[int, Field(ge=1, le=10_000)] | None, Field(description="most trials at a time; left out: all cores")
    ] = None
    cpus_per_trial: Annotated[int, Field(ge=1, le=1024, description="cores of a trial")] = 1
    gpus_per_trial: Annotated[int, Field(ge=0, le=64, description="GPUs of a trial")] = 0
    trial_timeout_seconds: Annotated[Seconds | None, Field(description="most seconds of a trial")] = None
    trial_memory_mb: Annotated[
        Annotated[float, Field(ge=1, le=1e8)] | None, Field(description="most megabytes of memory of a trial")
    ] = None
    max_cpu_seconds: Annotated[Seconds | None, Field(description="most core-seconds of the whole search")] = None
    transfer: Annotated[bool, Field(description="try what was good in earlier searches")] = True
    starting_points: Annotated[bool, Field(description="try what was good on public tables first")] = True
    ensemble: Annotated[
        int, Field(ge=0, le=100, description="try an ensemble of so many best trials at the end; 0: none")
    ] = 0
    bag: Annotated[int, Field(ge=0, le=MOST_OF_BAG, description=BAG)] = 0
    seed: SeedField = 0

    def command(self) -> TuneModel:
        """Raises InvalidRequest."""
        return TuneModel(
            self.model_id,
            method=self.optimization_method,
            trials=self.max_trials,
            timeout_s=self.timeout_seconds,
            strategy=self.strategy,
            max_concurrent=self.max_concurrent,
            cpus_per_trial=self.cpus_per_trial,
            gpus_per_trial=self.gpus_per_trial,
            objectives=tuple(self.objectives),
            stopping=self.early_stopping,
            trial_timeout_s=self.trial_timeout_seconds,
            trial_memory_mb=self.trial_memory_mb,
            max_cpu_s=self.max_cpu_seconds,
            transfer=self.transfer,
            starting_points=self.starting_points,
            ensemble=self.ensemble,
            bag=self.bag,
            seed=self.seed,
        )


class EnsembleRequest(Request):
    """Look for an ensemble that is better than the best of its models."""

    base_models: Annotated[
        list[Name],
        Field(
            max_length=100,
            examples=[["churn", "churn@challenger", "churn_linear/3"]],
            description="two or more of the same rows and target: MODEL (its champion), MODEL@ALIAS or MODEL/VERSION",
        ),
    ]
    ensemble_method: Annotated[str, one_of(ENSEMBLE_METHODS, description="the way of combining answers")] = "weighted"
    optimization_target: Annotated[
        Name | Annotated[list[Name], Field(max_length=10)] | None,
        Field(examples=["accuracy"], description="a metric that has to improve, or several: none may become worse"),
    ] = None
    model_id: Annotated[
        str | None,
        Field(pattern=ID, description="the model of which it becomes a version; by default the first base model's"),
    ] = None
    max_latency_ms: Annotated[
        Annotated[float, Field(gt=0, le=1e6)] | None, Field(description="most milliseconds for one row")
    ] = None
    max_size_mb: Annotated[
        Annotated[float, Field(gt=0, le=1e6)] | None, Field(description="most megabytes of the bundle")
    ] = None
    max_models: Annotated[Annotated[int, Field(ge=1, le=1000)] | None, Field(description="most members")] = None
    strategy: StrategyField = "balanced"
    seed: SeedField = 0
    timeout_seconds: EnsembleTimeoutField = None

    def command(self) -> EnsembleModels:
        """Raises InvalidRequest."""
        target = self.optimization_target
        return EnsembleModels(
            tuple(self.base_models),
            method=self.ensemble_method,
            metrics=() if target is None else (target,) if isinstance(target, str) else tuple(target),
            model_id=self.model_id,
            max_latency_ms=self.max_latency_ms,
            max_size_mb=self.max_size_mb,
            max_models=self.max_models,
            strategy=self.strategy,
            seed=self.seed,
            timeout_s=self.timeout_seconds,
        )


class FeaturesRequest(Request):
    """Look for features with which a model's champion would be better."""

    model_id: ModelField
    max_features: Annotated[int, Field(ge=1, le=1000, description="most new columns")] = 20
    timeout_seconds: Annotated[Seconds, Field(description="most seconds")] = 900.0
    memory_mb: Annotated[float, Field(ge=1, le=1e8, description="most megabytes that the columns may take")] = 1024.0
    strategy: StrategyField = "balanced"
    seed: SeedField = 0

    def command(self) -> EngineerFeatures:
        """Raises InvalidRequest."""
        return EngineerFeatures(
            self.model_id, self.max_features, self.timeout_seconds, self.memory_mb, self.strategy, self.seed
        )


class OptimizeRequest(Request):
    """Run the whole loop for a model: look, learn, find a candidate, prove it, let it compete."""

    model_id: ModelField
    optimization_type: Annotated[str, one_of(OptimizationType, description="the remedy that is tried")] = "full"
    action: Annotated[
        str, one_of((Action.CANDIDATE, Action.SHADOW, Action.FULL), description="what a candidate that passed may do")
    ] = "candidate"
    strategy: StrategyField = "balanced"
    max_trials: TrialsField = None
    timeout_seconds: TimeoutField = None
    window: Annotated[str, Field(max_length=20, examples=list(WINDOWS), description=WINDOW)] = "auto"
    gates: Annotated[
        GateLimits,
        Field(
            examples=[{"accuracy_min": 0.7, "min_validation_samples": 100, "max_latency_ms": 500}],
            description="limits of the gates by name; those that are left out are the strategy's",
        ),
    ] = {}
    ensemble: Annotated[int, Field(ge=2, le=100, description="best trials of which an ensemble is tried")] = 10
    bag: Annotated[int, Field(ge=0, le=MOST_OF_BAG, description=BAG)] = 0
    time_range: Annotated[str, Field(max_length=100, description="what is looked at: `24h`, or START..END")] = "24h"
    seed: SeedField = 0
    refit: Annotated[bool, Field(description=REFIT)] = True

    def command(self) -> OptimizeModel:
        """Raises InvalidRequest."""
        return OptimizeModel(
            self.model_id,
            optimization_type=self.optimization_type,
            action=self.action,
            strategy=self.strategy,
            trials=self.max_trials,
            timeout_s=self.timeout_seconds,
            window=self.window,
            gates=dict(self.gates),
            ensemble=self.ensemble,
            bag=self.bag,
            time_range=self.time_range,
            seed=self.seed,
            refit=self.refit,
        )


class BatchRequest(Request):
    """Several searches at once, each accepted or refused by itself."""

    requests: Annotated[list[HyperparameterRequest], Field(min_length=1, max_length=100, description="the searches")]


class TokenRequest(Request):
    """A new token; without `expires_seconds` it lasts until it is revoked, without `models` it is for all models."""

    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.@\-]{0,99}$", examples=["ci"], description="for the audit log")
    ]
    scopes: Annotated[
        list[Annotated[str, one_of(Scope)]],
        Field(min_length=1, max_length=len(Scope), examples=[["read"]], description="the calls that it allows"),
    ]
    models: Annotated[
        list[Annotated[str, Field(pattern=ID)]],
        Field(max_length=MOST_MODELS, examples=[["churn"]], description="the models that it is for; none: all"),
    ] = []
    expires_seconds: Annotated[
        Annotated[float, Field(ge=1, le=1e10)] | None, Field(description="seconds until it ends; left out: never")
    ] = None
