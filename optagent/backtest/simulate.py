"""Replay: one policy on a model's history, by the very loop that runs live, on a clock that is told the time.

Everything is in memory, nothing is sent and nothing outside is changed. What differs from the live loop: a candidate
that passed its gates under the action shadow or full is champion at once, since there are no requests to compete for;
latency and the sandbox are not judged, since they are of the machine that serves; searches are random ones in one
thread; and a policy that looks at nothing but the calendar is not watched.
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
from optagent.domain.backtest import BacktestAsk, Contender, Period, PolicyRun, ReplayedRun, counted_of
from optagent.domain.duration import seconds
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.optimization import SUCCESS
from optagent.domain.policy import RetrainingPolicy, Trigger
from optagent.domain.process import Process
from optagent.errors import InvalidData, OptAgentError
from optagent.loop.context import Ports
from optagent.loop.observe.labelled_rows import mature
from optagent.loop.train.load import load_version
from optagent.loop.train.study import SearchLimits
from optagent.training.metrics import metric_named
from optagent.training.predictor import Predictor

__all__ = ["SimulatedPolicy", "looks", "period_length", "replay"]

_PATIENT_S = 86_400.0  # a search that is cut short by the clock of the wall is not the same twice
_AT_ONCE = "1s"
_ASIDE: Mapping[str, Any] = {"max_latency_ms": 1e9, "enable_security_scan": False}
_FIRST: Mapping[str, Any] = {**_ASIDE, "beats_champion": False, "min_validation_samples": 1}


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPolicy:
    """A policy's run, and what was answered to the rows from the replay's beginning on."""

    run: PolicyRun
    prediction: Prediction


def replay(spec: ModelSpec, table: pa.Table, policy: Contender, ask: BacktestAsk) -> SimulatedPolicy:
    """What a policy would have done with a history: the same for the same arguments, but for `compute_s`.

    At each step of the ask the champion answers the step's rows, labels come as long after them as the ask says, the
    monitor looks, and what the policy calls for is run. Nothing that comes later than a moment is known then. Raises
    InvalidRequest and InvalidData; an optimization that fails is in the run.
    """
    ask = replace(ask, label_delay=_AT_ONCE) if policy.oracle else ask
    with _quiet():
        return asyncio.run(_Replay(history_of(table, spec, ask), policy, ask).played())


class _Replay:
    """One policy on one history."""

    def __init__(self, history: History, contender: Contender, ask: BacktestAsk) -> None:
        self._history, self._contender, self._ask = history, contender, ask
        self._policy = None if contender.policy is None else _in_replay(contender.policy, ask)
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
            limits=SearchLimits(timeout_s=_PATIENT_S),
            threads=1,
            observations=self._observations,
            workers=SequentialWorkers(),
            monitoring=self._monitoring,
        )
        self._agent = OptimizationAgent(ports, AsyncExitStack(), strict=True)
        self._versions: list[str] = []  # by row from the first on
        self._runs: list[ReplayedRun] = []
        self._champion: tuple[str, Predictor] | None = None
        self._labelled_to = self._answered_to = history.learned
        self._matured_to = float(history.time[history.learned - 1])

    async def played(self) -> SimulatedPolicy:
        history, ask = self._history, self._ask
        await self._store.save_model(self._spec)
        reference = await self._first_version()
        answers = []
        if self._policy is not None and history.learned < history.first:
            await self._answered(history.learned, history.first)  # not known then, and recorded since
            self._versions.clear()
        place, now = history.first, history.begins
        while now < history.ends:
            end = int(np.searchsorted(history.time, now + ask.step_s, side="left"))
            if end > place:
                answers.append(await self._answered(place, end))
            place, now = end, now + ask.step_s
            self._clock.advance(now - self._clock.now())
            if self._policy is not None:
                await self._look(now)
        prediction = np.concatenate(answers)
        return SimulatedPolicy(self._judged(prediction, reference), prediction)

    async def _first_version(self) -> float:
        """The version that answers first, and its score on its holdout."""
        kind = "retrain" if self._ask.trials is None else "tune"
        made = await self._agent.optimize_model(
            self._spec.model_id, kind, trials=self._ask.trials, gates=_FIRST, seed=self._ask.seed
        )
        if made.status != SUCCESS or made.new_metrics is None or self._metric.name not in made.new_metrics:
            known = f"{self._history.learned:,} rows with labels are known when the replay begins"
            raise InvalidData(f"no first version: {made.error_message or made.status}; {known}")
        return float(made.new_metrics[self._metric.name])

    async def _answered(self, start: int, end: int) -> Prediction:
        """What the champion says of rows, recorded where a policy may look at it."""
        champion = self._registry.version(self._spec.model_id, CHAMPION)
        if self._champion is None or self._champion[0] != champion.version:
            self._champion = (champion.version, load_version(champion, self._registry))
        found = self._history.answers(self._champion[1], start, end)
        self._versions += [champion.version] * (end - start)
        self._answered_to = end
        if self._policy is not None:
            rows = prediction_rows(self._history, start, end, found, champion.version)
            await self._agent.record_predictions(self._spec.model_id, rows)
        return found

    async def _look(self, now: float) -> None:
        """Labels that have come, the monitor, and what the policy calls for."""
        delay, model_id = self._ask.delay_s, self._spec.model_id
        known = min(self._answered_to, labels_known(self._history, self._labelled_to, now, delay))
        if known > self._labelled_to:
            rows = label_rows(self._history, self._labelled_to, known, delay)
            if rows.num_rows:
                await self._agent.record_labels(model_id, rows)
            self._labelled_to = known
        if looks(self._policy):
            await self._agent.watch_once(model_id)
        if self._policy is not None and Trigger.NEW_LABELS in self._policy.triggers:
            self._mature(now)
        for process in await self._agent.trigger_once():
            self._mature(now)
            self._runs.append(await self._ran(process))

    def _mature(self, now: float) -> None:
        """Makes rows to learn from of those whose labels have come since this was done last."""
        if self._champion is not None and now - self._ask.delay_s > self._matured_to:
            self._observations.drain(self._spec.model_id)
            stretch = Window(self._matured_to, now)
            mature(self._observations, self._spec, self._champion[1].schema, stretch)
            self._matured_to = now - self._ask.delay_s

    async def _ran(self, process: Process) -> ReplayedRun:
        command, started, trials = process.command, time.process_time(), self._trials()
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
            trials=self._trials() - trials,
            compute_s=time.process_time() - started,
            said=None if promoted else result.get("error_message"),
        )

    def _trials(self) -> int:
        return sum(len(study.trials) for study in self._tracker.studies.values())

    def _judged(self, prediction: Prediction, reference: float) -> PolicyRun:
        history, metric = self._history, self._metric
        known = history.labelled[history.first :]
        y, answered = history.y[history.first :][known], prediction[known]
        length = period_length(history.spec, self._ask)
        numbers = period_of(history.time[history.first :], history.begins, length)
        versions = np.array(self._versions)
        periods = []
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == number)
            mine = rows[known[rows]]
            score = score_or_none(metric, history.y[history.first + mine], prediction[mine])
            start = history.begins + number * length
            periods.append(Period(start, start + length, len(mine), str(versions[rows[-1]]), score))
        threshold = self._monitoring.accuracy_drop_threshold * (1.0 if metric.bounded else abs(reference))
        cooldown = 0.0 if self._policy is None else seconds(self._policy.cooldown)
        counted = counted_of(self._runs, periods, reference, metric.maximize, threshold, cooldown)
        whole = score_or_none(metric, y, answered)
        return PolicyRun(
            self._contender.name,
            self._contender.policy,
            self._contender.ungated,
            whole,
            reference,
            tuple(periods),
            tuple(self._runs),
            counted,
            tuple(_notes(self._contender)),
            business_of(history, prediction, self._monitoring.business),
            self._contender.oracle,
        )


def period_length(spec: ModelSpec, ask: BacktestAsk) -> float:
    """Seconds: the window by which the model is watched, in whole steps."""
    window = (spec.monitoring or Monitoring()).window_s
    return max(1, round(window / ask.step_s)) * ask.step_s


def _notes(contender: Contender) -> Iterator[str]:
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


def looks(policy: RetrainingPolicy | None) -> bool:
    """Whether it watches more than the calendar and the count of labels."""
    return policy is not None and bool(set(policy.triggers) - {Trigger.SCHEDULE, Trigger.NEW_LABELS})


def _in_replay(policy: RetrainingPolicy, ask: BacktestAsk) -> RetrainingPolicy:
    return replace(
        policy,
        trials=policy.trials or ask.trials,
        timeout_s=None,
        gates={**policy.gates, **_ASIDE},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """A year of stages is nothing that a log should tell."""
    logger = logging.getLogger("optagent")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
