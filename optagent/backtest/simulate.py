"""Simulation of one policy on a model's history, by the very loop that runs live, on a manual clock.

Everything is in memory, nothing is sent and nothing outside is changed. A candidate that passed its gates goes through
shadow, ramp and baking as live, on the rows and labels that come. The simulation differs from the live loop in four
points. Latency, failed requests and the sandbox are not judged, since they depend on the machine that serves. What the
action shadow leaves to a person, a person promotes as soon as shadow has proved it. Searches are random ones in one
thread. A policy that uses only the calendar and the count of labels is not monitored.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.agent import OptimizationAgent
from optagent.arrays import Prediction
from optagent.backtest.compare import period_of, score_or_none
from optagent.backtest.history import History, business_of, history_of
from optagent.backtest.ports_in_memory import ports_in_memory
from optagent.backtest.rollout_outcome import after_rollout, reason_without_rollout
from optagent.backtest.trading import trading_of
from optagent.backtest.traffic import PERSON, ReplayedTraffic
from optagent.domain.backtest import BacktestAsk, Contender
from optagent.domain.duration import seconds
from optagent.domain.model import CHALLENGER, CHAMPION, ModelSpec
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.optimization import SUCCESS
from optagent.domain.policy import Action, RetrainingPolicy, Trigger
from optagent.domain.policy_run import Period, PolicyRun, ReplayedRun, count_runs
from optagent.domain.process import Process
from optagent.errors import InvalidData, OptAgentError
from optagent.loop.observe.labelled_rows import store_labelled_rows
from optagent.training.metrics import metric_named

_NO_DELAY = "1s"
_UNJUDGED_GATES: Mapping[str, Any] = {"max_latency_ms": 1e9, "enable_security_scan": False}
_FIRST_GATES: Mapping[str, Any] = {**_UNJUDGED_GATES, "beats_champion": False, "min_validation_samples": 1}


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPolicy:
    """A policy's run, and its predictions for the rows from the beginning of the simulation on."""

    run: PolicyRun
    prediction: Prediction


def simulate(spec: ModelSpec, table: pa.Table, policy: Contender, ask: BacktestAsk) -> SimulatedPolicy:
    """The run of a policy on a history: the same for the same arguments, except for `compute_s`.

    At each step of the ask the champion predicts the step's rows, labels come after the delay of the ask, the monitor
    runs, and so does whatever the policy calls for. Nothing is known before its time. Raises InvalidRequest and
    InvalidData; an optimization that fails is part of the run.
    """
    ask = replace(ask, label_delay=_NO_DELAY) if policy.oracle else ask
    with _quiet_logs():
        return asyncio.run(_Simulation(history_of(table, spec, ask), policy, ask).run())


class _Simulation:
    """One policy on one history."""

    def __init__(self, history: History, contender: Contender, ask: BacktestAsk) -> None:
        self._history, self._contender, self._ask = history, contender, ask
        self._policy = None if contender.policy is None else _for_simulation(contender.policy, ask)
        self._spec = replace(history.spec, policy=self._policy)
        self._monitoring = history.spec.monitoring or Monitoring()
        self._metric = metric_named(history.spec.metric, history.spec.task)
        self._clock = ManualClock(history.begins)
        self._tracker = InMemoryTracker()
        self._ports = ports_in_memory(history, self._clock, self._tracker)
        self._agent = OptimizationAgent(self._ports, AsyncExitStack(), strict=True)
        self._traffic = ReplayedTraffic(history, self._agent, self._ports, ask.delay_s, ask.seed)
        self._runs: list[tuple[ReplayedRun, str | None]] = []  # with the id of the rollout
        self._stored_to = float(history.time[history.learned - 1])

    async def run(self) -> SimulatedPolicy:
        history, ask = self._history, self._ask
        await self._ports.store.save_model(self._spec)
        reference = await self._first_version()
        await self._traffic.supervise()
        while (now := self._clock.now()) < history.ends:
            await self._traffic.answer_until(now + ask.step_s, self._is_watched)
            self._clock.advance(ask.step_s)
            if self._is_watched:
                await self._run_step()
        runs = [await self._with_rollout(run, rollout_id) for run, rollout_id in self._runs]
        return SimulatedPolicy(self._policy_run(runs, reference), self._traffic.prediction)

    @property
    def _is_watched(self) -> bool:
        """False for doing nothing, which needs no records."""
        return self._policy is not None

    async def _first_version(self) -> float:
        """Trains the first champion and returns its score on its holdout."""
        kind = "retrain" if self._ask.trials is None else "tune"
        outcome = await self._agent.optimize_model(
            self._spec.model_id, kind, trials=self._ask.trials, gates=_FIRST_GATES, seed=self._ask.seed
        )
        if outcome.status != SUCCESS or outcome.new_metrics is None or self._metric.name not in outcome.new_metrics:
            known_rows = f"{self._history.learned:,} rows with labels are known when the replay begins"
            raise InvalidData(f"no first version: {outcome.error_message or outcome.status}; {known_rows}")
        return float(outcome.new_metrics[self._metric.name])

    async def _run_step(self) -> None:
        """Records the labels that have come, looks at the rollout, monitors, and runs what the policy calls for."""
        await self._traffic.record_labels()
        await self._traffic.supervise()
        if needs_monitor(self._policy):
            await self._agent.watch_once(self._spec.model_id)
        if self._policy is not None and Trigger.NEW_LABELS in self._policy.triggers:
            self._store_labelled_rows()
        processes = await self._agent.trigger_once()
        for process in processes:
            self._store_labelled_rows()
            self._runs.append(await self._run_process(process))
        if processes and self._policy is not None and self._policy.is_mixed:
            await self._traffic.supervise()  # live, new models of slots answer within a minute

    def _store_labelled_rows(self) -> None:
        """Stores training rows of the labels that have come since the last call."""
        now, observations = self._clock.now(), self._ports.require("observations")
        if now - self._ask.delay_s > self._stored_to:
            observations.drain(self._spec.model_id)
            window = Window(self._stored_to, now)
            store_labelled_rows(observations, self._spec, self._traffic.champion_schema, window)
            self._stored_to = now - self._ask.delay_s

    async def _run_process(self, process: Process) -> tuple[ReplayedRun, str | None]:
        """The run of a queued process, with the simulation's seed, and the id of the rollout that it started."""
        command = {**process.command, "seed": self._ask.seed}
        await self._ports.store.save_process(replace(process, command=command))
        started, trials_before = time.process_time(), self._trial_count()
        try:
            await self._agent.run_queued(process.process_id)
            result: Mapping[str, Any] = (await self._ports.store.process(process.process_id)).result or {}
        except OptAgentError as error:
            result = {"status": "failed", "error_message": str(error)}
        if self._contender.ungated and result.get("version") is not None:
            await self._promote_at_once(result)
        run = ReplayedRun(
            at=self._clock.now(),
            trigger=str(command["trigger"]),
            reason=str(command["reason"]),
            status=str(result.get("status")),
            verdict=result.get("verdict"),
            version=result.get("version"),
            promoted=self._contender.ungated and result.get("version") is not None,
            window=result.get("window"),
            trials=self._trial_count() - trials_before,
            compute_s=time.process_time() - started,
            said=result.get("error_message") or reason_without_rollout(result),
            slots=result.get("slots") or {},
        )
        return run, result.get("rollout_id")

    async def _promote_at_once(self, result: Mapping[str, Any]) -> None:
        """Makes a new version champion, whatever its gates said: by hand, where it has a rollout."""
        model_id = self._spec.model_id
        if result.get("rollout_id") is None:
            version = CHALLENGER if result["status"] == SUCCESS else str(result["version"])
            version = self._ports.registry.version(model_id, version).version
            self._ports.registry.set_alias(model_id, CHAMPION, version)
            await self._traffic.supervise()
            return
        for why in ("ungated", "ungated, without baking"):
            await self._agent.promote_rollout(model_id, PERSON, why)

    async def _with_rollout(self, run: ReplayedRun, rollout_id: str | None) -> ReplayedRun:
        """The run with what became of its rollout."""
        if rollout_id is None:
            return replace(run, promoted_at=run.at) if run.promoted else run
        return after_rollout(run, await self._ports.store.rollout(rollout_id))

    def _trial_count(self) -> int:
        return sum(len(study.trials) for study in self._tracker.studies.values())

    def _policy_run(self, runs: Sequence[ReplayedRun], reference: float) -> PolicyRun:
        history, metric, prediction = self._history, self._metric, self._traffic.prediction
        labelled = history.labelled[history.first :]
        periods = self._periods(prediction)
        threshold = self._monitoring.accuracy_drop_threshold * (1.0 if metric.bounded else abs(reference))
        cooldown = 0.0 if self._policy is None else seconds(self._policy.cooldown)
        errors = [f"{self._contender.name}: a look at a rollout failed: {error}" for error in self._traffic.errors]
        return PolicyRun(
            self._contender.name,
            self._contender.policy,
            self._contender.ungated,
            score_or_none(metric, history.y[history.first :][labelled], prediction[labelled]),
            reference,
            tuple(periods),
            tuple(runs),
            count_runs(runs, periods, reference, metric.maximize, threshold, cooldown),
            (*_notes_on(self._contender), *dict.fromkeys(errors)),
            business_of(history, prediction, self._monitoring.business),
            self._contender.oracle,
            trading=trading_of(history, prediction, self._monitoring.trading),
        )

    def _periods(self, prediction: Prediction) -> list[Period]:
        """The periods, each with its score and the version that answered its last row."""
        history = self._history
        labelled, versions = history.labelled[history.first :], self._traffic.versions
        length = period_length(history.spec, self._ask)
        numbers = period_of(history.time[history.first :], history.begins, length)
        periods = []
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == number)
            labelled_rows = rows[labelled[rows]]
            score = score_or_none(self._metric, history.y[history.first + labelled_rows], prediction[labelled_rows])
            start = history.begins + number * length
            periods.append(Period(start, start + length, len(labelled_rows), str(versions[rows[-1]]), score))
        return periods


def period_length(spec: ModelSpec, ask: BacktestAsk) -> float:
    """Seconds of a period: the window by which the model is monitored, in whole steps."""
    window = (spec.monitoring or Monitoring()).window_s
    return max(1, round(window / ask.step_s)) * ask.step_s


def _notes_on(contender: Contender) -> Iterator[str]:
    if contender.policy is None:
        return
    if contender.oracle:
        yield f"{contender.name} is told each label at once, which nobody can be: it is no policy to take"
    if not contender.promotes:
        yield f"the action {contender.policy.action} leaves it to a person to promote: nothing was promoted"
    elif not contender.ungated:
        yield "rollouts: a replay sends no requests, so that limits of latency and errors count as kept"
        if contender.policy.action is Action.SHADOW:
            yield f"{contender.name}: what shadow proved was promoted at once, as by a person who follows it"
    if {"max_latency_ms", "enable_security_scan"} & set(contender.policy.gates):
        yield "latency and the sandbox were not judged: they are of the machine that serves"


def needs_monitor(policy: RetrainingPolicy | None) -> bool:
    """True for a policy with triggers beyond the calendar and the count of rows."""
    return policy is not None and bool(set(policy.triggers) - {Trigger.SCHEDULE, Trigger.NEW_LABELS, Trigger.GROWTH})


def _for_simulation(policy: RetrainingPolicy, ask: BacktestAsk) -> RetrainingPolicy:
    return replace(
        policy,
        trials=policy.trials or ask.trials,
        timeout_s=None,
        gates={**policy.gates, **_UNJUDGED_GATES},
        rollout={**policy.rollout, "guardrails": {}},
    )


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silences the logs of the many stages of a simulation."""
    logger = logging.getLogger("optagent")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
