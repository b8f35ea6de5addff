"""Ports of an agent that keep all in memory, by the names under which `create_optimization_agent` takes them."""

from typing import Any

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner


def ports_in_memory() -> dict[str, Any]:
    """New ports on a clock of their own, which a test moves on."""
    clock = ManualClock(1_700_000_000.0)
    return {
        "clock": clock,
        "store": InMemoryStore(clock),
        "registry": InMemoryRegistry(clock),
        "tracker": InMemoryTracker(),
        "observations": InMemoryObservations(),
        "tuner": SequentialTuner(),
    }
