"""Monitoring settings of a model, time windows, and the state of its monitor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from optagent.domain.duration import seconds
from optagent.domain.trading import Trading
from optagent.errors import InvalidRequest


class AnalysisType(StrEnum):
    PERFORMANCE = "performance"
    DRIFT = "drift"
    IMPORTANCE = "importance"
    CONFIDENCE = "confidence"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The thresholds of decay, and the tolerated frequency of false alarms."""

    accuracy_drop_threshold: float = 0.05
    """The fall of a metric that counts as degraded: absolute for metrics between 0 and 1, a share of the reference for
    losses and errors."""
    drift_score_threshold: float = 0.1
    """The importance-weighted effect that counts as drift."""
    confidence_threshold: float = 0.8
    """The probability below which a prediction is unsure."""
    performance_window_hours: float = 24.0
    """The length of the current window, in hours."""
    performance_window_rows: int | None = None
    """The rows of each point of a metric over time. Unset: points are equal spans of time."""
    alert_cooldown_minutes: float = 60.0
    """The least time between two notices of one alert, in minutes."""
    false_alarm_every: str = "90d"
    """The mean time between false alarms where nothing changes, as a duration."""
    slices: tuple[str, ...] = ()
    """Feature columns whose values are judged separately."""
    business: Mapping[str, str] = field(default_factory=dict)
    """Metrics of your own by name, whose mean per row is tracked: each an arithmetic expression over outcome columns
    (further columns of the labels), `prediction`, `label` and, for classifiers, `probability`, such as
    `stake * (prediction == label) - fee`."""
    trading: Trading | None = None
    """The rule that turns answers into positions, whose turnover, costs, drawdown and Sharpe ratio a backtest tells.
    Unset: the model does not trade."""

    def __post_init__(self) -> None:
        for name in ("accuracy_drop_threshold", "drift_score_threshold", "confidence_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidRequest(f"{name} must be between 0 and 1, got {getattr(self, name)!r}")
        if not self.performance_window_hours > 0:
            raise InvalidRequest(f"performance_window_hours must be above 0, got {self.performance_window_hours!r}")
        if self.performance_window_rows is not None and self.performance_window_rows < 1:
            raise InvalidRequest(f"performance_window_rows must be at least 1, got {self.performance_window_rows!r}")
        if not self.alert_cooldown_minutes >= 0:
            raise InvalidRequest(f"alert_cooldown_minutes must not be negative, got {self.alert_cooldown_minutes!r}")
        if self.false_alarm_every_s < self.performance_window_hours * 3600:
            raise InvalidRequest(
                f"false_alarm_every must be at least performance_window_hours ({self.performance_window_hours:g} h), "
                f"got {self.false_alarm_every!r}"
            )

    @property
    def false_alarm_every_s(self) -> float:
        return seconds(self.false_alarm_every)

    @property
    def window_s(self) -> float:
        return self.performance_window_hours * 3600


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time from `start` up to, not including, `end`; POSIX seconds."""

    start: float
    end: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            raise InvalidRequest(f"a window must end after it starts, got {self.start} to {self.end}")

    @property
    def length_s(self) -> float:
        return self.end - self.start

    @property
    def before(self) -> "Window":
        """The window of the same length that ends where this one starts."""
        return Window(self.start - self.length_s, self.start)

    def parts(self, count: int) -> tuple["Window", ...]:
        """`count` windows of the same length.

        >>> Window(0, 10).parts(2)
        (Window(start=0.0, end=5.0), Window(start=5.0, end=10))
        """
        edges = [self.start + self.length_s * index / count for index in range(count)] + [self.end]
        return tuple(Window(start, end) for start, end in pairwise(edges))


@dataclass(frozen=True, slots=True)
class WatchMark:
    """Mark of how far a model was watched: the windows that were due at the last look, and those analyzed last."""

    due: tuple[Window, ...] = ()
    analyzed: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class MonitorState:
    """The state of a monitor since its process was started last. Times are POSIX seconds.

    `last_drain` is the time of the latest look into the queue, `last_report` that of the latest successful analysis,
    `error` the latest failure that no success has followed.
    """

    model_id: str
    shard: int = 0
    alive: bool = False
    pid: int | None = None
    since: float | None = None
    drained: int = 0
    last_drain: float | None = None
    last_report: float | None = None
    error: str | None = None
