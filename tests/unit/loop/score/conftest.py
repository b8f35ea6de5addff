"""A small model with three versions, whose champion or mixture scores files of a folder, all in memory."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.agent import OptimizationAgent
from optagent.codec import model_from
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.prediction_interval import IntervalThresholds
from optagent.domain.routing import RoutingTable
from optagent.domain.scored_file import ScoredFile
from optagent.mixing.learner import MixtureLearner
from optagent.training.bundle import save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from tests.fakes.loader import InMemoryLoader
from tests.fakes.routes import InMemoryRoutes

NOW = 1_700_000_000.0
VERSIONS = ("1", "2", "3")
SLOTS = (CHAMPION, "all", "1/4")
FEATURES = ("a", "b", "region")


@dataclass
class Scored:
    """An agent with its folder: `await scored(rows)` scores rows and answers the account and the output."""

    agent: OptimizationAgent
    folder: Path
    clock: ManualClock
    routes: InMemoryRoutes
    loader: InMemoryLoader
    spec: ModelSpec

    @property
    def out(self) -> Path:
        return self.folder / "scored.parquet"

    def write(self, rows: pa.Table, name: str = "new.parquet") -> Path:
        path = self.folder / name
        pq.write_table(rows, path)
        return path

    async def __call__(self, rows: pa.Table | Path, **options: Any) -> tuple[ScoredFile, pa.Table]:
        data = self.write(rows) if isinstance(rows, pa.Table) else rows
        account = await self.agent.score("churn", data, options.pop("out", self.out), **options)
        return account, pq.read_table(account.path)

    async def answer_by(
        self,
        weights: MixtureWeights | None = None,
        champion: str = "1",
        intervals: IntervalThresholds | None = None,
    ) -> None:
        """Routes requests as a supervisor would."""
        active = await self.routes.active_table("churn")
        revision = active.revision + 1 if active else 1
        await self.routes.stage(RoutingTable("churn", revision, champion, mixture=weights, intervals=intervals))
        await self.routes.activate("churn", revision, NOW)

    def left_behind(self) -> list[str]:
        """Files that are neither input nor output."""
        return sorted(path.name for path in self.folder.iterdir() if ".part" in path.name)


def mixture_weights(spec: ModelSpec, versions: tuple[str, ...] = VERSIONS) -> MixtureWeights:
    """The weights that a learner begins with."""
    return replace(MixtureLearner(spec.task, SLOTS).weights(versions), digest="d1")


def features_of(rows: pa.Table) -> pa.Table:
    return rows.select(list(FEATURES))


@pytest.fixture
async def scored(churn: dict[str, Any], make_rows: Callable[..., pa.Table], tmp_path: Path) -> AsyncIterator[Scored]:
    """The model "churn" with versions 1 (champion, LightGBM), 2 (LightGBM) and 3 (linear)."""
    clock = ManualClock(NOW)
    registry, routes, store = InMemoryRegistry(clock), InMemoryRoutes(clock), InMemoryStore(clock)
    loader = InMemoryLoader(registry)
    agent = await create_optimization_agent(
        clock=clock, store=store, registry=registry, tracker=InMemoryTracker(), observations=InMemoryObservations(),
        tuner=SequentialTuner(), workers=SequentialWorkers(), routes=routes, loader=loader, strict=True,
    )  # fmt: skip
    spec = model_from(churn)
    await store.save_model(spec)
    for number, family in enumerate(("lightgbm", "lightgbm", "linear"), 1):
        register_version(registry, spec, make_rows(400, seed=number), family, tmp_path / f"bundle-{number}")
    registry.set_alias("churn", CHAMPION, "1")
    folder = tmp_path / "files"
    folder.mkdir()
    async with agent:
        yield Scored(agent, folder, clock, routes, loader, spec)


def register_version(registry: InMemoryRegistry, spec: ModelSpec, rows: pa.Table, family: str, bundle: Path) -> None:
    schema = fit_schema(rows, spec)
    data = load_data(rows, schema)
    fit = family_named(family).start({}, data, np.arange(len(data)), seed=1)
    fit.advance(20)
    facts = {"model_id": spec.model_id, "task": spec.task, "params": {}, "rounds": 20, "created_at": 0.0}
    save_bundle(bundle, fit.model(), family, schema, facts)
    registry.register(spec.model_id, bundle, {}, {})
