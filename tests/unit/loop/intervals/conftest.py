"""A regression with intervals, in memory: requests, late labels, passes of the supervisor, and two versions."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.analysis.observed_rows import ObservedRows
from optagent.domain.dataset import FileSource
from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion, Task
from optagent.domain.prediction_interval import IntervalRecord
from optagent.domain.routing import RoutingTable
from optagent.errors import ModelNotFound
from optagent.loop.observe.reference import Reference, encode_reference
from optagent.loop.observe.window_rows import observed_columns
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.supervise import SupervisorPass, supervise
from optagent.ports import RecordKind
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from tests.fakes.routes import InMemoryRoutes

START = 1_700_000_000.0
SCHEMA = Schema((FeatureColumn("amount", Kind.NUMERIC),), "price", Task.REGRESSION)
SPEC = ModelSpec(
    "rent", Task.REGRESSION, FileSource("rows.parquet"), "price", time_column="at", label_horizon="1d", intervals=True
)


@dataclass
class TwoVersions:
    """A registry of two versions without bundles."""

    champion: str = "1"

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        version = self.champion if alias_or_version == CHAMPION else alias_or_version
        if version not in ("1", "2"):
            raise ModelNotFound(f"{model_id} {alias_or_version}")
        return ModelVersion(model_id, version, version * 64, START)


def holdout(scale: float, rows: int = 300) -> Reference:
    """The rows that a version was measured on, with errors of that scale."""
    rng = np.random.default_rng(1)
    observed = ObservedRows(
        task=Task.REGRESSION,
        columns=observed_columns(SCHEMA),
        x=np.zeros((rows, 1), dtype=np.float32),
        prediction=np.zeros(rows),
        y=rng.normal(0, scale, rows),
        time=np.arange(rows, dtype=np.float64),
        latency_ms=np.full(rows, np.nan),
    )
    return Reference(schema=SCHEMA, observed=observed, importance={"amount": 1.0}, version="1", rows=rows)


@dataclass
class IntervalWorld:
    """The model "rent", whose version 1 errs by about 1 and version 2 by about 5 on its holdout."""

    spec: ModelSpec = SPEC
    requests: int = 0
    registry: TwoVersions = field(default_factory=TwoVersions)

    def __post_init__(self) -> None:
        self.clock = ManualClock(START)
        self.store, self.observations = InMemoryStore(self.clock), InMemoryObservations()
        self.routes, self.rng = InMemoryRoutes(self.clock), np.random.default_rng(0)
        self.context = self.new_context()
        for version, scale in (("1", 1.0), ("2", 5.0)):
            self.observations.save_reference("rent", version, encode_reference(holdout(scale)))

    def new_context(self) -> RolloutContext:
        """The ports as a process that has just started sees them."""
        schemas = {("rent", version * 64): SCHEMA for version in ("1", "2")}
        return RolloutContext(
            self.store,
            self.routes,
            self.registry,  # type: ignore[arg-type]
            self.observations,
            self.clock,
            self.sleep,
            schemas=schemas,
        )

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def begin(self) -> None:
        """The model is registered, its intervals start, and its table has them."""
        await self.store.save_model(self.spec)
        await self.supervise()
        await self.supervise()

    async def supervise(self, seconds: float = 300.0) -> SupervisorPass:
        """A pass, so many seconds later."""
        self.clock.advance(seconds)
        return await supervise(self.context)

    def answer(self, rows: int, scale: float = 1.0) -> dict[str, float]:
        """Requests that are answered now, a second apart; their labels by id, with errors of that scale."""
        ids = [f"r{self.requests + row:06d}" for row in range(rows)]
        self.requests += rows
        times = _instants(self.clock.now() + np.arange(rows))
        self.clock.advance(rows)
        answers = {"id": pa.array(ids, pa.large_string()), "time": times, "prediction": np.full(rows, 100.0)}
        self.observations.record("rent", RecordKind.PREDICTIONS, pa.table(answers))
        return dict(zip(ids, (100.0 + self.rng.normal(0, scale, rows)).tolist(), strict=True))

    def tell(self, labels: dict[str, float]) -> None:
        """Records labels."""
        now = _instants(np.full(len(labels), self.clock.now()))
        rows = {"id": pa.array(list(labels), pa.large_string()), "time": now, "label": list(labels.values())}
        self.observations.record("rent", RecordKind.LABELS, pa.table(rows))

    async def record(self) -> IntervalRecord:
        record = await self.store.intervals("rent")
        assert record is not None
        return record

    async def learned(self) -> int:
        """The rows that the journal has learned."""
        return int((await self.record()).state["rows"])

    async def table(self) -> RoutingTable:
        table = await self.routes.active_table("rent")
        assert table is not None
        return table

    async def threshold(self, place: int = 2) -> float:
        """The threshold of a level in the active table, by default that of 90 %."""
        intervals = (await self.table()).intervals
        assert intervals is not None
        return intervals.thresholds[place]


def _instants(times: np.ndarray) -> pa.Array:
    return pa.array(np.round(times * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC"))


@pytest.fixture
def world() -> IntervalWorld:
    return IntervalWorld()
