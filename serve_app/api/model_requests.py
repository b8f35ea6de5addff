"""Bodies of requests about models: their registration, monitoring, retraining policies and backtests."""

import os
from typing import Annotated, Any

from fastapi import Depends
from fastapi import Request as HttpRequest
from pydantic import AliasChoices, Discriminator, Field, Tag

from optagent.codec import model_from, policy_from, source_from
from optagent.domain.backtest import KNOWN, BacktestAsk, Contender, contender_named
from optagent.domain.command import BacktestModel
from optagent.domain.dataset import FORMATS
from optagent.domain.fold_scheme import FOLD_SCHEMES
from optagent.domain.history import MOST_BACK, MOST_LISTED
from optagent.domain.model import ModelSpec, Task
from optagent.domain.policy import ANSWERS, POLICIES, WINDOWS, Action, OptimizationType, Trigger
from optagent.domain.slot import DEFAULT_SLOTS
from optagent.domain.source_rules import SourceRules
from optagent.domain.strategy import STRATEGIES
from optagent.errors import InvalidRequest
from serve_app.api.requests import (
    ID,
    REFIT,
    WINDOW,
    Amount,
    GateLimits,
    ModelField,
    Name,
    Request,
    SearchSpaces,
    Seconds,
    SeedField,
    Share,
    Whole,
    one_of,
    small_json,
)

SLOTS = "of a mixture: champion, all, a share such as 1/4, a duration such as 90d, or a version"


async def _current_rules(request: HttpRequest) -> SourceRules:
    rules: SourceRules = request.app.state.source_rules
    return rules


CurrentRules = Annotated[SourceRules, Depends(_current_rules)]
"""The parameter of a route for the rules of the sources and families that its body names."""


class FileData(Request):
    """Files by absolute path, glob or URI, as the server sees them; they lie below OPT_AGENT_DATA_ROOTS."""

    uri: Annotated[str, Field(min_length=1, max_length=2000)]
    format: Annotated[str, one_of(FORMATS)] | None = None


class SqlData(Request):
    """The rows of a query; `${NAME}` in the login is read from the server's environment, where the settings name it."""

    url: Annotated[str, Field(min_length=1, max_length=2000, examples=["postgresql://${DB_USER}@db/orders"])]
    query: Annotated[str, Field(min_length=1, max_length=20_000)]


class TradingFields(Request):
    """The rule that turns answers into positions, for the trading figures of a backtest."""

    position: Annotated[str, Field(min_length=1, max_length=1000, examples=["where(probability > 0.55, 1, 0)"])]
    returns: Annotated[str, Field(min_length=1, max_length=1000, examples=["next_return"])]
    cost: Annotated[float, Field(ge=0, lt=1)] = 0.0
    asset: Name | None = None
    periods_a_year: Annotated[float, Field(gt=0, le=1e9)] = 252.0


class MonitoringFields(Request):
    """Thresholds of a model's monitoring; fields that are left out stay as they are."""

    accuracy_drop_threshold: Share = 0.05
    drift_score_threshold: Share = 0.1
    confidence_threshold: Share = 0.8
    performance_window_hours: Annotated[float, Field(gt=0, le=1e5)] = 24.0
    performance_window_rows: Whole | None = None
    alert_cooldown_minutes: Amount = 60.0
    false_alarm_every: Annotated[str, Field(max_length=20, examples=["90d"])] = "90d"
    slices: Annotated[list[Name], Field(max_length=100)] = []
    business: Annotated[dict[Name, Annotated[str, Field(max_length=1000)]], Field(max_length=100)] = {}
    trading: TradingFields | None = None


class RetrainingFields(Request):
    """A retraining policy: the triggers that optimize a model automatically, and the action for its candidate."""

    triggers: Annotated[
        list[Annotated[str, one_of([trigger for trigger in Trigger if trigger is not Trigger.MANUAL])]],
        Field(min_length=1, max_length=10),
    ] = ["degradation", "concept_drift"]
    action: Annotated[str, one_of(Action)] = "candidate"
    strategy: Annotated[str, one_of(STRATEGIES)] = "balanced"
    optimization_type: Annotated[str, one_of(OptimizationType)] = "auto"
    every: Annotated[str | None, Field(max_length=20, examples=["30d"], description="with the trigger schedule")] = None
    min_new_labels: Annotated[Whole | None, Field(description="with the trigger new_labels")] = None
    cooldown: Annotated[str, Field(max_length=20, examples=["1d"])] = "1d"
    most_a_year: Whole = 52
    window: Annotated[str, Field(max_length=20, examples=list(WINDOWS), description=WINDOW)] = "auto"
    trials: Annotated[int, Field(ge=1, le=100_000)] | None = None
    timeout_s: Seconds | None = None
    gates: GateLimits = {}
    rollout: Annotated[
        dict[Name, Any], Field(max_length=20, description="fields of a rollout's policy"), small_json(5000)
    ] = {}
    refit: Annotated[bool, Field(description=REFIT)] = True
    answer: Annotated[str, one_of(ANSWERS, description="one version answers, or all slots of a mixture together")] = (
        "champion"
    )
    slots: Annotated[
        list[Annotated[str, Field(max_length=20)] | Annotated[int, Field(ge=1, le=10**9)]],
        Field(max_length=20, examples=[list(DEFAULT_SLOTS)], description=SLOTS),
    ] = list(DEFAULT_SLOTS)
    growth: Annotated[float, Field(ge=0, le=1e6, description="with the trigger growth")] = 0.0625


Back = Annotated[int, Field(ge=1, le=MOST_BACK)]
"""A number of rows before a row."""

Retraining = Annotated[str, one_of(POLICIES, description="a policy by name")] | RetrainingFields | None


class FoldFields(Request):
    """Folds by a scheme, for rows in time order."""

    scheme: Annotated[str, one_of(FOLD_SCHEMES, examples=["combinatorial_purged"])]
    groups: Annotated[int, Field(ge=3, le=20)] = 8
    test: Annotated[int, Field(ge=1, le=19)] = 2
    embargo: Annotated[str, Field(max_length=20, examples=["5d"])] | Amount = 0.0


Folds = Annotated[
    Annotated[int, Field(ge=2, le=20), Tag("number")] | Annotated[FoldFields, Tag("scheme")],
    Discriminator(lambda folds: "scheme" if isinstance(folds, dict | FoldFields) else "number"),
]
"""A number or a scheme: the tag says which of the two an error is of."""


class HistoryFields(Request):
    """The features that are made of a row's past: of the rows of the same key with an earlier time."""

    key: Name | None = None
    lags: Annotated[list[Back], Field(max_length=MOST_LISTED, examples=[[1, 7]])] = []
    rolling: Annotated[list[Back], Field(max_length=MOST_LISTED, examples=[[7, 30]])] = []
    columns: Annotated[list[Name], Field(max_length=100)] = []


class RegisterRequest(Request):
    """A model as in `model.yaml`. The server reads the place of its data, so only an admin may register a model."""

    id: Annotated[
        str,
        Field(
            pattern=ID,
            examples=["churn"],
            validation_alias=AliasChoices("id", "model_id"),
            description="the name of the model, in all commands and addresses",
        ),
    ]
    task: Annotated[str, one_of(Task, examples=["binary"])]
    data: Annotated[str, Field(min_length=1, max_length=2000, examples=["/data/churn.parquet"])] | FileData | SqlData
    target: Annotated[Name, Field(examples=["churned"])]
    features: list[Name] = []
    ignore: list[Name] = []
    time_column: Name | None = None
    rows_in_time_order: bool = False
    entity: Annotated[Name | None, Field(description="column of the customer whose rows stay together")] = None
    label_horizon: Annotated[str, Field(max_length=20)] | Amount = 0.0
    history: Annotated[HistoryFields | None, Field(description="lags and rolling means of a row's past")] = None
    sensitive_columns: list[Name] = []
    positive_class: Name | None = None
    class_weight: Annotated[str, one_of(("none", "balanced"))] = "none"
    weights: Annotated[str, one_of(("none", "uniqueness"))] = "none"
    metric: Annotated[str, Field(max_length=100)] = ""
    families: list[Name] = []
    search_space: SearchSpaces = {}
    holdout_fraction: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    folds: Folds = 4
    description: Annotated[str, Field(max_length=10_000)] = ""
    monitoring: MonitoringFields | None = None
    policy: Retraining = None

    def spec(self, rules: SourceRules) -> ModelSpec:
        """Raises InvalidRequest, also for what the rules do not allow."""
        _check_place(self.data)
        spec = model_from(self.model_dump(exclude_unset=True))
        rules.check_source(spec.data, os.path.realpath)
        rules.check_families(spec.families)
        return spec


class ModelChanges(Request):
    """Changes of a registered model; fields that are left out stay as they are."""

    description: Annotated[str, Field(max_length=10_000)] = ""
    metric: Annotated[str, Field(max_length=100)] = ""
    search_space: SearchSpaces = {}
    monitoring: Annotated[MonitoringFields | None, Field(description="null: as the settings say")] = None
    policy: Annotated[Retraining, Field(description="null: optimized only when somebody asks")] = None


class AliasRequest(Request):
    """The version that an alias is to point to."""

    version: Annotated[Name, Field(examples=["3"], description="a version by number")]


class OwnPolicy(Request):
    """A custom policy, with the name under which it is compared."""

    name: Annotated[
        str, Field(min_length=1, max_length=100, examples=["weekly"], description="its column in the comparison")
    ]
    policy: Annotated[RetrainingFields, Field(description="the policy, field by field")]
    ungated: Annotated[bool, Field(description="what it trains becomes champion whatever the gates say")] = False


class BacktestRequest(Request):
    """Replay a history under several policies. Without `data` it is the model's own when the replay runs."""

    model_id: ModelField
    data: Annotated[
        Annotated[str, Field(min_length=1, max_length=2000)] | FileData | SqlData | None,
        Field(description="the history; left out: the model's rows when the replay runs"),
    ] = None
    label_delay: Annotated[
        str, Field(max_length=20, examples=["5d"], description="time after which the label of a row is known")
    ]
    policies: Annotated[
        list[Annotated[str, Field(max_length=100, examples=list(KNOWN))] | OwnPolicy],
        Field(min_length=1, max_length=20, description="by name, or written out with a name"),
    ] = ["conservative", "balanced", "aggressive"]
    start: Annotated[
        Annotated[str, Field(max_length=40)] | Share,
        Field(description="a date, or the share of the rows from which the first version learns"),
    ] = 0.3
    step: Annotated[str, Field(max_length=20, description="time between two looks of the monitor")] = "24h"
    seed: SeedField = 0
    max_trials: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | None, Field(description="most trials of each search")
    ] = None
    seeds: Annotated[int, Field(ge=1, le=20, description="replays of each policy, with seeds of their own")] = 1

    def command(self, rules: SourceRules) -> BacktestModel:
        """Raises InvalidRequest, also for what the rules do not allow."""
        source = None
        if self.data is not None:
            _check_place(self.data)
            source = source_from(self.data if isinstance(self.data, str) else self.data.model_dump())
            rules.check_source(source, os.path.realpath)
        contenders = tuple(_contender(policy) for policy in self.policies)
        ask = BacktestAsk(contenders, self.label_delay, self.start, self.step, self.seed, self.max_trials, self.seeds)
        return BacktestModel(self.model_id, source, ask)


def _contender(policy: str | OwnPolicy) -> Contender:
    if isinstance(policy, str):
        return contender_named(policy)
    fields = policy.policy.model_dump(exclude_unset=True)
    return Contender(policy.name, policy_from(fields), policy.ungated)


def _check_place(data: str | FileData | SqlData) -> None:
    uri = data if isinstance(data, str) else getattr(data, "uri", "/")
    if "://" not in uri and not uri.startswith("/"):
        raise InvalidRequest(f"data: an absolute path of the server or a URI is needed, got {uri!r}")
