"""A model that a mixture answers for, in memory: requests, labels, passes, and a registry whose versions may vanish."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.dataset import FileSource
from optagent.domain.mixture import MixtureRecord, MixtureWeights
from optagent.domain.mixture_status import MixtureReplay
from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion, Task
from optagent.domain.policy import Action, RetrainingPolicy
from optagent.errors import ModelNotFound
from optagent.loop.mixture.advance import PUBLISHED, advance_mixture
from optagent.loop.mixture.answered_rows import MixtureRows, read_answered_rows
from optagent.loop.mixture.ports import MixturePorts
from optagent.loop.mixture.relearn import replay_mixture
from optagent.loop.rollout.context import RolloutContext
from optagent.mixing.learner import MixtureLearner
from optagent.mixing.scorer import MixtureScorer
from optagent.ports import Observations, RecordKind, Store
from optagent.serving.mixture_record import SEPARATOR, SaidRecord, said_columns
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from tests.fakes.routes import InMemoryRoutes

START = 1_700_000_000.0
SCHEMA = Schema((FeatureColumn("amount", Kind.NUMERIC),), "churned", Task.BINARY, ("no", "yes"))
POLICY = RetrainingPolicy(action=Action.FULL, answer="mixture", slots=("champion", "all", "1/4"))
SPEC = ModelSpec(
    "churn", Task.BINARY, FileSource("rows.parquet"), "churned", time_column="at", policy=POLICY, label_horizon="2d"
)
NOISE = {"1": 1.0, "2": 0.3, "3": 2.0}
"""By version: the distance of what it says from the truth, in log-odds."""


@dataclass
class Versions:
    """A registry without bundles."""

    names: set[str] = field(default_factory=lambda: set(NOISE))
    champion: str = "1"
    listings: int = 0

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        version = self.champion if alias_or_version == CHAMPION else alias_or_version
        if version not in self.names:
            raise ModelNotFound(f"{model_id} {alias_or_version}")
        return ModelVersion(model_id, version, version * 64, START)

    def versions(self, model_id: str) -> list[ModelVersion]:
        self.listings += 1
        return [self.version(model_id, name) for name in sorted(self.names, reverse=True)]


class JumpingClock(ManualClock):
    """A clock that may be set back, as that of a machine may."""

    def jump(self, seconds: float) -> None:
        self._now += seconds


class MixtureWorld:
    """The model "churn". `every_s` is the time between passes; a pass is taken ten minutes after the one before."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = JumpingClock(START)
        self.store, self.observations = InMemoryStore(self.clock), InMemoryObservations()
        self.registry, self.routes = Versions(), InMemoryRoutes(self.clock)
        self.rng, self.requests = np.random.default_rng(seed), 0
        self.spec = SPEC
        self.labels: dict[str, str] = {}
        self.schemas = {("churn", version * 64): SCHEMA for version in NOISE}

    def ports(self, store: Any = None, observations: Any = None) -> MixturePorts:
        """The ports as a process that has just started sees them."""
        store, observations = store or self.store, observations or self.observations
        return MixturePorts(store, self.registry, observations, self.clock, 60.0, self.schemas)  # type: ignore[arg-type]

    def context(self) -> RolloutContext:
        """The ports of the acts of people."""
        return RolloutContext(
            self.store,
            self.routes,
            self.registry,  # type: ignore[arg-type]
            self.observations,
            self.clock,
            schemas=self.schemas,
        )

    async def advance(
        self, seconds: float = 600.0, store: Store | None = None, observations: Observations | None = None
    ) -> MixtureWeights | None:
        """A pass, so many seconds later."""
        self.clock.jump(seconds)
        champion = self.registry.version("churn", CHAMPION)
        return await advance_mixture(self.spec, champion, self.ports(store, observations))

    async def begin(self) -> MixtureRecord:
        """The first pass, and models of their own for the slots "all" and "1/4"."""
        await self.store.save_model(self.spec)
        await self.advance(0.0)
        record = await self.record()
        await self.store.save_mixture(replace(record, versions={"all": "2", "1/4": "3"}), record)
        await self.advance()
        return await self.record()

    async def record(self) -> MixtureRecord:
        record = await self.store.mixture("churn")
        assert record is not None
        return record

    async def learned(self) -> int:
        """The rows that the journal has learned."""
        return int((await self.record()).state["rows"])

    async def answer(self, rows: int = 20, label: bool = True, at: float | None = None) -> list[str]:
        """The ids of requests that the published weights answer now, a second apart; with their labels at once."""
        weights = (await self.record()).published
        assert weights is not None
        ids = [f"r{self.requests + number:07d}" for number in range(rows)]
        self.requests += rows
        truth = self.rng.normal(0, 1.5, rows)
        told = np.stack([truth + self.rng.normal(0, NOISE[name], rows) for name in weights.versions], axis=1)
        answer = MixtureScorer(weights).mix(1 / (1 + np.exp(-told))[:, :, None])
        said = SaidRecord(SEPARATOR.join(weights.slots), weights.digest, answer.said)
        start = self.clock.now() - rows if at is None else at
        self.record_answers(ids, start + np.arange(rows), answer.scores, said)
        yes = self.rng.random(rows) < 1 / (1 + np.exp(-truth))
        self.labels |= {name: "yes" if each else "no" for name, each in zip(ids, yes.tolist(), strict=True)}
        if label:
            self.tell(ids)
        return ids

    def record_answers(self, ids: Sequence[str], times: Any, scores: Any, said: SaidRecord) -> None:
        columns = {"id": pa.array(ids, pa.large_string()), "time": _instants(times), "amount": np.zeros(len(ids))}
        columns |= {"probability_yes": scores, "probability_no": 1 - scores, **said_columns([said])}
        self.observations.record("churn", RecordKind.PREDICTIONS, pa.table(columns))

    def repeat(self, name: str, seconds: float) -> None:
        """Records the row of an id again, so much later."""
        self.observations.drain("churn")
        for table in self.observations.predictions("churn", -np.inf, np.inf):
            rows = table.filter(pa.compute.equal(table["id"], name)).slice(0, 1)
            if rows.num_rows:
                later = rows["time"].cast(pa.int64()).to_numpy() / 1e6 + seconds
                place = rows.schema.get_field_index("time")
                self.observations.record(
                    "churn", RecordKind.PREDICTIONS, rows.set_column(place, "time", _instants(later))
                )

    def tell(self, ids: Sequence[str], labels: Mapping[str, str] | None = None) -> None:
        """Records the labels of rows, by default the true ones."""
        texts = [(labels or self.labels)[name] for name in ids]
        times = _instants(np.full(len(ids), self.clock.now()))
        rows = pa.table(
            {"id": pa.array(ids, pa.large_string()), "time": times, "label": pa.array(texts, pa.large_string())}
        )
        self.observations.record("churn", RecordKind.LABELS, rows)

    def waiting_rows(self, record: MixtureRecord) -> MixtureRows:
        """The rows that the next pass would read."""
        form = MixtureLearner.from_plain(record.state).form
        return read_answered_rows(self.observations, self.spec, SCHEMA, form, record, self.clock.now())

    async def replay(self) -> MixtureReplay:
        logged = [entry for entry in await self.store.audit(1_000) if entry.action == PUBLISHED]
        return replay_mixture(await self.record(), self.observations, logged)

    def learned_ids(self) -> list[tuple[str, int]]:
        """The ids of the archived learned rows with the pass that learned each, in order."""
        tables = self.observations.learned_rows("churn", -np.inf)
        return sorted(
            {
                (name, each)
                for table in tables
                for name, each in zip(table["id"].to_pylist(), table["pass"].to_pylist(), strict=True)
            }
        )


def _instants(times: Any) -> pa.Array:
    return pa.array(np.round(np.asarray(times) * 1e6).astype(np.int64)).cast(pa.timestamp("us", "UTC"))


@pytest.fixture
def world() -> MixtureWorld:
    return MixtureWorld()


@pytest.fixture
def new_world() -> type[MixtureWorld]:
    return MixtureWorld
