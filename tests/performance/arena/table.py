"""Tables of the arena in Markdown: what each entrant's answers came to on a stream, and what they cost."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.backtest.compare import score_or_none
from optagent.training.metrics import METRICS
from tests.performance.arena.entrant import Outcome

LEAST = 0.005
"""Probabilities are at least so far from 0 and 1 before log loss judges them."""
_HEAD = "| entrant | AUC | log loss | trainings | core-seconds | worst block against never |\n|---|---|---|---|---|---|"


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """The labels (rows,) of the rows that were answered, and the number of the block of each."""

    y: Vector
    number: npt.NDArray[np.int64]

    def losses(self, outcome: Outcome) -> Vector:
        """(rows,) log losses in nats."""
        probability = np.clip(outcome.answers, LEAST, 1 - LEAST)
        losses: Vector = -np.log(np.where(self.y == 1, probability, 1 - probability))
        return losses

    def block_means(self, values: Vector) -> Vector:
        """(blocks,) the mean of (rows,) values in each block."""
        starts = np.flatnonzero(np.diff(self.number, prepend=self.number[0] - 1))
        means: Vector = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
        return means


@dataclass(frozen=True, slots=True)
class Score:
    """A row of the table; of several seeds the means, the least and most trainings, and the worst block of all.

    `worst` is the most by which a block's mean log loss was above that of `never`.
    """

    name: str
    auc: float
    log_loss: float
    trainings: tuple[int, int]
    core_s: float
    worst: float


def score_of(outcomes: Sequence[Outcome], never: Outcome, answered: Answered) -> Score:
    """The row of an entrant, of which each seed has an outcome."""
    losses = [answered.losses(each) for each in outcomes]
    areas = [score_or_none(METRICS["auc"], answered.y, each.answers) for each in outcomes]
    trainings = [each.trainings for each in outcomes]
    base = answered.losses(never)
    return Score(
        outcomes[0].name,
        float(np.mean([np.nan if area is None else area for area in areas])),
        float(np.mean(losses)),
        (min(trainings), max(trainings)),
        float(np.mean([each.core_s for each in outcomes])),
        max(float(answered.block_means(loss - base).max()) for loss in losses),
    )


def best_in_hindsight(scores: Sequence[Score], calendars: Collection[str]) -> str | None:
    """The calendar with the lowest log loss, the cheapest of equal ones; None where no calendar took part."""
    rows = [score for score in scores if score.name in calendars]
    best = min(rows, key=lambda score: (score.log_loss, score.trainings), default=None)
    return None if best is None else best.name


def table_of(scores: Sequence[Score], calendars: Collection[str], failures: Mapping[str, str]) -> str:
    """The rows in their order, with the best calendar in bold; entrants that failed say why below."""
    best = best_in_hindsight(scores, calendars)
    rows = [_row_of(score, score.name == best) for score in scores]
    notes = [f"\n{name} failed: {reason}" for name, reason in failures.items()]
    return "\n".join([_HEAD, *rows, *notes])


def _row_of(score: Score, is_best: bool) -> str:
    name = f"**{score.name}** (the best calendar in hindsight)" if is_best else score.name
    low, high = score.trainings
    trainings = f"{low}" if low == high else f"{low}-{high}"
    numbers = f"{score.auc:.4f} | {score.log_loss:.4f} | {trainings} | {score.core_s:.1f} | {score.worst:+.3f}"
    return f"| {name} | {numbers} |"
