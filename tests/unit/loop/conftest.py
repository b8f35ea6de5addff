"""A small world of traffic: a clock, gateways that load what is staged, and requests that are answered by the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.analysis.observed_rows import ObservedRows
from optagent.domain.dataset import FileSource
from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion, Task
from optagent.domain.rollout import Rollout, begin
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.routing import RoutingTable
from optagent.errors import ModelNotFound
from optagent.loop.observe.reference import Reference, encode_reference
from optagent.loop.observe.window_rows import observed_columns
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.supervise import SupervisorPass, supervise
from optagent.ports import RecordKind, Store
from optagent.serving.evidence_record import evidence_schema
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from tests.fakes.routes import InMemoryRoutes

START = 1_700_000_000.0
SCHEMA = Schema((FeatureColumn("amount", Kind.NUMERIC),), "churned", Task.BINARY, ("no", "yes"))
SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "churned")
POLICY = RolloutPolicy(
    margin=0.002,
    ramp_margin=0.03,
    ramp=(0.25, 0.5),
    min_rows=400,
    horizon_rows=8_000,
    ramp_horizon_rows=40_000,
    baking_s=60.0,
)


class Aliases:
    """A registry of versions without bundles."""

    def __init__(self, *versions: str) -> None:
        self.versions = versions
        self.digests = {version: version * 64 for version in versions}
        self.champion: dict[str, str] = {"churn": versions[0]}

    def set_alias(self, model_id: str, alias: str, version: str) -> None:
        assert (alias, version) == (CHAMPION, self.version(model_id, version).version)
        self.champion[model_id] = version

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        version = self.champion.get(model_id) if alias_or_version == CHAMPION else alias_or_version
        if version not in self.versions:
            raise ModelNotFound(f"{model_id} {alias_or_version}")
        return ModelVersion(model_id, version, self.digests[version], START)


EVERY_S = 1.0  # between two requests


@dataclass
class Candidate:
    """The behaviour of a candidate; its probabilities are `noise` away from the truth, the champion's 0.15."""

    noise: float = 0.15
    fails: float = 0.0
    latency_ms: float = 5.0
    nothing: bool = False


@dataclass
class World:
    """The model "churn" with the champion 1 and the candidate 2.

    `gateways` holds by name their answer to a staged table: "" for loaded, otherwise the reason why version 2 cannot be
    loaded; None for no answer.
    """

    candidate: Candidate = field(default_factory=Candidate)
    gateways: dict[str, str | None] = field(default_factory=lambda: {"g1": "", "g2": ""})
    seed: int = 0

    def __post_init__(self) -> None:
        self.clock = ManualClock(START)
        self.store, self.routes = InMemoryStore(self.clock), InMemoryRoutes(self.clock)
        self.registry, self.observations = Aliases("1", "2", "3"), InMemoryObservations()
        self.rng, self.requests = np.random.default_rng(self.seed), 0
        self.observations.save_reference("churn", "1", encode_reference(reference()))
        self.observations.save_reference("churn", "2", encode_reference(reference()))

    def live(self, **ports: object) -> RolloutContext:
        """The ports, as a process that has just started sees them."""
        own = {
            "store": self.store,
            "routes": self.routes,
            "registry": self.registry,
            "observations": self.observations,
        }
        return RolloutContext(**{**own, **ports}, clock=self.clock, sleep=self.sleep)  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        """Time for gateways to hear of what is staged."""
        self.clock.advance(seconds)
        await self.beat()
        for table in await self.routes.tables():
            for gateway, answer in self.gateways.items():
                if table.activate_at is None and answer is not None and ("2" in table.versions or not answer):
                    await self.routes.acknowledge(gateway, table.model_id, table.revision, answer)

    async def beat(self) -> None:
        for gateway in self.gateways:
            await self.routes.beat(gateway, 3.0)

    async def begin(self, **changes: object) -> Rollout:
        await self.store.save_model(SPEC)
        await self.beat()
        rollout = begin("r1", "churn", "1", "2", replace(POLICY, **changes), self.clock.now(), "ana")
        await self.store.create_rollout(rollout)
        return rollout

    async def pass_by(self, live: RolloutContext | None = None, seconds: float = 1.0) -> SupervisorPass:
        """One pass, a second later."""
        self.clock.advance(seconds)
        await self.beat()
        return await supervise(live or self.live())

    async def run(self, passes: int, rows: int = 200, labelled: bool = True) -> Rollout:
        """Requests and passes in turn, until the rollout has ended."""
        live = self.live()
        for _ in range(passes):
            await self.traffic(rows, labelled)
            assert (await self.pass_by(live, 10.0)).errors == {}
            rollout = await self.rollout()
            if not rollout.state.is_active:
                break
        return await self.rollout()

    async def traffic(self, rows: int, labelled: bool = True) -> None:
        """Requests that are answered by the active table, and their labels where these come at once."""
        table = await self.routes.active_table("churn")
        if table is None or not table.rollout_id:
            return
        evidence, labels = self.answer_requests(table, rows)
        self.clock.advance(rows * EVERY_S)
        await self.beat()
        self.observations.record("churn", RecordKind.EVIDENCE, evidence)
        if labelled:
            self.observations.record("churn", RecordKind.LABELS, labels)

    def answer_requests(self, table: RoutingTable, rows: int) -> tuple[pa.Table, pa.Table]:
        """The evidence and the labels of requests that are answered by the table."""
        ids = [f"p{self.requests + number:08d}" for number in range(rows)]
        self.requests += rows
        now = round(self.clock.now() * 1e6)
        time = pa.array(now + np.arange(rows) * round(EVERY_S * 1e6)).cast(pa.timestamp("us", "UTC"))
        truth = self.rng.beta(0.7, 0.7, rows)
        y = self.rng.random(rows) < truth
        share = {"shadow": 0.0, "baking": 1.0}.get(table.state, table.share)
        drawn = np.array([table.arm(key) == "candidate" for key in ids]) | (share == 1.0)
        asked = drawn | (table.state != RolloutState.RAMP)
        failed = asked & (self.rng.random(rows) < self.candidate.fails)
        no_score = failed | ~asked | self.candidate.nothing
        champion = np.clip(truth + self.rng.normal(0, 0.15, rows), 0, 1)
        candidate = np.clip(truth + self.rng.normal(0, self.candidate.noise, rows), 0, 1)
        answered_by_candidate = drawn & ~failed & (table.state == RolloutState.RAMP)
        evidence = pa.table(
            {
                "id": pa.array(ids, pa.large_string()),
                "time": time,
                "rollout": pa.array([table.rollout_id] * rows, pa.large_string()),
                "state": pa.array([table.state] * rows, pa.large_string()),
                "step": pa.array([table.step] * rows, pa.int32()),
                "arm": pa.array(np.where(drawn, "candidate", "champion").tolist(), pa.large_string()),
                "share": np.full(rows, share),
                "unit": pa.array(ids, pa.large_string()),
                "version": pa.array(["1"] * rows, pa.large_string()),
                "failed": failed,
                "latency_ms": pa.array(np.full(rows, self.candidate.latency_ms), mask=~asked),
                "champion_ms": np.where(asked & (table.state == RolloutState.RAMP), np.nan, 1.0),
                "champion_0": pa.array(champion, mask=answered_by_candidate),
                "candidate_0": pa.array(candidate, mask=no_score),
            },
            schema=evidence_schema(1),
        )
        labels = pa.table({"id": ids, "time": time, "label": np.where(y, "yes", "no").tolist()})
        return evidence, labels

    async def rollout(self) -> Rollout:
        return await self.store.rollout("r1")

    async def decide(self, act: Callable[..., Rollout], store: Store | None = None) -> Rollout:
        """Writes a person's decision into the journal, and nothing else."""
        before = await self.rollout()
        after = act(before, "ana", "sure", self.clock.now())
        await (store or self.store).save_rollout(after, before)
        return after

    async def champions(self) -> set[str]:
        """The champions by the router, the registry and the journal."""
        table = await self.routes.active_table("churn")
        assert table is not None
        return {table.champion, self.registry.champion["churn"], (await self.rollout()).holder}


def reference(rows: int = 2_000) -> Reference:
    """The rows that the champion was validated on."""
    rng = np.random.default_rng(1)
    truth = rng.beta(0.7, 0.7, rows)
    observed = ObservedRows(
        task=Task.BINARY,
        columns=observed_columns(SCHEMA),
        x=np.zeros((rows, 1), dtype=np.float32),
        prediction=np.clip(truth + rng.normal(0, 0.15, rows), 0, 1),
        y=(rng.random(rows) < truth).astype(np.float64),
        time=START - rows + np.arange(rows, dtype=np.float64),
        latency_ms=np.full(rows, np.nan),
        n_classes=2,
    )
    importance: Mapping[str, float] = {"amount": 1.0}
    return Reference(SCHEMA, observed, importance, "1", rows)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_world() -> type[World]:
    return World


@pytest.fixture
def new_candidate() -> type[Candidate]:
    return Candidate
