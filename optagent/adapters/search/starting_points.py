"""Learned start of a study: asks the starting points of its families before the sampler's own parameters."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optagent.domain.study import Trial

_IN_A_ROW = 20
_MOST_SHARE = 0.5
_REFUSALS = 2


class StartingPoints:
    """Suggests `points` (family, and parameters as the Optuna study names them) in their order, from trial `after` on.

    The first come one after the other, later ones in turn with the sampler, and never more than half of the trials. A
    family whose first two points could not be trained gets no more of them.
    """

    def __init__(self, points: Sequence[tuple[str, Mapping[str, Any]]], after: int, trials: int) -> None:
        self._points = list(points[: int((trials - after) * _MOST_SHARE)])
        self._after = after
        self._suggested: set[int] = set()
        self._refusals: Counter[str] = Counter()
        self._trained: set[str] = set()

    def next(self, number: int) -> dict[str, Any] | None:
        """The next starting point for that trial, or None where the sampler shall choose."""
        in_turn = len(self._suggested) < _IN_A_ROW or (number - self._after) % 2 == 1
        while self._points and number >= self._after and in_turn:
            family, params = self._points.pop(0)
            if family in self._trained or self._refusals[family] < _REFUSALS:
                self._suggested.add(number)
                return dict(params)
        return None

    def record(self, trial: Trial) -> None:
        """Takes in the result of any trial of the study."""
        if trial.state.has_score:
            self._trained.add(trial.family)
        elif trial.number in self._suggested:
            self._refusals[trial.family] += 1
