"""Model specification: the contents of a user's `model.yaml`, and the versions that are registered for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from optagent.domain.dataset import DataSource
from optagent.domain.duration import seconds
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
    """The description of a model that optagent monitors and optimizes.

    Empty `features` mean every column but the target, the time column, the `entity`, `sensitive_columns` (used for bias
    checks, never learned from) and `ignore`. `entity` is the column of the customer or machine that a row is of: rows
    of one are never on both sides of a split. `label_horizon` is the time from a row to its label: a duration with a
    time column of dates, otherwise a number in the unit of the time column (or rows, with `rows_in_time_order`). Empty
    `metric` and `families` mean the defaults of the task, `monitoring` None means that of the settings. Without a
    `policy` the model is optimized only on request.
    """

    model_id: str
    task: Task
    data: DataSource
    target: str
    features: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    time_column: str | None = None
    rows_in_time_order: bool = False
    label_horizon: str | float = 0.0
    sensitive_columns: tuple[str, ...] = ()
    positive_class: str | None = None
    class_weight: str = "none"
    metric: str = ""
    families: tuple[str, ...] = ()
    search_space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    holdout_fraction: float = 0.2
    folds: int = 4
    description: str = ""
    monitoring: Monitoring | None = None
    policy: RetrainingPolicy | None = None
    entity: str | None = None

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
        if not 2 <= self.folds <= 20:
            raise InvalidRequest(f"folds must be between 2 and 20, got {self.folds}")
        if self.class_weight not in ("none", "balanced"):
            raise InvalidRequest(f"class_weight: unknown {self.class_weight!r}; one of ['balanced', 'none']")
        if self.class_weight == "balanced" and not self.task.classifies:
            raise InvalidRequest("class_weight: balanced is for classifiers, this model is a regression")
        if self.positive_class is not None and self.task is not Task.BINARY:
            raise InvalidRequest(f"positive_class is for binary models, this one is {self.task}")

    @property
    def time_ordered(self) -> bool:
        return self.time_column is not None or self.rows_in_time_order

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
