"""What can be asked of the loop; a command that breaks a rule is never made."""

import math
from dataclasses import dataclass
from typing import Any

from optagent.domain.strategy import strategy_named
from optagent.domain.study import method_named
from optagent.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class TuneModel:
    """Search for better parameters of a model. None means the setting, scaled by the strategy."""

    model_id: str
    method: str = "optuna"
    trials: int | None = None
    timeout_s: float | None = None
    strategy: str = "balanced"
    max_concurrent: int | None = None
    cpus_per_trial: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.model_id, str) or not self.model_id:
            raise InvalidRequest(f"model_id must be the id of a registered model, got {self.model_id!r}")
        method_named(self.method)
        strategy_named(self.strategy)
        for name in ("trials", "max_concurrent", "cpus_per_trial"):
            _whole(name, getattr(self, name), at_least=1)
        _whole("seed", self.seed, at_least=0)
        timeout = self.timeout_s
        if timeout is not None and not (_number(timeout) and math.isfinite(timeout) and timeout >= 1):
            raise InvalidRequest(f"timeout_s must be at least 1 second, got {timeout!r}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(name: str, value: Any, at_least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InvalidRequest(f"{name} must be a whole number of at least {at_least}, got {value!r}")
