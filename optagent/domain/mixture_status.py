"""Mixture status: the standing of a mixture as people read it, with the certificate that bounds its loss."""

from collections.abc import Sequence
from dataclasses import dataclass

from optagent.domain.answer import Answer
from optagent.domain.mixture import MixtureEvent, MixtureMode, MixturePoint

MODE_WORDS = {
    MixtureMode.LEARNING: "its weights follow the labels",
    MixtureMode.FROZEN: "its weights stay as they are",
    MixtureMode.CHAMPION_ONLY: "the champion answers alone",
}
"""The meaning of each mode of a mixture, as the end of a sentence about it."""


@dataclass(frozen=True)
class SlotStanding(Answer):
    """A slot: the version that stands in it, its part of the answers, and its loss on the rows that it answered.

    `loss` is in nats a row, None before the first label. `ahead` are the nats by which the answers were better than the
    slot alone on its rows, in total; they are negative where the slot would have been better.
    """

    name: str
    version: str
    weight: float
    rows: int
    loss: float | None
    ahead: float


@dataclass(frozen=True)
class MixtureCertificate(Answer):
    """The bound of a mixture's loss, in nats, and how near to it the answers came.

    `bound` holds against every slot with labels at once. `bound_with_delay` is (D + 1) times as much, with the most
    rows D that ever waited for their labels, `most_waiting`. `behind` is the most that the answers are behind any slot,
    and `behind_champion` behind the champion, each negative where they are ahead. `holds` is False where they are
    further behind than the bound with the delay.
    """

    bound: float
    most_waiting: int
    bound_with_delay: float
    behind: float
    behind_champion: float
    holds: bool
    words: str


@dataclass(frozen=True)
class MixtureStatus(Answer):
    """The mixture of a model: who answers with what part, what it has learned, and how its loss compares.

    `mode` is learning, frozen or champion_only, and `reason` says why it is not learning; in the mode learning, it
    names a fault for whose end learning waits. `rows` are those that it has
    learned, and `loss` their nats a row, None before the first. `digest` is that of the weights that answer since
    `published_at` (POSIX seconds), in which the champion has at least the share `guard`.
    """

    model_id: str
    mode: str
    reason: str
    began_at: float
    rows: int
    loss: float | None
    slots: tuple[SlotStanding, ...]
    certificate: MixtureCertificate
    passes: int
    published_at: float
    digest: str
    guard: float
    history: tuple[MixturePoint, ...] = ()
    events: tuple[MixtureEvent, ...] = ()
    forgotten: tuple[tuple[float, float], ...] = ()


def spread_points(history: Sequence[MixturePoint], most: int) -> tuple[MixturePoint, ...]:
    """At most so many points of a history, evenly spread, the newest among them and, for two or more, the oldest."""
    if len(history) <= most:
        return tuple(history)
    if most < 2:
        return tuple(history[-1:]) if most else ()
    last = len(history) - 1
    return tuple(history[round(place * last / (most - 1))] for place in range(most))


@dataclass(frozen=True, slots=True)
class MixtureReplay:
    """The number of passes and rows that were learned again, the digests of the audit log that came out the same, and
    the first difference as text, "" for none.

    `gone` are the learned rows that have left the archive. Without them the weights cannot be made again, and no digest
    is compared.
    """

    model_id: str
    passes: int
    rows: int
    digests: int
    difference: str = ""
    gone: int = 0

    @property
    def is_same(self) -> bool:
        return not self.difference
