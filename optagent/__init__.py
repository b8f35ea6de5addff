"""optagent keeps production models good: it searches on Ray, and proves on unseen rows that the new model is better.

Importing it loads no framework; each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.bootstrap import create_optimization_agent
    from optagent.domain.model import ModelSpec
    from optagent.domain.study import TuningResult
    from optagent.notebook import ProgressView
    from optagent.settings import Settings, load_settings

__version__ = "0.1.0"

_HOMES = {
    "ModelSpec": "optagent.domain.model",
    "OptimizationAgent": "optagent.agent",
    "ProgressView": "optagent.notebook",
    "Settings": "optagent.settings",
    "TuningResult": "optagent.domain.study",
    "create_optimization_agent": "optagent.bootstrap",
    "load_settings": "optagent.settings",
}

__all__ = [
    "ModelSpec",
    "OptimizationAgent",
    "ProgressView",
    "Settings",
    "TuningResult",
    "create_optimization_agent",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'optagent' has no attribute {name!r}")
