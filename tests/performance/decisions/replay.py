"""Rollouts of a replay: promotions of a candidate no better, and the time to promote a better one, on replayed rows.

Both versions are given: linear models that read the same column beside one of their own. What goes on from there is the
product's: gateway, recorded evidence and labels, supervisor, looks and rules, on the clock of a replay.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.agent import OptimizationAgent
from optagent.analysis.rollout_evidence import GuardedRequests, PairedLosses, look_at
from optagent.backtest.history import History, history_of
from optagent.backtest.ports_in_memory import ports_in_memory
from optagent.backtest.traffic import ReplayedTraffic
from optagent.codec import model_from
from optagent.domain.backtest import BacktestAsk
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.rollout import Rollout, advance, begin
from optagent.domain.rollout_look import RolloutState
from optagent.loop.context import Ports
from optagent.loop.observe.reference import encode_reference, make_reference
from optagent.loop.rollout.look import is_look_due
from optagent.loop.train.prepare import prepare
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.families.registry import family_named
from tests.performance.decisions.case import Case
from tests.simulation.streams import DAY_S, autoregressive, day_effects, request_times

_LEARNED = 20_000  # rows that both versions learn from: what is not learned exactly is 0.01 % of the loss
_KNOWN_DAYS = 8  # of traffic before the rollout starts
_DELAY_S = DAY_S
_SUPERIOR = {"margin": 0.0, "guardrails": {}}


@dataclass(frozen=True, slots=True)
class Pair:
    """The weights in the logit of a label: that of a column that both read, of the champion's own, of the candidate's.

    The candidate of an `extended` pair reads the champion's column too. Without it and at equal weights neither is
    better.
    """

    own: float = 0.2
    extended: bool = False
    common: float = 1.5
    champion: float = 0.2

    def columns(self, version: str) -> tuple[str, ...]:
        """The columns that a version reads."""
        if version == "champion":
            return ("common", "champion")
        return ("common", "champion", "candidate") if self.extended else ("common", "candidate")

    def rows(self, rng: np.random.Generator, times: np.ndarray, memory: str = "") -> pa.Table:
        """Labelled rows; with `memory` the two own columns move together over time, as regimes do."""
        count = len(times)
        series = {
            "": lambda: rng.standard_normal(count),
            "ar": lambda: autoregressive(rng, count, 0.9),
            "days": lambda: 0.6 * day_effects(rng, times) + 0.8 * rng.standard_normal(count),
        }[memory]
        common, champion, candidate = rng.standard_normal(count), series(), series()
        logit = self.common * common + self.champion * champion + self.own * candidate
        label = np.where(rng.random(count) < 1 / (1 + np.exp(-logit)), "yes", "no")
        at = np.round(times * 1e6).astype("datetime64[us]")
        return pa.table({"at": at, "common": common, "champion": champion, "candidate": candidate, "label": label})


EQUAL, BETTER_3, BETTER_10 = Pair(), Pair(0.39, extended=True), Pair(0.77, extended=True)
"""A candidate that loses as much, 3 % less and 10 % less; the spread of the difference is 0.31, 0.43 and 0.69 of the
loss."""


def spec_of(features: tuple[str, ...] = ()) -> ModelSpec:
    fields = {"id": "pair", "task": "binary", "data": "history", "target": "label", "time_column": "at"}
    return model_from({**fields, "families": ["linear"], "features": list(features), "folds": 2})


@lru_cache(maxsize=8)
def version_of(pair: Pair, own: str) -> tuple[Path, bytes]:
    """The bundle of a version that reads the common column and `own`, and its reference."""
    spec = spec_of(pair.columns(own))
    rows = pair.rows(np.random.default_rng(1), request_times(_LEARNED, 1_000, -40 * DAY_S))
    prepared = prepare(spec, InMemoryDatasets({spec.data.uri: rows}))  # type: ignore[union-attr]
    data = prepared.problem.data
    fit = family_named("linear").start({}, data, np.arange(len(data)))
    fit.advance(50)
    folder = Path(tempfile.mkdtemp(prefix="optagent-pair-")) / own
    facts = {"model_id": "pair", "task": spec.task, "params": {}, "rounds": 50, "created_at": 0.0}
    save_bundle(folder, fit.model(), "linear", prepared.schema, facts)
    predictor = load_bundle(folder)
    version = "1" if own == "champion" else "2"
    reference = make_reference(prepared.holdout_rows, prepared.holdout_time, predictor, version)
    return folder, encode_reference(reference)


@dataclass
class ReplayedPair:
    """A champion, a candidate, and a history on which the candidate's rollout is replayed day by day.

    `arms` is the seed of the ramp's arms, by default `seed`; labels of rows after `turned_after` are turned round.
    """

    pair: Pair
    seed: int
    rows_a_day: float
    days: int
    memory: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    arms: int | None = None
    turned_after: float = np.inf
    history: History = field(init=False)
    ports: Ports = field(init=False)

    def __post_init__(self) -> None:
        times = request_times(round(self.rows_a_day * (self.days + _KNOWN_DAYS + 4)), self.rows_a_day)
        rows = self.pair.rows(np.random.default_rng(self.seed), times, self.memory)
        labels = rows["label"].to_numpy(zero_copy_only=False)
        turned = np.where(times > self.turned_after, np.where(labels == "yes", "no", "yes"), labels)
        rows = rows.set_column(4, "label", pa.array(turned))
        ask = BacktestAsk((), f"{_DELAY_S / DAY_S:g}d", start=str(np.datetime64(round(3 * DAY_S), "s")))
        self.history = history_of(rows, spec_of(), ask)
        self.clock = ManualClock(self.history.begins)
        self.ports = ports_in_memory(self.history, self.clock, InMemoryTracker())
        for version, own in (("1", "champion"), ("2", "candidate")):
            bundle, reference = version_of(self.pair, own)
            self.ports.registry.register("pair", bundle, {}, {})
            self.ports.require("observations").save_reference("pair", version, reference)
        self.ports.registry.set_alias("pair", CHAMPION, "1")
        self.agent = OptimizationAgent(self.ports, AsyncExitStack(), strict=True)
        arms = self.seed if self.arms is None else self.arms
        self.traffic = ReplayedTraffic(self.history, self.agent, self.ports, _DELAY_S, arms)

    def replay(self) -> tuple[Rollout, float]:
        """The rollout at its end, or at that of the history, and the days that it took."""
        return asyncio.run(self._replay())

    async def _replay(self) -> tuple[Rollout, float]:
        await self.ports.store.save_model(self.history.spec)
        await self.traffic.supervise()
        for _ in range(_KNOWN_DAYS):
            await self._pass_day()
        rollout = await self.agent.start_rollout("pair", "2", policy={**_SUPERIOR, **self.changes})
        while rollout.state.is_active and self.clock.now() < self.history.ends:
            await self._pass_day()
            rollout = await self.agent.latest_rollout("pair")
        assert not self.traffic.errors
        return rollout, (self.clock.now() - rollout.started_at) / DAY_S

    async def _pass_day(self) -> None:
        await self.traffic.answer_until(self.clock.now() + DAY_S)
        self.clock.advance(DAY_S)
        await self.traffic.record_labels()
        await self.traffic.supervise()


def promoted_days(pair: Pair, runs: int, rows_a_day: float, days: int, memory: str = "") -> list[float]:
    """The days of each replayed rollout that promoted its candidate."""
    ends = [ReplayedPair(pair, seed, rows_a_day, days, memory).replay() for seed in range(runs)]
    return [took for rollout, took in ends if rollout.state is RolloutState.PROMOTED]


def decide_directly(replayed: ReplayedPair, rollout: Rollout) -> Rollout:
    """The rollout of the same rules, day by day on the losses of both versions, without anything recorded.

    It has to be one without a ramp, so that both versions' losses of all rows count.
    """
    history, policy = replayed.history, rollout.policy
    champion, candidate = (
        load_bundle(version_of(replayed.pair, own)[0]).probabilities(history.table) for own in ("champion", "candidate")
    )
    direct = begin("direct", "pair", "1", "2", policy, rollout.started_at, "ana")
    now, sound = rollout.started_at, GuardedRequests(np.zeros(0), {})
    while direct.state.is_active and now < history.ends:
        now += DAY_S
        rows = (history.time >= direct.changed_at) & (history.time < now)
        matured = history.time[rows] + policy.label_delay_s <= now
        y = np.where(matured, history.y[rows], np.nan)
        losses = PairedLosses((champion[rows] - y) ** 2, (candidate[rows] - y) ** 2, matured, history.time[rows])
        look = look_at(direct, f"look-{now}", now, losses, sound)
        direct = advance(direct, look, now) if is_look_due(direct, look, now) else direct
    return direct


def agreement(runs: int) -> float:
    """The share of replays that decide as the rules do on the same losses, at the same times."""
    agreed = []
    for number in range(runs):
        replayed = ReplayedPair((EQUAL, BETTER_3, BETTER_10)[number % 3], number, 300, 40, changes={"ramp": []})
        rollout, _ = replayed.replay()
        direct = decide_directly(replayed, rollout)
        agreed.append(states_of(rollout) == states_of(direct))
    return float(np.mean(agreed))


def states_of(rollout: Rollout) -> list[tuple[str, float]]:
    """The states of a rollout, and when each began."""
    return [(str(change.state), change.at) for change in rollout.transitions]


def false_promotions(memory: str, runs: int) -> float:
    return len(promoted_days(EQUAL, runs, 300, 40, memory)) / runs


def promoted_within(pair: Pair, rows_a_day: float, days: float, runs: int) -> float:
    """The share of replays that promote the candidate within so many days, and the four that steps of a day cost."""
    took = promoted_days(pair, runs, rows_a_day, round(3 * days) + 40)
    return sum(each <= days + 4 for each in took) / runs


def _false_case(name: str, stream: str, memory: str, runs: int) -> Case:
    return Case(
        f"replay-false-{name}",
        "replayed rollout",
        stream,
        "promotions of one no better",
        "<= .05",
        runs,
        partial(false_promotions, memory),
        "1.00 (gate)",
    )


def _power_case(name: str, pair: Pair, rows_a_day: float, days: float) -> Case:
    return Case(
        f"replay-power-{name}",
        "replayed rollout",
        f"{rows_a_day:g} a day, labels a day late",
        f"promoted within {days + 4:g} days",
        "",
        40,
        partial(promoted_within, pair, rows_a_day, days),
        "1.00 (day 0)",
    )


CASES = [
    Case(
        "replay-agrees",
        "replayed rollout",
        "three candidates",
        "same states at same times",
        "1",
        30,
        agreement,
        "0 (gate)",
    ),
    _false_case("iid", "independent rows", "", 120),
    _false_case("ar", "AR(.9) by row", "ar", 60),
    _false_case("days", "effects of days", "days", 60),
    _power_case("3%-48", BETTER_3, 48, 62.5),
    _power_case("3%-300", BETTER_3, 300, 14),
    _power_case("10%-48", BETTER_10, 48, 21),
    _power_case("10%-1000", BETTER_10, 1_000, 14),
]
