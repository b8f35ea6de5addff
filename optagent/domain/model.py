"""Model specification: the contents of a user's `model.yaml`, and the versions that are registered for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from optagent.domain.dataset import DataSource
from optagent.domain.duration import seconds
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.history import HistorySpec
from optagent.domain.monitoring import Monitoring
from optagent.domain.policy import RetrainingPolicy
from optagent.errors import InvalidRequest

CHAMPION = "champion"
CHALLENGER = "challenger"
MEASURED_AS = "measured_as"
"""The tag of a refit that holds the number of the version by which its recipe was judged."""

MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Task(StrEnum):
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @property
    def classifies(self) -> bool:
        return self is not Task.REGRESSION


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The description of a model that optagent monitors and optimizes."""

    model_id: str
    """The model's name. In a model.yaml it is written `id`."""
    task: Task
    """The kind of answer that the model gives."""
    data: DataSource
    """The labelled rows to learn from: files, or the query of a database."""
    target: str
    """The column of labels."""
    features: tuple[str, ...] = ()
    """The columns to learn from. Empty: every column but the target, the time column, `entity`, `sensitive_columns` and
    `ignore`."""
    ignore: tuple[str, ...] = ()
    """Columns that are no features."""
    time_column: str | None = None
    """The column of each row's time: rows are then split by time, the newest are the holdout."""
    rows_in_time_order: bool = False
    """True where the rows are in the order of time, and no column tells it."""
    label_horizon: str | float = 0.0
    """The time from a row to its label: rows whose labels would not be known yet are purged before each cut. A duration
    such as 7d with a time column of dates, otherwise a number in the unit of the time column, or of rows with
    `rows_in_time_order`."""
    sensitive_columns: tuple[str, ...] = ()
    """Columns that bias is checked over, and that are never learned from."""
    positive_class: str | None = None
    """The label that probabilities are of, for a binary model. Unset: the last label in sorted order."""
    class_weight: str = "none"
    """`balanced` weighs rows by the rarity of their class in training, `none` weighs them alike."""
    metric: str = ""
    """The metric that searches improve and gates compare. Empty: the default of the task. `pinball_90` makes a
    regression answer the 90th percentile instead of the mean."""
    families: tuple[str, ...] = ()
    """The model families that are searched, by name, or a family of your own as package.module:Class. Empty:
    lightgbm."""
    search_space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Changes of what is searched, by family and parameter: `{low, high, log}`, a list of choices, or one value."""
    holdout_fraction: float = 0.2
    """The share of the rows, the newest where they have a time, that no search sees and gates judge by."""
    folds: int | FoldScheme = 4
    """The number of folds of the other rows, on which trials are scored. With an order in time also a scheme, such as
    `{scheme: combinatorial_purged, groups: 8, test: 2, embargo: 5d}`."""
    description: str = ""
    """Text for people."""
    monitoring: Monitoring | None = None
    """How the model is watched. Unset: as the settings say."""
    policy: RetrainingPolicy | None = None
    """When the model is optimized without a request: a name, or the fields of a policy. Unset: on request only."""
    entity: str | None = None
    """The column of the customer or machine that a row is of: rows of one are never on both sides of a split."""
    intervals: bool = False
    """True where answers are to have prediction intervals, or sets of labels, on request. Their thresholds follow the
    labels that come."""
    history: HistorySpec | None = None
    """The lags and rolling means of a row's past that are features, too. Unset: none."""
    weights: str = "none"
    """`uniqueness` weighs a row in training by how little its label's window (`label_horizon`) overlaps with that of
    others, `none` weighs them alike."""

    def __post_init__(self) -> None:
        if not MODEL_ID.fullmatch(self.model_id):
            raise InvalidRequest(
                f"model_id {self.model_id!r}: up to 100 of letters, digits, '_', '.', '-', the first a letter or digit"
            )
        if not self.target:
            raise InvalidRequest("target: a column is needed")
        for name in ("features", "ignore", "sensitive_columns", "families"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise InvalidRequest(f"{name}: a name stands twice in {list(values)}")
        if self.target in self.features:
            raise InvalidRequest(f"features: the target {self.target!r} cannot be a feature")
        if self.entity is not None and self.entity in ("", self.target, self.time_column):
            raise InvalidRequest(f"entity: {self.entity!r} must be a column beside the target and the time")
        self._check_history()
        if self.time_column and self.rows_in_time_order:
            raise InvalidRequest("give time_column or rows_in_time_order, not both")
        if self.horizon < 0:
            raise InvalidRequest(f"label_horizon must not be negative, got {self.label_horizon}")
        if self.horizon and not self.time_ordered:
            raise InvalidRequest(
                "label_horizon needs a time_column, or rows_in_time_order: optagent init names candidates"
            )
        if not 0.05 <= self.holdout_fraction <= 0.5:
            raise InvalidRequest(f"holdout_fraction must be between 0.05 and 0.5, got {self.holdout_fraction}")
        if isinstance(self.folds, FoldScheme) and not self.time_ordered:
            raise InvalidRequest(f"folds: {self.folds.scheme} needs a time_column, or rows_in_time_order")
        if not isinstance(self.folds, FoldScheme) and not 2 <= self.folds <= 20:
            raise InvalidRequest(f"folds must be between 2 and 20, got {self.folds}")
        if self.class_weight not in ("none", "balanced"):
            raise InvalidRequest(f"class_weight: unknown {self.class_weight!r}; one of ['balanced', 'none']")
        if self.class_weight == "balanced" and not self.task.classifies:
            raise InvalidRequest("class_weight: balanced is for classifiers, this model is a regression")
        if self.weights not in ("none", "uniqueness"):
            raise InvalidRequest(f"weights: unknown {self.weights!r}; one of ['none', 'uniqueness']")
        if self.weights == "uniqueness" and not self.horizon:
            raise InvalidRequest("weights: uniqueness needs a label_horizon above 0, in which labels can overlap")
        if self.positive_class is not None and self.task is not Task.BINARY:
            raise InvalidRequest(f"positive_class is for binary models, this one is {self.task}")

    def _check_history(self) -> None:
        if self.history is None:
            return
        if not self.time_column:
            raise InvalidRequest("history needs a time_column: earlier rows are those of an earlier time")
        if self.history.key in (self.target, self.time_column):
            raise InvalidRequest(
                f"history: the key {self.history.key!r} must be a column beside the target and the time"
            )
        for name in self.history.columns:
            if name == self.target:
                raise InvalidRequest(
                    f"history: columns: {name!r} is the target, whose earlier values a served row need not know yet"
                )
            if name == self.time_column or name in (*self.sensitive_columns, *self.ignore):
                raise InvalidRequest(f"history: columns: {name!r} is no feature of the model")
            if self.features and name not in self.features:
                raise InvalidRequest(f"history: columns: {name!r} is not among the features {list(self.features)}")

    @property
    def time_ordered(self) -> bool:
        return self.time_column is not None or self.rows_in_time_order

    @property
    def fold_parts(self) -> int:
        """The number of parts of the development rows that validate: folds, or the groups of a scheme."""
        return self.folds.groups if isinstance(self.folds, FoldScheme) else self.folds

    @property
    def horizon(self) -> float:
        """The label horizon in seconds (durations), or in the unit of the time column or in rows (numbers)."""
        return seconds(self.label_horizon) if isinstance(self.label_horizon, str) else float(self.label_horizon)

    @property
    def label_delay_s(self) -> float:
        """Seconds until a label is known, where the label horizon is a duration; 0 where it is a number."""
        return self.horizon if isinstance(self.label_horizon, str) else 0.0


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered bundle. `digest` is the SHA-256 of the bundle's manifest, `created_at` a POSIX time.

    `warnings` are sentences about a version in use, such as that it is worse than default parameters.
    """

    model_id: str
    version: str
    digest: str
    created_at: float
    aliases: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
