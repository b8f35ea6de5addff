"""Mixed traffic: a model with a champion and a mixture, requests that its mixture answers, and their labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from optagent.adapters.in_memory.clock import ManualClock
from optagent.agent import OptimizationAgent
from optagent.codec import model_from
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import CHAMPION
from optagent.mixing.scorer import MixtureScorer
from optagent.ports import RecordKind
from optagent.serving.mixture_record import SEPARATOR, SaidRecord, said_columns
from optagent.training.bundle import save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named

MIXED_POLICY = {"triggers": ["growth"], "action": "full", "optimization_type": "retrain", "answer": "mixture"}

_NOISE = {"champion": 0.35, "1/4": 0.05}
_EVERY_S = 1.0  # between two requests


class MixedTraffic:
    """The requests of the model "churn": slot 1/4 is close to the truth, and the champion far from it."""

    def __init__(self, agent: OptimizationAgent, clock: ManualClock, seed: int = 0) -> None:
        self.agent, self.clock, self.ports = agent, clock, agent._ports
        self._rng, self._requests = np.random.default_rng(seed), 0

    async def begin(self, model: Mapping[str, Any], rows: pa.Table, folder: Path) -> None:
        """Registers the model with a policy of a mixture, and its champion; the first weights answer."""
        spec = model_from({**model, "policy": MIXED_POLICY})
        await self.ports.store.save_model(spec)
        schema = fit_schema(rows, spec)
        data = load_data(rows, schema)
        fit = family_named("linear").start({}, data, np.arange(len(data)), seed=1)
        fit.advance(1)
        facts = {"model_id": spec.model_id, "task": spec.task, "params": {}, "rounds": 1, "created_at": 0.0}
        save_bundle(folder / "champion", fit.model(), "linear", schema, facts)
        version = self.ports.registry.register(spec.model_id, folder / "champion", {}, {}).version
        self.ports.registry.set_alias(spec.model_id, CHAMPION, version)
        await self.supervise()

    async def run(self, passes: int, rows: int = 100) -> None:
        """Requests with their labels, and passes that learn from them, in turn."""
        for _ in range(passes):
            await self.answer(rows)
            await self.supervise()

    async def supervise(self) -> None:
        assert (await self.agent.supervise_once()).errors == {}

    async def weights(self) -> MixtureWeights | None:
        """The weights that answer now; None where the champion answers alone."""
        table = await self.ports.require("routes").active_table("churn")
        return None if table is None else table.mixture

    async def answer(self, rows: int) -> None:
        """Requests that the published weights answer, and their labels at once."""
        weights = await self.weights()
        assert weights is not None
        truth = self._rng.beta(0.7, 0.7, rows)
        said = [np.clip(truth + self._rng.normal(0, _NOISE.get(name, 0.2), rows), 0, 1) for name in weights.slots]
        answer = MixtureScorer(weights).mix(np.stack(said, axis=1)[:, :, None])
        ids = pa.array([f"p{self._requests + row:06d}" for row in range(rows)], pa.large_string())
        micros = round(self.clock.now() * 1e6) + np.arange(rows) * round(_EVERY_S * 1e6)
        time = pa.array(micros).cast(pa.timestamp("us", "UTC"))
        self._requests += rows
        record = SaidRecord(SEPARATOR.join(weights.slots), weights.digest, answer.said)
        predictions = {"id": ids, "time": time, "probability_yes": answer.scores, **said_columns([record])}
        labels = np.where(self._rng.random(rows) < truth, "yes", "no")
        self.clock.advance(rows * _EVERY_S)
        observations = self.ports.require("observations")
        observations.record("churn", RecordKind.PREDICTIONS, pa.table(predictions))
        observations.record("churn", RecordKind.LABELS, pa.table({"id": ids, "time": time, "label": labels}))
