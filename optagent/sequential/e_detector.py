"""E-detector: an alarm for a mean that has risen, with a mean time between false alarms for any distribution.

The Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo (2024, E-detectors: a nonparametric framework for sequential
change detection): M = (M + 1) * e, where no e expects more than 1 while nothing changes, and an alarm where M reaches
the average run length. M less the steps taken is then a supermartingale, so false alarms are at least that rare.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import t as student

from optagent.arrays import Matrix64, Vector
from optagent.errors import InvalidData, InvalidRequest
from optagent.sequential.blocks import block_length, block_means, neighbour_correlation

MIN_REFERENCE_ROWS = 200
_BETS = (0.15, 0.3, 0.6, 1.2)  # per standard deviation of block means: the best bet on a rise is about its size
_FLOOR = 0.2  # a bet keeps at least this share, so one good block never wipes the evidence out
_DOUBT = 0.2  # the risk that a bet pays more than allowed for; measured: alarms at .2 to .5 of the rate asked for
_LEAST_THRESHOLD = 20.0
_NOTHING = -1000.0  # the logarithm of no evidence at all: finite, so that JSON can hold it


@dataclass(frozen=True, slots=True)
class BlockBaseline:
    """The expectation for blocks of `block` rows: `mean` and `spread` of their means, `correlation` of neighbours.

    `norms` are upper bounds of what each bet pays on average, by the reference.
    """

    rows: int
    block: int
    mean: float
    spread: float
    correlation: float
    norms: tuple[float, ...]

    def log_increments(self, means: Vector) -> Matrix64:
        """(blocks, bets) logarithms of e for block means."""
        return np.log(_pay((means - self.mean) / self.spread)) - np.log(self.norms)


@dataclass(frozen=True, slots=True)
class Alarm:
    """`row` is the last row that was needed, `start` the row where the change most likely was."""

    row: int
    start: int


@dataclass(frozen=True, slots=True)
class EDetector:
    """The evidence for a rise after `rows` rows. It holds plain values only, so it can be stored and go on from there.

    `log_m` is a value a bet, `log_peaks` the evidence since the likeliest start of that bet, `starts` that row.
    The rows of an unfinished block wait in `waiting`.
    """

    baseline: BlockBaseline
    threshold: float
    log_m: tuple[float, ...]
    log_peaks: tuple[float, ...]
    starts: tuple[int, ...]
    rows: int = 0
    waiting: tuple[float, ...] = ()
    alarm: Alarm | None = None

    @property
    def e_value(self) -> float:
        """The evidence now, an alarm from `threshold` on; cut at 1e300."""
        return float(np.exp(min(_mix_bets(np.array([self.log_m]))[0], math.log(1e300))))

    def after(self, losses: Vector) -> "EDetector":
        """The state after more rows, in the order of time; the first alarm stays."""
        pending = np.concatenate([self.waiting, check_losses(losses)])
        block = self.baseline.block
        whole = len(pending) // block * block
        waiting = tuple(pending[whole:].tolist())
        rows = self.rows + len(losses)
        if not whole:
            return replace(self, waiting=waiting, rows=rows)
        first = self.rows - len(self.waiting)
        steps = self.baseline.log_increments(pending[:whole].reshape(-1, block).mean(axis=1))
        log_m = _shiryaev_roberts(np.array(self.log_m), steps)
        peaks, starts = self._peaks(steps, first)
        crossed = np.flatnonzero(_mix_bets(log_m) >= math.log(self.threshold))
        alarm = self.alarm
        if alarm is None and len(crossed):
            at = int(crossed[0])
            peaks_then, starts_then = self._peaks(steps[: at + 1], first)
            alarm = Alarm(first + (at + 1) * block - 1, int(starts_then[np.argmax(peaks_then)]))
        return replace(
            self,
            log_m=tuple(log_m[-1].tolist()),
            log_peaks=tuple(peaks.tolist()),
            starts=tuple(int(start) for start in starts),
            rows=rows,
            waiting=waiting,
            alarm=alarm,
        )

    def _peaks(self, steps: Matrix64, first: int) -> tuple[Vector, npt.NDArray[np.int64]]:
        """The largest sum of steps that ends with the last one, and the row where it starts (Page 1954)."""
        before: Matrix64 = np.vstack([-np.array(self.log_peaks), np.zeros(steps.shape[1]), np.cumsum(steps, axis=0)])
        lowest = before[:-1].argmin(axis=0)
        starts = np.where(lowest == 0, self.starts, first + (lowest - 1) * self.baseline.block)
        return before[-1] - before[lowest, np.arange(steps.shape[1])], starts


def e_detector(baseline: BlockBaseline, arl_rows: float) -> EDetector:
    """A detector that has seen no row yet; at most one false alarm in `arl_rows` rows on average."""
    if not arl_rows > 0:
        raise InvalidRequest(f"arl_rows must be above 0, got {arl_rows}")
    bets = len(baseline.norms)
    threshold = max(arl_rows / baseline.block, _LEAST_THRESHOLD)
    return EDetector(baseline, threshold, (_NOTHING,) * bets, (0.0,) * bets, (0,) * bets)


def baseline_of(reference: Vector) -> BlockBaseline:
    """The baseline by reference losses between 0 and 1, in the order of time; InvalidData for too few.

    A bet pays w = 1 + size * deviation, never less than a floor. Divided by an upper bound of its mean on the
    reference, it expects at most 1 whatever the distribution of blocks is, and however few rows the mean is from.
    """
    losses = check_losses(reference)
    if len(losses) < MIN_REFERENCE_ROWS:
        raise InvalidData(f"a baseline needs at least {MIN_REFERENCE_ROWS} losses, got {len(losses)}")
    block = block_length(losses)
    means = block_means(losses, block)
    neighbours = max(0.0, neighbour_correlation(means))
    means = np.append(means, losses.mean() + 1 / block)  # a model that never erred so far may err once
    spread, count = float(means.std(ddof=1)), len(means)
    paid = _pay((means - losses.mean()) / spread)
    error = paid.std(axis=0, ddof=1) * math.sqrt((1 + neighbours) / (1 - neighbours) / count)
    norms = np.maximum(1.0, paid.mean(axis=0)) + student.ppf(1 - _DOUBT, count - 1) * error
    return BlockBaseline(len(losses), block, float(losses.mean()), spread, neighbours, tuple(norms.tolist()))


def check_losses(losses: Vector) -> Vector:
    """The losses, if all are between 0 and 1; InvalidData names the first that is not."""
    wrong = np.flatnonzero(~((losses >= 0) & (losses <= 1)))
    if len(wrong):
        raise InvalidData(f"a loss must be between 0 and 1, row {wrong[0]} has {losses[wrong[0]]}")
    return np.asarray(losses, dtype=np.float64)


def _pay(deviations: Vector) -> Matrix64:
    return np.maximum(1 + deviations[:, None] * np.array(_BETS), _FLOOR)


def _mix_bets(log_m: Matrix64) -> Vector:
    return logsumexp(log_m, axis=1) - math.log(log_m.shape[1])


def _shiryaev_roberts(log_m: Vector, steps: Matrix64) -> Matrix64:
    """M = (M + 1) * e after each of (blocks, bets) steps, in logarithms."""
    total = np.cumsum(steps, axis=0)
    entries = np.vstack([log_m, np.zeros(len(log_m)), -total[:-1]])
    return total + np.logaddexp.accumulate(entries, axis=0)[1:]
