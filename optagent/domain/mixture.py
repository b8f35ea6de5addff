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
    """The numbers by which a gateway makes one answer of those of all slots."""

    task: Task
    """The task of the model."""
    slots: tuple[str, ...]
    """The names of the slots."""
    versions: tuple[str, ...]
    """The versions of the slots, in the same order."""
    mixers: tuple[tuple[float, ...], ...]
    """For each learning rate the weights of the slots, and then a bias for each output: (rates, slots + outputs
    or 1), as `optagent.mixing` has them."""
    layers: tuple[tuple[float, ...], ...]
    """For each share rate the weights of the members: (shares, members)."""
    top: tuple[float, ...]
    """The weights of the share rates: (shares,)."""
    outputs: int = 1
    """The number of scores of a row."""
    low: float = 0.0
    """The least value of a regression's answer."""
    high: float = 1.0
    """The largest value of a regression's answer."""
    guard: float = 0.0
    """The least share of the answer that the champion has."""
    digest: str = ""
    """The digest of the learner's state."""
    learned: int = 0
    """The number of rows that this state had learned from."""

    def __post_init__(self) -> None:
        if len(self.slots) != len(self.versions) or not self.slots:
            raise InvalidRequest(f"a mixture needs a version for each slot: {self.slots} and {self.versions}")
        if not 0 <= self.guard <= 1:
            raise InvalidRequest(f"guard must be from 0 to 1, got {self.guard}")


@dataclass(frozen=True, slots=True)
class MixtureEvent:
    """A change of a mixture beside its learning."""

    at: float
    """The time of the change."""
    by: str
    """The text of the actor who changed it."""
    kind: str
    """The kind of change, such as `joined` or `frozen`."""
    passes: int
    """The number of passes before it."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """The values of the change, such as slots and versions."""


@dataclass(frozen=True, slots=True)
class MixturePoint:
    """A point of a mixture's history, after a pass."""

    at: float
    """The time of the pass."""
    rows: int
    """The number of rows that were learned so far."""
    loss: float
    """The loss of the answers so far, in nats."""
    slots: tuple[str, ...]
    """The names of the slots."""
    slot_losses: tuple[float, ...]
    """The loss of each slot alone so far, in nats."""
    weights: tuple[float, ...]
    """The part of the answers that each slot has."""


@dataclass(frozen=True, slots=True)
class SlotTraining:
    """The training of a slot's model."""

    rows: int
    """The number of rows that the model learned."""
    learned: int
    """The number of rows that the mixture had learned by then."""


@dataclass(frozen=True, slots=True)
class MixtureRecord:
    """The journal of a model's mixture: what it has learned, and what answers."""

    model_id: str
    """The model whose mixture it is."""
    began_at: float
    """The time of the first pass."""
    state: Mapping[str, Any]
    """The learner's state after so many `passes`."""
    mode: MixtureMode = MixtureMode.LEARNING
    """The state that people or a fault put it in."""
    reason: str = ""
    """The reason for that mode, in words."""
    passes: int = 0
    """The number of passes over new labels."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The newest models of the slots, by slot."""
    pending: str = ""
    """Rows that the state has learned and the archive may not have yet: Arrow IPC as base64 text."""
    published: MixtureWeights | None = None
    """The weights that the gateways use."""
    published_at: float = 0.0
    """The time from which they use them."""
    is_settled: bool = True
    """True once the archive and the audit log have followed."""
    looked_at: float = 0.0
    """The time of the last pass."""
    open_since: float = 0.0
    """The time of the oldest row that waits for its label."""
    most_open: int = 0
    """The most rows that ever waited at a time."""
    trained: Mapping[str, SlotTraining] = field(default_factory=dict)
    """The trainings of the slots' models, by slot."""
    held_since: float = 0.0
    """The time since which labels are not learned; 0 where they are."""
    waits_for: str = ""
    """The fault whose end the mixture waits for, in words."""
    given_up: int = 0
    """The rows that the last pass gave up, since too many newer ones wait for their labels."""
    harm: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    """The user's own metrics of the answers less those of the champion: by metric and day since 1970 their sum, and
    the number of rows."""
    forgotten: tuple[tuple[float, float], ...] = ()
    """Time ranges whose rows are left out for good."""
    events: tuple[MixtureEvent, ...] = ()
    """The changes beside its learning, the oldest first."""
    history: tuple[MixturePoint, ...] = ()
    """The points after passes, the oldest first."""

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
