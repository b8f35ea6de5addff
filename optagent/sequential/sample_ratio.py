"""Sample-ratio test: evidence that the candidate gets another share than was meant, which spoils every comparison.

The share is mixed over a beta law around the one that was meant (Lindon and Malek 2022, Anytime-valid inference for
multinomial count data, with two arms). The mixture's likelihood over that of the share meant is worth at most 1 on
average at every look while assignment is sound, so it reaches 1 / alpha with probability alpha at most.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betaln

from optagent.arrays import Mask, Vector
from optagent.errors import InvalidData

_STRENGTH = 1000.0  # rows that the mixture is worth: it looks for shares about .016 away from a half


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """The rows of both arms while the candidate was meant to get `share` of them."""

    share: float
    candidate: int = 0
    champion: int = 0


@dataclass(frozen=True, slots=True)
class SampleRatioTest:
    """The rows of both arms so far, by the share that was meant. It holds plain values only."""

    counts: tuple[ArmCounts, ...] = ()

    @property
    def rows(self) -> int:
        return sum(each.candidate + each.champion for each in self.counts)

    @property
    def observed_share(self) -> float | None:
        """The candidate's share of all rows."""
        return sum(each.candidate for each in self.counts) / self.rows if self.rows else None

    @property
    def expected_share(self) -> float | None:
        """The share of all rows that the candidate was meant to get."""
        meant = sum(each.share * (each.candidate + each.champion) for each in self.counts)
        return meant / self.rows if self.rows else None

    @property
    def e_value(self) -> float:
        """The evidence for a mismatch, an alarm from 1 / alpha on; cut at 1e300."""
        total = sum(float(log_evidence(each.candidate, each.champion, each.share)) for each in self.counts)
        return math.exp(max(min(total, math.log(1e300)), -math.log(1e300)))

    def after(self, candidate: Mask, share: Vector) -> "SampleRatioTest":
        """The state after more requests: whether each went to the candidate, and the chance that it had to."""
        wrong = np.flatnonzero(~((share > 0) & (share < 1)))
        if len(wrong):
            raise InvalidData(f"a share must be between 0 and 1, row {wrong[0]} has {share[wrong[0]]}")
        by_share = {each.share: each for each in self.counts}
        for value in np.unique(share).tolist():
            arm, old = candidate[share == value], by_share.get(value, ArmCounts(value))
            took = int(np.count_nonzero(arm))
            by_share[value] = replace(old, candidate=old.candidate + took, champion=old.champion + len(arm) - took)
        return SampleRatioTest(tuple(by_share.values()))


def log_evidence(candidate: Vector | int, champion: Vector | int, share: float) -> Vector:
    """The logarithm of the evidence in counts of the arms, of any shape."""
    own, other = _STRENGTH * share, _STRENGTH * (1 - share)
    mixed = betaln(own + candidate, other + champion) - betaln(own, other)
    return np.asarray(mixed - candidate * math.log(share) - champion * math.log1p(-share))
