"""Ports of a simulation: all that its agent works through, in the memory of one process and in one thread."""

from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.observations_in_order import ObservationsInOrder
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.routes import InMemoryRoutes
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.backtest.history import History
from optagent.domain.monitoring import Monitoring
from optagent.loop.context import Ports
from optagent.loop.train.study import SearchLimits
from optagent.ports import Clock, Tracker

_SEARCH_TIMEOUT_S = 86_400.0  # a search cut short by wall-clock time would not be reproducible


def ports_in_memory(history: History, clock: Clock, tracker: Tracker) -> Ports:
    """The ports of an agent that knows the base of a history, and routes requests without gateways."""
    assert history.spec.data is not None
    return Ports(
        store=InMemoryStore(clock),
        datasets=InMemoryDatasets({history.spec.data.uri: history.base}),  # type: ignore[union-attr]
        tuner=SequentialTuner(),
        registry=InMemoryRegistry(clock),
        tracker=tracker,
        clock=clock,
        limits=SearchLimits(timeout_s=_SEARCH_TIMEOUT_S),
        threads=1,
        observations=ObservationsInOrder(max_backlog=2**62),
        routes=InMemoryRoutes(clock),
        workers=SequentialWorkers(),
        monitoring=history.spec.monitoring or Monitoring(),
        mixture_every_s=0.0,
        keeps_reports=False,
    )
