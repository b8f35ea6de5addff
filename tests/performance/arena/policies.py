"""Policies of the arena: the product's own replay, from the first model on that all other entrants start with."""

import asyncio
import dataclasses
import time

from optagent.backtest.history import History, history_of
from optagent.backtest.simulate import SimulatedPolicy, _quiet_logs, _Simulation
from optagent.domain.backtest import BacktestAsk, Contender, contender_named
from optagent.domain.duration import seconds
from optagent.domain.model import CHAMPION
from optagent.domain.policy import ANSWERS
from optagent.loop.train.build import build_recipe
from optagent.loop.train.features import current_recipe
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.refit import prepare_refit
from optagent.loop.train.register import register_once
from optagent.loop.train.training_rows import read_training_rows
from tests.performance.arena.entrant import Outcome
from tests.performance.arena.plain_family import NAME
from tests.performance.arena.stream import Stream

NAMES = tuple(f"{name}:{answer}" for answer in ANSWERS for name in ("conservative", "balanced", "aggressive"))
"""Policies with each way to answer."""


def replay_policy(name: str, stream: Stream, seed: int) -> Outcome:
    """The outcome of a policy. Its trainings are the versions that it registered, with those that only judged."""
    began = time.process_time()
    ask = ask_of(stream, seed)
    spec = dataclasses.replace(stream.history.spec, families=(NAME,))
    history = history_of(stream.history.table, spec, ask)
    with _quiet_logs():
        replay = _FromAllRows(history, contender_named(name), ask)
        policy = asyncio.run(replay.run())
    core_s = time.process_time() - began
    return Outcome(name, policy.prediction, replay.trainings, core_s, policy.run)


def ask_of(stream: Stream, seed: int = 0) -> BacktestAsk:
    """A look a block; a second more than a block later the labels come, so that the block's own first row is late."""
    delay = f"{int(seconds(stream.block)) + 1}s"
    return BacktestAsk((), delay, stream.history.start, stream.block, seed=seed)


class _FromAllRows(_Simulation):
    """A replay whose first champion learns from all rows that are known, its holdout's too, as the other entrants'."""

    def __init__(self, history: History, contender: Contender, ask: BacktestAsk) -> None:
        super().__init__(history, contender, ask)
        self.trainings = 0

    async def run(self) -> SimulatedPolicy:
        policy = await super().run()
        self.trainings = len(self._ports.registry.versions(self._spec.model_id)) - 1  # less the one without holdout
        return policy

    async def _first_version(self) -> float:
        reference = await super()._first_version()
        registry, model_id = self._ports.registry, self._spec.model_id
        measured = registry.version(model_id, CHAMPION)
        refit = self._all_rows(measured.version)
        recipe, _ = current_recipe(refit, registry)
        built = build_recipe(recipe, refit, self._ask.seed, self._ports.threads)
        version = await register_once(built, refit, "the arena's first version", self._ports)
        registry.set_alias(model_id, CHAMPION, version.version)
        return reference

    def _all_rows(self, measured_as: str) -> PreparedRows:
        spec, ports = self._spec, self._ports
        rows = read_training_rows(spec, ports.datasets, ports.observations, self._clock.now())
        return prepare_refit(rows, rows.prepare(self._ask.seed), "expanding", measured_as)
