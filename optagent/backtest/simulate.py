"""Simulation of one policy on a model's history, by the very loop that runs live, on a manual clock.

Everything is in memory, nothing is sent and nothing outside is changed. The simulation differs from the live loop in
four points. A candidate that passed its gates under the action shadow or full becomes champion at once, since there are
no requests to compete for. Latency and the sandbox are not judged, since they depend on the machine that serves.
Searches are random ones in one thread. A policy that uses only the calendar and the count of labels is not monitored.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.observations_in_order import ObservationsInOrder
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.agent import OptimizationAgent
from optagent.arrays import Prediction
from optagent.backtest.compare import period_of, score_or_none
from optagent.backtest.history import History, business_of, history_of, label_rows, labels_known, prediction_rows
from optagent.domain.backtest import BacktestAsk, Contender, Period, PolicyRun, ReplayedRun, count_runs
from optagent.domain.duration import seconds
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.optimization import SUCCESS
from optagent.domain.policy import RetrainingPolicy, Trigger
from optagent.domain.process import Process
from optagent.errors import InvalidData, OptAgentError
from optagent.loop.context import Ports
from optagent.loop.observe.labelled_rows import store_labelled_rows
from optagent.loop.train.load import load_version
from optagent.loop.train.study import SearchLimits
from optagent.training.metrics import metric_named
from optagent.training.predictor import Predictor

_SEARCH_TIMEOUT_S = 86_400.0  # a search cut short by wall-clock time would not be reproducible
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
        self._store = InMemoryStore(self._clock)
        self._registry = InMemoryRegistry(self._clock)
        self._observations = ObservationsInOrder(max_backlog=2**62)
        self._tracker = InMemoryTracker()
        ports = Ports(
            store=self._store,
            datasets=InMemoryDatasets({history.spec.data.uri: history.base}),  # type: ignore[union-attr]
            tuner=SequentialTuner(),
            registry=self._registry,
            tracker=self._tracker,
            clock=self._clock,
            limits=SearchLimits(timeout_s=_SEARCH_TIMEOUT_S),
            threads=1,
            observations=self._observations,
            workers=SequentialWorkers(),
            monitoring=self._monitoring,
        )
        self._agent = OptimizationAgent(ports, AsyncExitStack(), strict=True)
        self._versions: list[str] = []  # of each row from the first on
        self._runs: list[ReplayedRun] = []
        self._champion: tuple[str, Predictor] | None = None
        self._labelled_to = self._predicted_to = history.learned
        self._stored_to = float(history.time[history.learned - 1])

    async def run(self) -> SimulatedPolicy:
        history, ask = self._history, self._ask
        await self._store.save_model(self._spec)
        reference = await self._first_version()
        predictions = []
        if self._policy is not None and history.learned < history.first:
            await self._answer_rows(history.learned, history.first)  # their labels were unknown at the beginning
            self._versions.clear()
        row, now = history.first, history.begins
        while now < history.ends:
            end = int(np.searchsorted(history.time, now + ask.step_s, side="left"))
            if end > row:
                predictions.append(await self._answer_rows(row, end))
            row, now = end, now + ask.step_s
            self._clock.advance(now - self._clock.now())
            if self._policy is not None:
                await self._run_step(now)
        prediction = np.concatenate(predictions)
        return SimulatedPolicy(self._policy_run(prediction, reference), prediction)

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

    async def _answer_rows(self, start: int, end: int) -> Prediction:
        """The champion's predictions for rows, recorded where the policy may need them."""
        champion = self._registry.version(self._spec.model_id, CHAMPION)
        if self._champion is None or self._champion[0] != champion.version:
            self._champion = (champion.version, load_version(champion, self._registry))
        prediction = self._history.answers(self._champion[1], start, end)
        self._versions += [champion.version] * (end - start)
        self._predicted_to = end
        if self._policy is not None:
            rows = prediction_rows(self._history, start, end, prediction, champion.version)
            await self._agent.record_predictions(self._spec.model_id, rows)
        return prediction

    async def _run_step(self, now: float) -> None:
        """Records the labels that have come, runs the monitor, and runs what the policy calls for."""
        delay, model_id = self._ask.delay_s, self._spec.model_id
        labelled_to = min(self._predicted_to, labels_known(self._history, self._labelled_to, now, delay))
        if labelled_to > self._labelled_to:
            rows = label_rows(self._history, self._labelled_to, labelled_to, delay)
            if rows.num_rows:
                await self._agent.record_labels(model_id, rows)
            self._labelled_to = labelled_to
        if needs_monitor(self._policy):
            await self._agent.watch_once(model_id)
        if self._policy is not None and Trigger.NEW_LABELS in self._policy.triggers:
            self._store_labelled_rows(now)
        for process in await self._agent.trigger_once():
            self._store_labelled_rows(now)
            self._runs.append(await self._run_process(process))

    def _store_labelled_rows(self, now: float) -> None:
        """Stores training rows of the labels that have come since the last call."""
        if self._champion is not None and now - self._ask.delay_s > self._stored_to:
            self._observations.drain(self._spec.model_id)
            window = Window(self._stored_to, now)
            store_labelled_rows(self._observations, self._spec, self._champion[1].schema, window)
            self._stored_to = now - self._ask.delay_s

    async def _run_process(self, process: Process) -> ReplayedRun:
        command, started, trials_before = process.command, time.process_time(), self._trial_count()
        try:
            await self._agent.run_queued(process.process_id)
            result: Mapping[str, Any] = (await self._store.process(process.process_id)).result or {}
        except OptAgentError as error:
            result = {"status": "failed", "error_message": str(error)}
        version = result.get("version")
        promoted = version is not None and (
            self._contender.ungated or (self._contender.promotes and result["status"] == SUCCESS)
        )
        if promoted:
            self._registry.set_alias(self._spec.model_id, CHAMPION, str(version))
        return ReplayedRun(
            at=self._clock.now(),
            trigger=str(command["trigger"]),
            reason=str(command["reason"]),
            status=str(result.get("status")),
            verdict=result.get("verdict"),
            version=version,
            promoted=promoted,
            window=result.get("window"),
            trials=self._trial_count() - trials_before,
            compute_s=time.process_time() - started,
            said=None if promoted else result.get("error_message"),
        )

    def _trial_count(self) -> int:
        return sum(len(study.trials) for study in self._tracker.studies.values())

    def _policy_run(self, prediction: Prediction, reference: float) -> PolicyRun:
        history, metric = self._history, self._metric
        labelled = history.labelled[history.first :]
        y, labelled_prediction = history.y[history.first :][labelled], prediction[labelled]
        length = period_length(history.spec, self._ask)
        numbers = period_of(history.time[history.first :], history.begins, length)
        versions = np.array(self._versions)
        periods = []
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == number)
            labelled_rows = rows[labelled[rows]]
            score = score_or_none(metric, history.y[history.first + labelled_rows], prediction[labelled_rows])
            start = history.begins + number * length
            periods.append(Period(start, start + length, len(labelled_rows), str(versions[rows[-1]]), score))
        threshold = self._monitoring.accuracy_drop_threshold * (1.0 if metric.bounded else abs(reference))
        cooldown = 0.0 if self._policy is None else seconds(self._policy.cooldown)
        counts = count_runs(self._runs, periods, reference, metric.maximize, threshold, cooldown)
        score_overall = score_or_none(metric, y, labelled_prediction)
        return PolicyRun(
            self._contender.name,
            self._contender.policy,
            self._contender.ungated,
            score_overall,
            reference,
            tuple(periods),
            tuple(self._runs),
            counts,
            tuple(_notes_on(self._contender)),
            business_of(history, prediction, self._monitoring.business),
            self._contender.oracle,
        )


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
        yield "what passed its gates was champion at once: a replay has no requests to compete for"
    if {"max_latency_ms", "enable_security_scan"} & set(contender.policy.gates):
        yield "latency and the sandbox were not judged: they are of the machine that serves"


def needs_monitor(policy: RetrainingPolicy | None) -> bool:
    """True for a policy with triggers beyond the calendar and the count of labels."""
    return policy is not None and bool(set(policy.triggers) - {Trigger.SCHEDULE, Trigger.NEW_LABELS})


def _for_simulation(policy: RetrainingPolicy, ask: BacktestAsk) -> RetrainingPolicy:
    return replace(
        policy,
        trials=policy.trials or ask.trials,
        timeout_s=None,
        gates={**policy.gates, **_UNJUDGED_GATES},
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
