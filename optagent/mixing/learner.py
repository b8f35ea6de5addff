"""Mixture learner: weights over mixers and slots that follow the labels, row by row, whatever the rows are.

The layers are (1) mixers, which weigh the slots' log-odds, log-probabilities or values with a bias, by online gradient
at four rates; (2) Bayes mixtures with a fixed share over the mixers, each slot alone and the plain mean of the slots
(Herbster and Warmuth 1998); (3) a Bayes mixture over the share rates. As the losses are exp-concave and the share rate
0 is among them, with labels at once the whole is never more than `bound` nats behind any member in total, for ever and
on any sequence (Cesa-Bianchi and Lugosi 2006, chapters 3 and 9). Members and layers are judged by what they said when
they were asked: with late labels, what they would say now knows the labels of neighbours.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optagent.arrays import Mask, Vector
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.mixing.forms import Array, Form, form_of
from optagent.mixing.scorer import impute_missing

SHARES = (0.0, 0.001, 0.01)
"""The part of the weight that each Bayes mixture spreads evenly again after a row."""

MOST_OUTPUTS = 20
_RULES = 1
_TINY = 1e-300


@dataclass(frozen=True, slots=True, eq=False)
class LearnedRows:
    """Answered rows with their outcomes, in the order in which they are learned.

    `said` is (rows, members + layers, outputs) as `MixtureAnswer.said`, by `slots`; `scores` (rows, outputs) are the
    bounded answers, `y` (rows,) class indexes or values.
    """

    slots: tuple[str, ...]
    said: Array
    scores: Array
    y: Vector


class MixtureLearner:
    """The state of a mixture. The same rows in the same order give the same state, bit for bit, in any batches."""

    def __init__(self, task: Task, slots: Sequence[str], outputs: int = 1, low: float = 0.0, high: float = 1.0) -> None:
        if task is Task.REGRESSION and not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InvalidRequest(f"a mixture of a regression needs finite bounds with low below high: {low}, {high}")
        if outputs > MOST_OUTPUTS:
            raise InvalidRequest(f"a mixture answers for at most {MOST_OUTPUTS} classes, got {outputs}")
        self.task, self.slots, self.outputs, self.low, self.high = task, tuple(slots), outputs, low, high
        self.form: Form = form_of(task, outputs, low, high)
        rates, count = len(self.form.rates), len(self.slots)
        biases = outputs if task is Task.MULTICLASS else 1
        self.mixers = np.hstack([np.full((rates, count), 1.0 / count), np.zeros((rates, biases))])
        self.layers = np.full((len(SHARES), rates + count + 1), 1.0 / (rates + count + 1))
        self.top = np.full(len(SHARES), 1.0 / len(SHARES))
        self.bound = math.log(len(SHARES)) + math.log(rates + count + 1)
        self.rows = 0
        self.loss = 0.0
        self.slot_rows = np.zeros(count)
        self.slot_loss = np.zeros(count)
        self.regret = np.zeros(count)

    def learn(self, rows: LearnedRows) -> None:
        """Learns from rows in order. A slot that said nothing about a row keeps its weight by it.

        Raises InvalidData for rows of another shape, or outcomes that are no class or number of the model.
        """
        self._check_rows(rows)
        if not len(rows.y):
            return
        said, present = self._said_by_own_slots(rows)
        mixers = len(self.form.rates)
        members, layers = said[:, : -len(SHARES)], said[:, -len(SHARES) :]
        slots = impute_missing(members[:, mixers:-1])
        member_likelihood = self.form.likelihood(
            np.concatenate([members[:, :mixers], slots, members[:, -1:]], 1), rows.y
        )
        layer_likelihood = self.form.likelihood(layers, rows.y)
        self._count_losses(member_likelihood[:, mixers:-1], present, rows)
        absent = np.concatenate(
            [np.zeros((len(rows.y), mixers), bool), ~present, np.zeros((len(rows.y), 1), bool)], axis=1
        )
        sleeping = absent if absent.any() else None
        self._step(member_likelihood, layer_likelihood, sleeping, slots, rows.y)

    def _step(self, members: Array, layers: Array, sleeping: Mask | None, slots: Array, y: Vector) -> None:
        """The updates row by row; numbers of all rates, members and shares are updated at once."""
        step, mixers, weights, top = self.form.stepper(slots, y), self.mixers, self.layers, self.top
        shares = np.array(SHARES)[:, None]
        keep, spread = 1.0 - shares, shares / weights.shape[1]
        for row in range(len(y)):
            step(row, mixers)
            likelihood = members[row]
            if sleeping is not None and sleeping[row].any():
                awake = ~sleeping[row]
                mass = weights[:, awake]
                likelihood = np.where(awake, likelihood, ((mass @ likelihood[awake]) / mass.sum(axis=1))[:, None])
            weights *= likelihood
            weights *= keep / np.add.reduce(weights, 1, keepdims=True)
            weights += spread
            top *= layers[row]
            top /= np.add.reduce(top)
            if top.min() < _TINY:
                np.maximum(top, _TINY, out=top)

    def _count_losses(self, likelihood: Array, present: Mask, rows: LearnedRows) -> None:
        """Adds losses and regrets, so that sums do not depend on batches."""
        own = -np.log(self.form.likelihood(rows.scores[:, None], rows.y)[:, 0])
        slots = np.where(present, -np.log(likelihood), 0.0)
        regrets = np.where(present, own[:, None] - slots, 0.0)
        self.loss = float(_add_in_order(np.array([self.loss]), own[:, None])[0])
        self.slot_loss = _add_in_order(self.slot_loss, slots)
        self.regret = _add_in_order(self.regret, regrets)
        self.slot_rows += present.sum(axis=0)
        self.rows += len(rows.y)

    def _said_by_own_slots(self, rows: LearnedRows) -> tuple[Array, Mask]:
        """The rows' scores by the slots of this learner, and which of them answered (rows, slots)."""
        mixers, said = len(self.form.rates), rows.said
        if rows.slots != self.slots:
            places = [rows.slots.index(name) if name in rows.slots else -1 for name in self.slots]
            slots = np.stack(
                [said[:, mixers + at] if at >= 0 else np.full((len(said), self.outputs), np.nan) for at in places],
                axis=1,
            )
            said = np.concatenate([said[:, :mixers], slots, said[:, mixers + len(rows.slots) :]], axis=1)
        present: Mask = np.asarray(np.isfinite(said[:, mixers : mixers + len(self.slots)]).all(axis=2))
        if not np.all(present.sum(axis=1)):
            raise InvalidData("a row that no slot of the mixture has answered cannot be learned from")
        return said, present

    def _check_rows(self, rows: LearnedRows) -> None:
        shape = (len(rows.y), len(self.form.rates) + len(rows.slots) + 1 + len(SHARES), self.outputs)
        if rows.said.shape != shape or rows.scores.shape != (shape[0], self.outputs):
            raise InvalidData(f"rows of a mixture need scores of shape {shape}, got {rows.said.shape}")
        valid = np.isfinite(rows.y)
        if self.task.classifies:
            valid &= np.isin(rows.y, np.arange(max(2, self.outputs)))
        if not valid.all():
            raise InvalidData(f"outcome {rows.y[~valid][0]} is none of this {self.task} model")

    def add_slot(self, name: str) -> None:
        """Lets a slot join: it starts with the weight of one member among all, and mixers begin without it."""
        if name in self.slots:
            raise InvalidRequest(f"slot {name!r} is in the mixture already")
        at, rates = len(self.slots), len(self.form.rates)
        members = self.layers.shape[1] + 1
        self.mixers = np.insert(self.mixers, at, 0.0, axis=1)
        self.layers = np.insert(self.layers * ((members - 1) / members), rates + at, 1.0 / members, axis=1)
        self.bound += math.log(members / (members - 1))
        self.slots = (*self.slots, name)
        self.slot_rows, self.slot_loss, self.regret = (
            np.append(values, 0.0) for values in (self.slot_rows, self.slot_loss, self.regret)
        )

    def remove_slot(self, name: str) -> None:
        """Lets a slot retire; its weights go to the other members in proportion."""
        if name not in self.slots or len(self.slots) == 1:
            raise InvalidRequest(f"slot {name!r} cannot retire from {list(self.slots)}")
        at, rates = self.slots.index(name), len(self.form.rates)
        self.mixers = np.delete(self.mixers, at, axis=1)
        layers = np.delete(self.layers, rates + at, axis=1)
        self.layers = layers / layers.sum(axis=1, keepdims=True)
        self.slots = tuple(other for other in self.slots if other != name)
        self.slot_rows, self.slot_loss, self.regret = (
            np.delete(values, at) for values in (self.slot_rows, self.slot_loss, self.regret)
        )

    @property
    def slot_weights(self) -> Vector:
        """(slots,): the part of the answer that is due to each slot, in all: alone, in the mean and by the mixers."""
        rates, count = len(self.form.rates), len(self.slots)
        members: Vector = self.top @ self.layers
        by_slot = np.abs(self.mixers[:, :count])
        by_slot /= np.maximum(by_slot.sum(axis=1, keepdims=True), _TINY)
        return members[rates : rates + count] + members[-1] / count + members[:rates] @ by_slot

    def weights(self, versions: Sequence[str], guard: float = 0.0) -> MixtureWeights:
        """The weights as they travel in a routing table, with a version for each slot and the champion's guard."""
        return MixtureWeights(
            self.task,
            self.slots,
            tuple(versions),
            tuple(map(tuple, self.mixers.tolist())),
            tuple(map(tuple, self.layers.tolist())),
            tuple(self.top.tolist()),
            self.outputs,
            self.low,
            self.high,
            guard,
            state_digest(self.to_plain()),
            self.rows,
        )

    def to_plain(self) -> dict[str, Any]:
        """The state as data that JSON gives back exactly."""
        return {
            "rules": _RULES,
            "task": str(self.task),
            "slots": list(self.slots),
            "outputs": self.outputs,
            "low": self.low,
            "high": self.high,
            "mixers": self.mixers.tolist(),
            "layers": self.layers.tolist(),
            "top": self.top.tolist(),
            "bound": self.bound,
            "rows": self.rows,
            "loss": self.loss,
            "slot_rows": self.slot_rows.tolist(),
            "slot_loss": self.slot_loss.tolist(),
            "regret": self.regret.tolist(),
        }

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> "MixtureLearner":
        """The learner of a state; InvalidRequest for a state of other rules."""
        if state.get("rules") != _RULES:
            raise InvalidRequest(f"the mixture's state is of rules {state.get('rules')!r}, this program has {_RULES}")
        learner = cls(Task(state["task"]), state["slots"], state["outputs"], state["low"], state["high"])
        for name in ("mixers", "layers", "top", "slot_rows", "slot_loss", "regret"):
            setattr(learner, name, np.array(state[name], dtype=np.float64))
        learner.bound, learner.rows, learner.loss = state["bound"], state["rows"], state["loss"]
        return learner


def form_of_state(state: Mapping[str, Any]) -> Form:
    """The form of the model whose learner has this state, which the rows that it learns never change."""
    return form_of(Task(state["task"]), state["outputs"], state["low"], state["high"])


def _add_in_order(total: Vector, values: Array) -> Vector:
    """The total with values (rows, columns) added one row after the other."""
    sums: Vector = np.cumsum(np.vstack([total, values]), axis=0)[-1]
    return sums


def state_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 of a learner's state: equal for equal numbers, bit for bit."""
    return hashlib.sha256(json.dumps(state, sort_keys=True, allow_nan=False).encode()).hexdigest()
