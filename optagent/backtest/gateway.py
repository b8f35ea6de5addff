"""Replayed gateway: a history's rows are answered by a routing table, a step at a time, as a live gateway would."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from optagent.arrays import Mask, Prediction
from optagent.backtest.history import History, Texts
from optagent.domain.mixture import MixtureWeights
from optagent.domain.rollout_look import RolloutState
from optagent.domain.routing import Arm, RoutingTable
from optagent.mixing.scorer import MixtureScorer
from optagent.serving.evidence_record import CANDIDATE, CHAMPION, count_outputs, evidence_schema
from optagent.serving.mixture_record import SEPARATOR, SaidRecord
from optagent.training.encoding import Schema
from optagent.training.predictor import Predictor


@dataclass(frozen=True, slots=True, eq=False)
class AnsweredRows:
    """Rows of a history from `start` on with their predictions, in the order of the history's classes.

    `version` and `arm` (rows,) tell who answered each row. `evidence` has the rows of a rollout, None without one, and
    `said` what the slots of a mixture said, None where one version answered.
    """

    start: int
    prediction: Prediction
    version: Texts
    arm: Texts
    evidence: pa.Table | None = None
    said: SaidRecord | None = None


class ReplayedGateway:
    """Answers rows by the versions of a table; each row is a request of its own, and its number is the sticky key.

    Arms are drawn by the hash of the product, from `seed` and the rollout's versions: a rollout's own id is another one
    in each replay.
    """

    def __init__(self, history: History, load: Callable[[str], Predictor], seed: int) -> None:
        self._history = history
        self._load = load
        self._seed = seed
        self._predictors: dict[str, Predictor] = {}

    def schema(self, version: str) -> Schema:
        """The schema of a version."""
        return self._predictor(version).schema

    def answer(self, table: RoutingTable, start: int, end: int) -> AnsweredRows:
        """The answers to rows by `table`, whose versions score all of them at once."""
        history = self._history
        self._predictors = {version: self._predictor(version) for version in table.versions}
        if table.mixture is not None:
            return self._mix(table, table.mixture, start, end)
        arm = self._draw_arms(table, start, end)
        asked = dict.fromkeys(name for name in (table.champion, table.candidate, table.shadow) if name is not None)
        scores = {version: history.scores(self._predictor(version), start, end) for version in asked}
        answers = {version: history.in_order(scores[version], self.schema(version).classes) for version in asked}
        prediction, version = answers[table.champion], np.full(end - start, table.champion, dtype=np.object_)
        if table.candidate is not None:
            drawn = arm == Arm.CANDIDATE
            version[drawn] = table.candidate
            prediction = np.where(_as_column(drawn, prediction), answers[table.candidate], prediction)
        evidence = self._evidence(table, start, end, arm, scores) if table.rollout_id else None
        return AnsweredRows(start, prediction, version, arm, evidence)

    def _mix(self, table: RoutingTable, weights: MixtureWeights, start: int, end: int) -> AnsweredRows:
        """The answers of a mixture, each of whose versions is asked once."""
        history, scores = self._history, {}
        for name in dict.fromkeys(weights.versions):
            scores[name] = history.scores(self._predictor(name), start, end).reshape(end - start, 1, -1)
        slots = np.concatenate([scores[name] for name in weights.versions], axis=1)
        answer = MixtureScorer(weights).mix(slots)
        prediction = history.in_order(answer.scores, self.schema(table.champion).classes)
        version = np.full(end - start, table.champion, dtype=np.object_)
        arm = np.full(end - start, Arm.CHAMPION, dtype=np.object_)
        said = SaidRecord(SEPARATOR.join(weights.slots), weights.digest, answer.said)
        return AnsweredRows(start, prediction, version, arm, said=said)

    def _predictor(self, version: str) -> Predictor:
        if version not in self._predictors:
            self._predictors[version] = self._load(version)
        return self._predictors[version]

    def _draw_arms(self, table: RoutingTable, start: int, end: int) -> Texts:
        arms = np.full(end - start, Arm.CHAMPION, dtype=np.object_)
        if table.candidate is not None:
            repeatable = replace(table, rollout_id=f"{self._seed}:{'>'.join(table.warm)}")
            arms[:] = [repeatable.arm(str(row)) for row in range(start, end)]
        return arms

    def _evidence(
        self, table: RoutingTable, start: int, end: int, arm: Texts, scores: dict[str, Prediction]
    ) -> pa.Table:
        """The rows as a live gateway records them, but for the times that versions took."""
        champion, candidate = table.warm
        takes_champions_place = table.champion == candidate
        drawn = (arm == Arm.CANDIDATE) != takes_champions_place
        split = table.state == RolloutState.RAMP
        ids = pa.array([str(row) for row in range(start, end)], pa.large_string())
        outputs = count_outputs(self._history.spec.task, self.schema(champion).classes)
        asked = {CHAMPION: (champion, ~drawn | (not split)), CANDIDATE: (candidate, drawn | (not split))}
        columns = {
            "id": ids,
            "time": self._history.timestamps(start, end),
            "rollout": [table.rollout_id] * (end - start),
            "state": [table.state] * (end - start),
            "step": [table.step] * (end - start),
            "arm": np.where(drawn, CANDIDATE, CHAMPION).tolist(),
            "share": np.full(end - start, 1 - table.share if takes_champions_place else table.share),
            "unit": ids,
            "version": [table.candidate if one == Arm.CANDIDATE else table.champion for one in arm],
            "failed": [False] * (end - start),
            "latency_ms": [None] * (end - start),
            "champion_ms": [None] * (end - start),
        }
        for role, (version, mask) in asked.items():
            columns |= _score_columns(role, scores[version], mask, outputs)
        return pa.table(columns, schema=evidence_schema(outputs))


def _as_column(mask: Mask, prediction: Prediction) -> Mask:
    """The mask of rows in as many dimensions as the prediction."""
    return mask if prediction.ndim == 1 else mask[:, None]


def _score_columns(role: str, scores: Prediction, asked: Mask, outputs: int) -> dict[str, pa.Array]:
    columns = scores.reshape(len(scores), outputs)
    return {f"{role}_{at}": pa.array(columns[:, at], pa.float64(), mask=~asked) for at in range(outputs)}
