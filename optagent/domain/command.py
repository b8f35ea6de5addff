"""What can be asked of the loop; a command that breaks a rule is never made."""

import math
from dataclasses import dataclass
from typing import Any

from optagent.domain.monitoring import AnalysisType
from optagent.domain.strategy import strategy_named
from optagent.domain.study import method_named
from optagent.domain.version import CHAMPION
from optagent.errors import InvalidRequest

STOPPING = ("asha", "median", "none")


@dataclass(frozen=True, slots=True)
class TuneModel:
    """Search for better parameters of a model. None means the setting, scaled by the strategy.

    `objectives` empty means the model's metric; otherwise the first is a metric, and the others are further metrics or
    costs. `resume` is the id of the study that goes on.
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

    def __post_init__(self) -> None:
        if not isinstance(self.model_id, str) or not self.model_id:
            raise InvalidRequest(f"model_id must be the id of a registered model, got {self.model_id!r}")
        method_named(self.method)
        strategy_named(self.strategy)
        for name in ("trials", "max_concurrent", "cpus_per_trial"):
            _whole(name, getattr(self, name), at_least=1)
        for name in ("seed", "gpus_per_trial"):
            _whole(name, getattr(self, name), at_least=0)
        for name in ("timeout_s", "trial_timeout_s", "max_cpu_s"):
            _at_least_one(name, getattr(self, name), "second")
        _at_least_one("trial_memory_mb", self.trial_memory_mb, "megabyte")
        if self.stopping not in STOPPING:
            raise InvalidRequest(f"unknown early stopping {self.stopping!r}; one of {list(STOPPING)}")
        if len(set(self.objectives)) != len(self.objectives):
            raise InvalidRequest(f"objectives: a name stands twice in {list(self.objectives)}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at_least_one(name: str, value: Any, unit: str) -> None:
    if value is not None and not (_number(value) and math.isfinite(value) and value >= 1):
        raise InvalidRequest(f"{name} must be at least 1 {unit}, got {value!r}")


def _whole(name: str, value: Any, at_least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InvalidRequest(f"{name} must be a whole number of at least {at_least}, got {value!r}")


@dataclass(frozen=True, slots=True)
class AnalyzeModel:
    """Look at what a model was asked and answered in a stretch of time.

    `time_range` is a duration back from now such as `24h`, two instants, or `START..END`. `version` is a version or
    an alias. `separability` asks for a classifier of reference against current rows as well.
    """

    model_id: str
    analysis_type: str = "full"
    time_range: Any = "24h"
    version: str = CHAMPION
    separability: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.model_id, str) or not self.model_id:
            raise InvalidRequest(f"model_id must be the id of a registered model, got {self.model_id!r}")
        if self.analysis_type not in list(AnalysisType):
            known = [str(kind) for kind in AnalysisType]
            raise InvalidRequest(f"unknown analysis_type {self.analysis_type!r}; one of {known}")
        _whole("seed", self.seed, at_least=0)

    def wants(self, part: AnalysisType) -> bool:
        return AnalysisType(self.analysis_type) in (part, AnalysisType.FULL)
