"""Mixture: the weights by which several versions answer together, and the record of what they were learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from optagent.domain.model import Task
from optagent.errors import InvalidRequest

MIXTURE = "mixture"
"""The version that answers and records name where a mixture answered."""


BEGAN, JOINED, RETIRED, FORGOT = "began", "joined", "retired", "forgot"
"""Kinds of events that change what a mixture has learned, beside its rows."""


_FRESH = 2 / 3
_LIGHT = 0.05


class MixtureMode(StrEnum):
    """The state that people or a fault put a mixture in.

    While `LEARNING`, weights follow the labels; while `FROZEN`, they stay as they are; at `CHAMPION_ONLY` the champion
    answers alone.
    """

    LEARNING = "learning"
    FROZEN = "frozen"
    CHAMPION_ONLY = "champion_only"


@dataclass(frozen=True, slots=True)
class MixtureWeights:
    """The numbers by which a gateway makes one answer of those of all slots.

    `versions` are those of the `slots`, in the same order; `outputs` is the number of scores of a row, `low` and `high`
    bound the values of a regression. `mixers` are (rates, slots + outputs or 1), weights of the slots and then biases;
    `layers` are (shares, members) and `top` is (shares,), as `optagent.mixing` has them. The champion gets at least the
    share `guard` of the answer. `digest` is that of the learner's state, which had learned from `learned` rows.
    """

    task: Task
    slots: tuple[str, ...]
    versions: tuple[str, ...]
    mixers: tuple[tuple[float, ...], ...]
    layers: tuple[tuple[float, ...], ...]
    top: tuple[float, ...]
    outputs: int = 1
    low: float = 0.0
    high: float = 1.0
    guard: float = 0.0
    digest: str = ""
    learned: int = 0

    def __post_init__(self) -> None:
        if len(self.slots) != len(self.versions) or not self.slots:
            raise InvalidRequest(f"a mixture needs a version for each slot: {self.slots} and {self.versions}")
        if not 0 <= self.guard <= 1:
            raise InvalidRequest(f"guard must be from 0 to 1, got {self.guard}")


@dataclass(frozen=True, slots=True)
class MixtureEvent:
    """A change of a mixture beside its learning: who did it, when (POSIX seconds), and after how many passes."""

    at: float
    by: str
    kind: str
    passes: int
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MixturePoint:
    """A point of a mixture's history after a pass: rows so far, nats of the answers and of each slot, and weights."""

    at: float
    rows: int
    loss: float
    slots: tuple[str, ...]
    slot_losses: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SlotTraining:
    """The training of a slot's model: the rows that it learned, and the rows that the mixture had learned by then."""

    rows: int
    learned: int


@dataclass(frozen=True, slots=True)
class MixtureRecord:
    """The journal of a model's mixture: what it has learned, and what answers.

    `state` is the learner's after so many `passes`, and `versions` are the newest models of the slots by name.
    `pending` are rows that the state has learned and the archive may not have yet (Arrow IPC as base64 text). The
    gateways use the `published` weights from `published_at` on, and `is_settled` says that archive and audit log have
    followed. `looked_at` is the time of the last pass and `began_at` that of the first, `open_since` the time of the
    oldest row that waits for its label, and `most_open` the most rows that ever waited. `trained` are the trainings of
    the slots' models by name. `forgotten` are time ranges whose rows are left out for good. Labels have not been
    learned since `held_since`, 0 where they are: the mixture is frozen, or `waits_for` a fault to end, in words. The
    last pass has `given_up` so many rows, since too many newer ones wait for their labels. `harm` sums the user's own
    metrics of the answers less those of the champion, by metric and day since 1970, with the number of rows. Times are
    POSIX seconds.
    """

    model_id: str
    began_at: float
    state: Mapping[str, Any]
    mode: MixtureMode = MixtureMode.LEARNING
    reason: str = ""
    passes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    pending: str = ""
    published: MixtureWeights | None = None
    published_at: float = 0.0
    is_settled: bool = True
    looked_at: float = 0.0
    open_since: float = 0.0
    most_open: int = 0
    trained: Mapping[str, SlotTraining] = field(default_factory=dict)
    held_since: float = 0.0
    waits_for: str = ""
    given_up: int = 0
    harm: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    forgotten: tuple[tuple[float, float], ...] = ()
    events: tuple[MixtureEvent, ...] = ()
    history: tuple[MixturePoint, ...] = ()

    def due_slots(self, slots: Sequence[str], growth: float) -> tuple[str, ...]:
        """Those of the trained slots whose models are to be trained again.

        A slot is due once the rows that have come since are the share `growth` of all rows, or two thirds of those that
        its model learned. One that has less than a twentieth of the answers waits for twice as many.
        """
        return tuple(slot for slot in slots if self._is_due(slot, growth))

    def _is_due(self, slot: str, growth: float) -> bool:
        training = self.trained.get(slot)
        if training is None:
            return True
        learned = int(self.state["rows"])
        whole = max(each.rows + learned - each.learned for each in self.trained.values())
        patience = 2 if self._weight_of(slot) < _LIGHT else 1
        return learned - training.learned >= patience * min(growth * whole, _FRESH * training.rows)

    def _weight_of(self, slot: str) -> float:
        """The slot's newest part of the answers; 1 before the first pass."""
        newest = self.history[-1] if self.history else None
        return 1.0 if newest is None or slot not in newest.slots else newest.weights[newest.slots.index(slot)]
