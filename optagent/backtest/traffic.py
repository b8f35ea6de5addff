"""Replayed traffic: the requests of a history step by step, their late labels, and the supervision of its rollouts."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from optagent.agent import OptimizationAgent
from optagent.arrays import Prediction
from optagent.backtest.gateway import AnsweredRows, ReplayedGateway
from optagent.backtest.history import History, Texts, label_rows, labels_known, prediction_rows
from optagent.domain.gate import Verdict
from optagent.domain.model import CHAMPION
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import RolloutState
from optagent.loop.context import Ports
from optagent.loop.observe.record import checked_predictions
from optagent.loop.train.load import load_version
from optagent.ports import RecordKind
from optagent.serving.mixture_record import SaidRecord, said_columns
from optagent.training.encoding import Schema
from optagent.training.predictor import Predictor

PERSON = "replay"
"""The author of what is left to a person."""


class ReplayedTraffic:
    """The rows of one history on their way through an agent: the version that answered each, and the labels so far.

    The product's own supervisor advances rollouts, once a step. Where a candidate waits in shadow for a person, the
    person promotes it as soon as shadow has proved it.
    """

    def __init__(self, history: History, agent: OptimizationAgent, ports: Ports, delay_s: float, seed: int) -> None:
        self.errors: list[str] = []
        self._history = history
        self._agent = agent
        self._ports = ports
        self._delay_s = delay_s
        self._gateway = ReplayedGateway(history, self._load, seed)
        self._answers: list[AnsweredRows] = []
        self._row = self._labelled_to = history.learned
        self._unscored = history.first - history.learned  # rows whose labels were unknown at the beginning

    @property
    def prediction(self) -> Prediction:
        """The predictions for the rows from the beginning of the simulation on."""
        return np.concatenate([rows.prediction for rows in self._answers])[self._unscored :]

    @property
    def versions(self) -> Texts:
        """The version that answered each row from the beginning of the simulation on."""
        return np.concatenate([rows.version for rows in self._answers])[self._unscored :]

    @property
    def champion_schema(self) -> Schema:
        """The schema of the champion."""
        return self._gateway.schema(self._ports.registry.version(self._history.spec.model_id, CHAMPION).version)

    async def answer_until(self, until: float, record: bool = True) -> None:
        """Answers the rows before `until` (POSIX seconds) by the routing table, and records what a gateway records."""
        end = int(np.searchsorted(self._history.time, until, side="left"))
        if end <= self._row:
            return
        model_id = self._history.spec.model_id
        table = await self._ports.require("routes").active_table(model_id)
        rows = self._gateway.answer(table, self._row, end)
        self._row = end
        self._answers.append(rows)
        if record:
            predictions = prediction_rows(self._history, rows.start, rows.prediction, rows.version, rows.arm)
            if rows.said is None:
                await self._agent.record_predictions(model_id, predictions)
            else:
                self._record_mixed(predictions, rows.said)
        if record and rows.evidence is not None:
            self._ports.require("observations").record(model_id, RecordKind.EVIDENCE, rows.evidence)

    def _record_mixed(self, predictions: pa.Table, said: SaidRecord) -> None:
        """Records the answers of a mixture as a gateway does, which nobody may who records rows by the agent."""
        spec = self._history.spec
        rows = _add_columns(checked_predictions(predictions, spec, self._ports.clock.now()), said_columns([said]))
        self._ports.require("observations").record(spec.model_id, RecordKind.PREDICTIONS, rows)

    async def record_labels(self) -> None:
        """Records the labels that have come by now."""
        known = labels_known(self._history, self._labelled_to, self._ports.clock.now(), self._delay_s)
        labelled_to = min(self._row, known)
        if labelled_to > self._labelled_to:
            rows = label_rows(self._history, self._labelled_to, labelled_to, self._delay_s)
            if rows.num_rows:
                await self._agent.record_labels(self._history.spec.model_id, rows)
            self._labelled_to = labelled_to

    async def supervise(self) -> None:
        """A pass of the supervisor, and the promotion of what waits for a person."""
        model_id = self._history.spec.model_id
        supervised = await self._agent.supervise_once()
        self.errors += supervised.errors.values()
        for rollout in await self._ports.store.rollouts(model_id, 1):
            if _waits_for_person(rollout):
                await self._agent.promote_rollout(model_id, PERSON, "shadow proved it")

    def _load(self, version: str) -> Predictor:
        registry = self._ports.registry
        return load_version(registry.version(self._history.spec.model_id, version), registry)


def _add_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """The table with further columns."""
    return pa.table({**{name: table[name] for name in table.column_names}, **columns})


def _waits_for_person(rollout: Rollout) -> bool:
    is_proved = bool(rollout.looks) and rollout.looks[-1].verdict is Verdict.PASS
    return rollout.state is RolloutState.SHADOW and rollout.policy.hold and is_proved
