"""Successive halving: decides at each rung which trials go on, by ASHA or by the median rule. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from optagent.analysis.pareto import positions

_MEDIAN_NEEDS = 5


class EarlyStopping:
    """The measurements of the trials at each rung, and the rule that decides which trials go on.

    In the symbols of ASHA (Li et al. 2020): `reduction_factor` is eta, `rungs` are the resources r * eta^k in
    ascending order, so `rungs[0]` is r, the grace period that every trial gets, and the last rung is R, the most that a
    trial gets; the resource is counted in the units of the study's budget. `signs` has +1 for an objective that is
    maximised and -1 for one that is minimised.

    `asha` lets one trial in eta of those that have reached the rung so far go on; with several objectives it ranks by
    non-domination within the rung (MO-ASHA, Schmucker et al. 2021), since by quality alone every cheap model would be
    stopped. `median` lets a trial go on whose first objective is no worse than the median of the completed trials when
    they were at the same rung (Golovin et al. 2017): where the best trials learn slowly, the completed ones are slow
    too. `none` lets all go on. No rule stops a trial at the last rung.
    """

    def __init__(self, rule: str, rungs: Sequence[int], reduction_factor: int, signs: Sequence[float]) -> None:
        self._rule = rule
        self._rungs = tuple(rungs[:-1])
        self._reduction_factor = reduction_factor
        self._signs = np.asarray(signs, dtype=np.float64)
        self._values_at_rung: dict[int, dict[int, tuple[float, ...]]] = {rung: {} for rung in self._rungs}
        self._complete: set[int] = set()

    def restore(self, trial: int, values_by_rung: Mapping[int, Sequence[float]], complete: bool) -> None:
        """Adds the measurements of a trial from an earlier run of the same study."""
        for rung in self._rungs:
            if rung in values_by_rung:
                self._values_at_rung[rung][trial] = tuple(values_by_rung[rung])
        if complete:
            self.mark_complete(trial)

    def mark_complete(self, trial: int) -> None:
        """Marks a trial as trained to the last rung, so that the median rule counts it."""
        self._complete.add(trial)

    def should_continue(self, trial: int, units: int, values: Sequence[float]) -> bool:
        """True where a trial that has reached `units` with these objectives is worth more training.

        A trial is judged once a rung. A trial whose values are not finite numbers is stopped.
        """
        if units not in self._values_at_rung or self._rule == "none":
            return True
        if not all(math.isfinite(value) for value in values):
            return False
        at_rung = self._values_at_rung[units]
        if trial in at_rung:
            return True
        at_rung[trial] = tuple(values)
        if self._rule == "median":
            return self._is_above_median(trial, at_rung)
        return self._is_in_top_fraction(at_rung.values())

    def _is_in_top_fraction(self, at_rung: Iterable[tuple[float, ...]]) -> bool:
        points = self._signs * np.array(list(at_rung))
        return bool(positions(points)[-1] < math.ceil(len(points) / self._reduction_factor))

    def _is_above_median(self, trial: int, at_rung: Mapping[int, tuple[float, ...]]) -> bool:
        complete = [self._signs[0] * values[0] for number, values in at_rung.items() if number in self._complete]
        return len(complete) < _MEDIAN_NEEDS or bool(self._signs[0] * at_rung[trial][0] >= np.median(complete))
