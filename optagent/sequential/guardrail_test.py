"""Guardrail test: evidence that the mean of values between 0 and 1, such as error flags of requests, is above a limit.

A bet against the limit, K = prod(1 + lambda * (x - limit)), is worth at most 1 on average while no value expects more
than the limit, whatever the lambda that is chosen from the values before (Waudby-Smith and Ramdas 2023, Estimating
means of bounded random variables by betting). So K reaches 1 / alpha with probability alpha at most, ever (Ville 1939).

Single requests do not keep that rule: while a pause lasts, each next request expects to be bad. So bets are placed on
the means of blocks of requests, which a pause makes bad but for its length. A block lasts five seconds at least, and is
four times as long as the pauses seen before it. It is fixed before its first request is known, so nothing is looked up.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optagent.arrays import Vector
from optagent.errors import InvalidData, InvalidRequest

_WEIGHT = 1.0  # expected bad requests that the limit is worth as the first guess
_MEMORY = 10.0  # expected bad requests after which the bettor with the short memory has forgotten
_HIGHEST = 3.0  # limits: the highest rate that is bet on, so that one bad block of a good candidate is not its end
_BOLDEST = 4.0  # the highest stake: a block of bad requests only is worth 5 times as much at most
_BLOCK = 5  # requests, the fewest of a block
_BLOCK_S = 5.0  # the shortest time of a block
_PAUSES = 4.0  # lengths of a pause that a block holds; with 2, pauses of 3 to 10 requests were .05 false alarms
_LONGEST = 200  # requests that a block waits for at most: an outage has to be found, however long it has lasted
_LINK = 0.03  # chance that a bad request counts to the pause before it, at the limit and without any pause


@dataclass(frozen=True, slots=True)
class BettingState:
    """One bettor: `rows` and `total` are those that it remembers, `log_k` what its bets have come to."""

    keep: float
    rows: float
    total: float
    log_k: float = 0.0

    @property
    def rate(self) -> float:
        return self.total / self.rows


@dataclass(frozen=True, slots=True)
class Guardrail:
    """The evidence on a rate after `rows` requests. It holds plain values only: it can be stored and go on from there.

    Half of the stake is bet by one who remembers all requests, half by one who forgets: a candidate that fails late is
    found as soon as one that fails from the start. `log_peak` is the most that K has been worth. `pauses` sums the
    lengths of pauses, runs of bad requests, and `pause_squares` their squares; the last of them has lasted for `pause`
    requests, up to `since_bad` requests ago. The requests of an unfinished block wait in `waiting`, with their times.
    """

    limit: float
    bettors: tuple[BettingState, ...]
    rows: int = 0
    total: float = 0.0
    log_k: float = 0.0
    log_peak: float = 0.0
    pauses: float = 0.0
    pause_squares: float = 0.0
    pause: int = 0
    since_bad: int = 0
    waiting: tuple[tuple[float, float], ...] = ()

    @property
    def rate(self) -> float | None:
        """The mean of all values, or the newest of them where it is higher; None before any."""
        if not self.rows:
            return None
        return max(self.total / self.rows, min(1.0, self.bettors[-1].rate) if self.total else 0.0)

    @property
    def e_value(self) -> float:
        """The most that K has been worth, an alarm from 1 / alpha on; cut at 1e300."""
        return math.exp(min(self.log_peak, math.log(1e300)))

    def after(self, values: Vector, times: Vector) -> "Guardrail":
        """The state after more requests in the order of time (POSIX seconds).

        InvalidData for a value that is not between 0 and 1, and for a time that is no number.
        """
        if not len(values):
            return self
        checked, seconds = _check_values(values), _check_times(times, len(values))
        before = np.array(self.waiting).reshape(-1, 2)
        state = replace(self, rows=self.rows + len(checked), total=self.total + float(checked.sum()), waiting=())
        return _bet_on_blocks(state, np.append(before[:, 0], checked), np.append(before[:, 1], seconds))


def guardrail(limit: float) -> Guardrail:
    """A guardrail that has seen no request yet; `limit` is the highest mean that is no harm."""
    if not 0 < limit < 1:
        raise InvalidRequest(f"the limit of a guardrail must be between 0 and 1, got {limit}")
    first = _WEIGHT / limit
    return Guardrail(limit, tuple(BettingState(keep, first, _WEIGHT) for keep in (1.0, 1 - limit / _MEMORY)))


def _bet_on_blocks(state: Guardrail, values: Vector, times: Vector) -> Guardrail:
    """The state after all whole blocks of these requests, the others left waiting."""
    betting = _Betting(state)
    seconds, sums = times.tolist(), [0.0, *np.cumsum(values).tolist()]
    bad = np.flatnonzero(values > 0).tolist()
    start, next_bad = 0, 0
    while (size := betting.block_size(seconds, start)) is not None:
        end = start + size
        after_bad = bisect_left(bad, end, next_bad)
        betting.bet((sums[end] - sums[start]) / size, size)
        betting.note_pauses([place - start for place in bad[next_bad:after_bad]], size)
        start, next_bad = end, after_bad
    return betting.to_state(state, tuple(zip(values[start:].tolist(), seconds[start:], strict=True)))


class _Betting:
    """The changing part of a guardrail's state: half a million requests are bet on block by block at every look."""

    def __init__(self, state: Guardrail) -> None:
        self._limit = state.limit
        self._keeps = [bettor.keep for bettor in state.bettors]
        self._rows = [bettor.rows for bettor in state.bettors]
        self._totals = [bettor.total for bettor in state.bettors]
        self._log_ks = [bettor.log_k for bettor in state.bettors]
        self._log_k, self._log_peak = state.log_k, state.log_peak
        self._pauses, self._squares = state.pauses, state.pause_squares
        self._pause, self._since_bad = state.pause, state.since_bad
        self._link = 1 + int(_LINK / state.limit)

    def block_size(self, times: Sequence[float], start: int) -> int | None:
        """The number of requests of the next block; None where it is not over yet."""
        length = self._squares + self._pause**2
        usual = length / (self._pauses + self._pause) if length else 1.0  # as seen by a bad request
        fewest = min(_LONGEST, int(_BLOCK + _PAUSES * (usual - 1)))
        if len(times) - start < fewest:
            return None
        size = max(fewest, bisect_left(times, times[start] + _BLOCK_S, start) - start + 1)
        return size if size <= len(times) - start else None

    def bet(self, mean: float, size: int) -> None:
        """The bettors after a block; each stakes what grows fastest for means of the rate that it remembers."""
        limit = self._limit
        for place, keep_one in enumerate(self._keeps):
            rate = min(self._totals[place] / self._rows[place], _HIGHEST * limit, (1 + limit) / 2)
            excess = rate - limit
            if excess > 0:
                stake = min(excess / (rate * (1 - rate) / _BLOCK + excess * excess), _BOLDEST, 0.5 / limit)
                self._log_ks[place] += math.log1p(stake * (mean - limit))
            keep = keep_one**size
            remembered = size if keep_one == 1 else (1 - keep) / (1 - keep_one)
            self._rows[place] = keep * self._rows[place] + remembered
            self._totals[place] = keep * self._totals[place] + remembered * mean
        most = max(self._log_ks)
        worth = sum(math.exp(log_k - most) for log_k in self._log_ks) / len(self._log_ks)
        self._log_k = most + math.log(worth)
        self._log_peak = max(self._log_peak, self._log_k)

    def note_pauses(self, bad: Sequence[int], size: int) -> None:
        """Takes in the pauses of a block, of which the requests at `bad` were not good."""
        last = -1 - self._since_bad
        for place in bad:
            if self._pause and place - last <= self._link:
                self._pause += place - last
            else:
                self._pauses, self._squares = self._pauses + self._pause, self._squares + self._pause**2
                self._pause = 1
            last = place
        self._since_bad = size - 1 - last

    def to_state(self, state: Guardrail, waiting: tuple[tuple[float, float], ...]) -> Guardrail:
        """The state that follows on `state`, of which these requests wait for the end of their block."""
        columns = zip(self._keeps, self._rows, self._totals, self._log_ks, strict=True)
        return replace(
            state,
            bettors=tuple(BettingState(*column) for column in columns),
            log_k=self._log_k,
            log_peak=self._log_peak,
            pauses=self._pauses,
            pause_squares=self._squares,
            pause=self._pause,
            since_bad=self._since_bad,
            waiting=waiting,
        )


def _check_values(values: Vector) -> Vector:
    numbers = np.asarray(values, dtype=np.float64)
    wrong = np.flatnonzero(~((numbers >= 0) & (numbers <= 1)))
    if len(wrong):
        raise InvalidData(f"a guarded value must be between 0 and 1, row {wrong[0]} has {numbers[wrong[0]]}")
    return numbers


def _check_times(times: Vector, count: int) -> Vector:
    seconds = np.asarray(times, dtype=np.float64)
    if len(seconds) != count or not np.isfinite(seconds).all():
        raise InvalidData(f"{count} guarded values need as many times in POSIX seconds, got {len(seconds)}")
    return seconds
