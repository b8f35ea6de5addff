"""Early stopping across trials: which of them go on from a rung. Pure; the trials report, this answers."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from optagent.analysis.pareto import positions

_MEDIAN_NEEDS = 5


class EarlyStopping:
    """What trials measured at each rung, and the rule that says who goes on.

    `asha`: one in `reduction_factor` of those seen at the rung so far (Li et al. 2020); with several objectives by
    non-domination within the rung (MO-ASHA, Schmucker et al. 2021), since by quality alone every cheap model would be
    stopped. `median`: by the first objective no worse than the median of the trials that were trained to their end,
    when these were at the rung (Golovin et al. 2017): where the best learn slowly, they are slow ones. `none`: all. The
    last rung stops nobody.
    """

    def __init__(self, rule: str, rungs: Sequence[int], reduction_factor: int, signs: Sequence[float]) -> None:
        self._rule = rule
        self._rungs = tuple(rungs[:-1])
        self._factor = reduction_factor
        self._signs = np.asarray(signs, dtype=np.float64)
        self._seen: dict[int, dict[int, tuple[float, ...]]] = {rung: {} for rung in self._rungs}
        self._complete: set[int] = set()

    def recall(self, trial: int, measured: Mapping[int, Sequence[float]], complete: bool) -> None:
        """Takes in what an earlier run of the same study measured."""
        for rung in self._rungs:
            if rung in measured:
                self._seen[rung][trial] = tuple(measured[rung])
        if complete:
            self.complete(trial)

    def complete(self, trial: int) -> None:
        """Tells that a trial was trained to its end."""
        self._complete.add(trial)

    def goes_on(self, trial: int, units: int, values: Sequence[float]) -> bool:
        """Whether a trial that has reached `units` with these objectives is worth more training.

        A trial is judged once a rung. One whose values are not numbers goes on to nothing.
        """
        if units not in self._seen or self._rule == "none":
            return True
        if not all(math.isfinite(value) for value in values):
            return False
        seen = self._seen[units]
        if trial in seen:
            return True
        seen[trial] = tuple(values)
        return self._median(trial, seen) if self._rule == "median" else self._halving(seen.values())

    def _halving(self, seen: Iterable[tuple[float, ...]]) -> bool:
        points = self._signs * np.array(list(seen))
        return bool(positions(points)[-1] < math.ceil(len(points) / self._factor))

    def _median(self, trial: int, seen: Mapping[int, tuple[float, ...]]) -> bool:
        ended = [self._signs[0] * values[0] for number, values in seen.items() if number in self._complete]
        return len(ended) < _MEDIAN_NEEDS or bool(self._signs[0] * seen[trial][0] >= np.median(ended))
