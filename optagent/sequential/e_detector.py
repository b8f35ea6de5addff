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

from optagent.arrays import Matrix64, Vector
from optagent.errors import InvalidRequest
from optagent.sequential.block_baseline import BlockBaseline, check_losses

_LEAST_THRESHOLD = 10.0
_NOTHING = -1000.0  # the logarithm of no evidence at all: finite, so that JSON can hold it


@dataclass(frozen=True, slots=True)
class Alarm:
    """`row` is the last row that was needed, `start` the row where the change most likely was."""

    row: int
    start: int


@dataclass(frozen=True, slots=True)
class EDetector:
    """The evidence for a rise after `rows` rows. It holds plain values only, so it can be stored and go on from there.

    `log_m` is a value a bet, `log_peaks` the evidence since the likeliest start of that bet, `starts` that row.
    `waiting` rows of an unfinished block lost `waiting_loss` together.
    """

    baseline: BlockBaseline
    threshold: float
    log_m: tuple[float, ...]
    log_peaks: tuple[float, ...]
    starts: tuple[int, ...]
    rows: int = 0
    waiting: int = 0
    waiting_loss: float = 0.0
    alarm: Alarm | None = None

    @property
    def e_value(self) -> float:
        """The evidence now, an alarm from `threshold` on; cut at 1e300."""
        return float(np.exp(min(_mix_bets(np.array([self.log_m]))[0], math.log(1e300))))

    def at_rate(self, arl_rows: float) -> "EDetector":
        """The same evidence against the threshold of another average run length."""
        return replace(self, threshold=_threshold(arl_rows, self.baseline.block))

    def after(self, losses: Vector) -> "EDetector":
        """The state after more rows, in the order of time; the first alarm stays."""
        means, waiting, waiting_loss = self._whole_blocks(check_losses(losses))
        rows, block = self.rows + len(losses), self.baseline.block
        if not len(means):
            return replace(self, waiting=waiting, waiting_loss=waiting_loss, rows=rows)
        first = self.rows - self.waiting
        steps = self.baseline.log_increments(means)
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
            waiting_loss=waiting_loss,
            alarm=alarm,
        )

    def _whole_blocks(self, losses: Vector) -> tuple[Vector, int, float]:
        """The means of the blocks that are whole now, and the number and the sum of the rows that wait for more."""
        block = self.baseline.block
        missing = block - self.waiting
        if len(losses) < missing:
            return np.empty(0), self.waiting + len(losses), self.waiting_loss + float(losses.sum())
        whole = (len(losses) - missing) // block * block
        first = (self.waiting_loss + losses[:missing].sum()) / block
        means = np.append(first, losses[missing : missing + whole].reshape(-1, block).mean(axis=1))
        rest = losses[missing + whole :]
        return means, len(rest), float(rest.sum())

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
    return EDetector(baseline, _threshold(arl_rows, baseline.block), (_NOTHING,) * bets, (0.0,) * bets, (0,) * bets)


def _threshold(arl_rows: float, block: int) -> float:
    return max(arl_rows / block, _LEAST_THRESHOLD)


def _mix_bets(log_m: Matrix64) -> Vector:
    return logsumexp(log_m, axis=1) - math.log(log_m.shape[1])


def _shiryaev_roberts(log_m: Vector, steps: Matrix64) -> Matrix64:
    """M = (M + 1) * e after each of (blocks, bets) steps, in logarithms."""
    total = np.cumsum(steps, axis=0)
    entries = np.vstack([log_m, np.zeros(len(log_m)), -total[:-1]])
    return total + np.logaddexp.accumulate(entries, axis=0)[1:]
