"""Block baseline: mean and spread of blocks of losses while nothing has changed, and what bets on a rise pay then."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student

from optagent.arrays import Matrix64, Vector
from optagent.errors import InvalidData
from optagent.sequential.batch_means import settled_block
from optagent.sequential.blocks import block_means, neighbour_correlation
from optagent.sequential.loss_cycles import (
    PARTS_OF_CYCLE,
    covered_s,
    cycles_of,
    knows_weeks,
    whole_cycles,
    without_cycles,
)

MIN_REFERENCE_ROWS = 200
_BETS = (0.15, 0.3, 0.6, 1.2)  # per standard deviation of block means: the best bet on a rise is about its size
_FLOOR = 0.2  # a bet keeps at least this share, so one good block never wipes the evidence out
_DOUBT = 0.3  # the risk that a bet pays more than allowed for; measured: alarms at .5 to .9 of the rate asked for
_UNSETTLED_TIMES = 4  # as long


@dataclass(frozen=True, slots=True)
class BlockBaseline:
    """The expectation for blocks of `block` rows: `mean` and `spread` of their means, `correlation` of neighbours.

    `norms` are upper bounds of what each bet pays on average, by the reference, and `fair` what it pays there, at least
    1. The losses follow a cycle of `cycle_s` seconds, none where 0; a block is then at least one turn of it, at the
    rate of the reference. `doubt` says in words what the reference is too short to tell, empty where nothing is: a
    week (`knows_weeks` is then False), or how far its memory reaches (`settled`).
    """

    rows: int
    block: int
    mean: float
    spread: float
    correlation: float
    norms: tuple[float, ...]
    fair: tuple[float, ...] = ()
    cycle_s: float = 0.0
    knows_weeks: bool = True
    settled: bool = True
    doubt: str = ""

    def log_increments(self, means: Vector) -> Matrix64:
        """(blocks, bets) logarithms of e for block means."""
        return np.log(_pay((means - self.mean) / self.spread)) - np.log(self.norms)

    def resize(self, block: int) -> "BlockBaseline":
        """The baseline of longer or shorter blocks, for rows whose memory is shorter than either."""
        root = math.sqrt(block / self.block)
        norms = tuple(fair + (norm - fair) * root for fair, norm in zip(self.fair, self.norms, strict=True))
        return replace(self, block=block, spread=self.spread / root, norms=norms)

    def thin(self, every: float) -> "BlockBaseline":
        """The baseline for all rows, where that of the reference is of one row in `every`.

        The mean of so many neighbours varies no more than that of the rows that were kept of them.
        """
        return replace(self, block=max(self.block, round(self.block * every)))


def baseline_of(reference: Vector, time: Vector | None = None) -> BlockBaseline:
    """The baseline by reference losses between 0 and 1, in the order of time; InvalidData for too few.

    A bet pays w = 1 + size * deviation, never less than a floor. Divided by an upper bound of its mean on the
    reference, it expects at most 1 whatever the distribution of blocks is, and however few rows the mean is from. With
    `time`, POSIX seconds of all the rows, a cycle of days or weeks is not taken for chance.
    """
    losses = check_losses(reference)
    if len(losses) < MIN_REFERENCE_ROWS:
        raise InvalidData(f"a baseline needs at least {MIN_REFERENCE_ROWS} losses, got {len(losses)}")
    cycles = () if time is None else cycles_of(losses, time)
    if time is None or not cycles:
        return _with_doubts(_baseline(losses, losses, 0), time)
    cycle_s = max(cycles)
    newest = whole_cycles(time, cycle_s)
    losses, time = losses[newest], time[newest]
    rest = without_cycles(losses, time, cycles)
    baseline = _with_doubts(_baseline(losses, rest, PARTS_OF_CYCLE * len(cycles)), time)
    turn = max(1, round(len(losses) / covered_s(time) * cycle_s))
    return replace(baseline.resize(math.ceil(baseline.block / turn) * turn), cycle_s=cycle_s)


def check_losses(losses: Vector) -> Vector:
    """The losses, if all are between 0 and 1; InvalidData names the first that is not."""
    wrong = np.flatnonzero(~((losses >= 0) & (losses <= 1)))
    if len(wrong):
        raise InvalidData(f"a loss must be between 0 and 1, row {wrong[0]} has {losses[wrong[0]]}")
    return np.asarray(losses, dtype=np.float64)


def _baseline(losses: Vector, rest: Vector, fitted: int) -> BlockBaseline:
    """The baseline by what is left of the losses without their cycles, of which so many means were fitted."""
    block = settled_block(rest)
    kept_share = max(0.5, 1 - fitted * block.rows / len(losses))  # of the variance of blocks
    means = block_means(rest, block.rows)
    neighbours = max(0.0, neighbour_correlation(means))
    means = np.append(means, rest.mean() + 1 / block.rows)  # a model that never erred so far may err once
    spread, count = float(means.std(ddof=1)) / math.sqrt(kept_share), len(means)
    paid = _pay((means - rest.mean()) / spread)
    error = paid.std(axis=0, ddof=1) * math.sqrt((1 + neighbours) / (1 - neighbours) / count)
    fair = np.maximum(1.0, paid.mean(axis=0))
    norms = fair + student.ppf(1 - _DOUBT, count - 1) * error
    return BlockBaseline(
        rows=len(losses),
        block=block.rows,
        mean=float(losses.mean()),
        spread=spread,
        correlation=neighbours,
        norms=tuple(norms.tolist()),
        fair=tuple(fair.tolist()),
        settled=block.settled,
    )


def _with_doubts(baseline: BlockBaseline, time: Vector | None) -> BlockBaseline:
    """The baseline with its doubts in words. Blocks of a memory of unknown reach are longer, and vary no less."""
    doubts = []
    if not baseline.settled:
        baseline = replace(baseline, block=_UNSETTLED_TIMES * baseline.block)
        doubts.append("the loss wanders for longer than the rows last")
    if time is not None and not knows_weeks(time):
        baseline = replace(baseline, knows_weeks=False)
        doubts.append(f"{covered_s(time) / 86_400:.1f} days do not tell what a week looks like")
    return replace(baseline, doubt=", and ".join(doubts))


def _pay(deviations: Vector) -> Matrix64:
    return np.maximum(1 + deviations[:, None] * np.array(_BETS), _FLOOR)
