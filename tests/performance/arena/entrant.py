"""Prequential replay of an entrant: each block is answered before its labels come, and learned from when they have."""

import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Vector
from optagent.domain.policy_run import PolicyRun
from tests.performance.arena.stream import Stream


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Everything that is known before a block: rows whose labels have come, and the entrant's own answers to them.

    `number` are the numbers of the rows' blocks, `answers` are NaN for rows that nobody asked for; `newest` is the
    place of the newest known block, and `looks` counts the blocks that were answered before.
    """

    x: Matrix
    y: Vector
    number: npt.NDArray[np.int64]
    answers: Vector
    newest: slice
    looks: int
    columns: tuple[str, ...]
    categorical: tuple[int, ...]

    def back(self, blocks: int) -> int:
        """The first row of the newest so many blocks."""
        return int(np.searchsorted(self.number, self.number[-1] - blocks, side="right"))


class Entrant(Protocol):
    """A way to answer a stream. Before each block it is told what is known, then it is asked."""

    trainings: int

    def learn(self, known: Known) -> None: ...

    def answer(self, x: Matrix) -> Vector: ...


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """An entrant's answers, (rows,) probabilities of 1 from the stream's start on, and what they cost.

    `run` is that of a policy that was replayed.
    """

    name: str
    answers: Vector
    trainings: int
    core_s: float
    run: PolicyRun | None = field(default=None)


def replay(name: str, entrant: Entrant, stream: Stream) -> Outcome:
    """The entrant's outcome. It is given the known rows alone, so that no later label is within its reach."""
    began, answers = time.process_time(), np.full(len(stream.y), np.nan)
    for looks, block in enumerate(stream.blocks()):
        end = block.known
        entrant.learn(
            Known(
                stream.x[:end],
                stream.y[:end],
                stream.number[:end],
                answers[:end],
                block.newest,
                looks,
                stream.columns,
                stream.categorical,
            )
        )
        answers[block.rows] = entrant.answer(stream.x[block.rows])
    return Outcome(name, answers[stream.start :], entrant.trainings, time.process_time() - began)
