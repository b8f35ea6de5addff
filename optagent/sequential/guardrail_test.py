"""Guardrail test: evidence that the mean of values between 0 and 1, such as error flags, is above a limit.

A bet against the limit, K = prod(1 + lambda * (x - limit)), is worth at most 1 on average while no value expects more
than the limit, whatever the lambda that is chosen from the values before (Waudby-Smith and Ramdas 2023, Estimating
means of bounded random variables by betting). So K reaches 1 / alpha with probability alpha at most, ever (Ville 1939).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter

from optagent.arrays import Vector
from optagent.errors import InvalidData, InvalidRequest

_WEIGHT = 1.0  # expected bad rows that the limit is worth as the first guess
_MEMORY = 10.0  # expected bad rows after which the bettor with the short memory has forgotten
_BOLDEST = 0.5  # the highest rate that is bet on: one good row then costs at most about half of what was won


@dataclass(frozen=True, slots=True)
class BettingState:
    """One bettor: `rows` and `total` are those that it remembers, `log_k` what its bets have come to."""

    keep: float
    rows: float
    total: float
    log_k: float = 0.0


@dataclass(frozen=True, slots=True)
class Guardrail:
    """The evidence on a rate after `rows` rows. It holds plain values only, so it can be stored and go on from there.

    Half of the stake is bet by one who remembers all rows, half by one who forgets: a candidate that fails late is
    found as soon as one that fails from the start. `log_peak` is the most that K has been worth.
    """

    limit: float
    bettors: tuple[BettingState, ...]
    rows: int = 0
    total: float = 0.0
    log_k: float = 0.0
    log_peak: float = 0.0

    @property
    def rate(self) -> float | None:
        return self.total / self.rows if self.rows else None

    @property
    def e_value(self) -> float:
        """The most that K has been worth, an alarm from 1 / alpha on; cut at 1e300."""
        return math.exp(min(self.log_peak, math.log(1e300)))

    def after(self, values: Vector) -> "Guardrail":
        """The state after more rows in the order of time; InvalidData for a value that is not between 0 and 1."""
        if not len(values):
            return self
        checked = _check_values(values)
        paths = [_log_k(bettor, self.limit, checked) for bettor in self.bettors]
        path = np.logaddexp.reduce(paths, axis=0) - math.log(len(paths))
        bettors = tuple(
            replace(_advance(bettor, checked), log_k=float(own[-1]))
            for bettor, own in zip(self.bettors, paths, strict=True)
        )
        return replace(
            self,
            bettors=bettors,
            rows=self.rows + len(checked),
            total=self.total + float(checked.sum()),
            log_k=float(path[-1]),
            log_peak=max(self.log_peak, float(path.max())),
        )


def guardrail(limit: float) -> Guardrail:
    """A guardrail that has seen no row yet; `limit` is the highest mean that is no harm."""
    if not 0 < limit < 1:
        raise InvalidRequest(f"the limit of a guardrail must be between 0 and 1, got {limit}")
    first = _WEIGHT / limit
    return Guardrail(limit, tuple(BettingState(keep, first, _WEIGHT) for keep in (1.0, 1 - limit / _MEMORY)))


def _log_k(bettor: BettingState, limit: float, values: Vector) -> Vector:
    """log K after each value.

    The bet is the one that grows fastest for flags of the rate seen so far, the ratio of likelihoods to the limit's.
    """
    rows, total = _memory(bettor, values)
    guess = np.clip(
        np.append(bettor.total, total[:-1]) / np.append(bettor.rows, rows[:-1]), limit, max(limit, _BOLDEST)
    )
    stake = (guess - limit) / (limit * (1 - limit))
    return bettor.log_k + np.cumsum(np.log1p(stake * (values - limit)))


def _advance(bettor: BettingState, values: Vector) -> BettingState:
    rows, total = _memory(bettor, values)
    return replace(bettor, rows=float(rows[-1]), total=float(total[-1]))


def _memory(bettor: BettingState, values: Vector) -> tuple[Vector, Vector]:
    """The rows and the sum of values that the bettor remembers after each value."""
    rows, _ = lfilter([1.0], [1.0, -bettor.keep], np.ones(len(values)), zi=[bettor.keep * bettor.rows])
    total, _ = lfilter([1.0], [1.0, -bettor.keep], values, zi=[bettor.keep * bettor.total])
    return rows, total


def _check_values(values: Vector) -> Vector:
    numbers = np.asarray(values, dtype=np.float64)
    wrong = np.flatnonzero(~((numbers >= 0) & (numbers <= 1)))
    if len(wrong):
        raise InvalidData(f"a guarded value must be between 0 and 1, row {wrong[0]} has {numbers[wrong[0]]}")
    return numbers
