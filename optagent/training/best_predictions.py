"""Best predictions: the out-of-fold predictions of the best trials of a search, in bounded memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.arrays import Prediction
from optagent.domain.study import Study, Trial
from optagent.training.problem import Problem

MOST_BYTES = 256_000_000
"""Memory of the predictions of all trials of a search together."""


class BestPredictions:
    """The predictions of up to `study.kept_predictions` trials with the best scores, in `MOST_BYTES` at most.

    Of trials with the same parameters the first is kept, and of those with the same score the earlier ones.
    """

    def __init__(self, study: Study, most_bytes: int = MOST_BYTES) -> None:
        self._count = study.kept_predictions
        self._sign = 1 if study.maximize else -1
        self._most_bytes = most_bytes
        self._by_params: dict[str, tuple[Trial, tuple[Prediction, ...]]] = {}

    @property
    def by_trial(self) -> Mapping[int, tuple[Prediction, ...]]:
        """By the number of a trial, a prediction of the validation rows of each fold."""
        return {trial.number: predictions for trial, predictions in self._by_params.values()}

    def add(self, trial: Trial, predictions: Sequence[Prediction]) -> None:
        """Copies the predictions of a trial where it is among the best, and drops those that are no longer."""
        if not predictions or not self._count or trial.params_key in self._by_params:
            return
        self._by_params[trial.params_key] = (trial, tuple(np.array(part, dtype=np.float32) for part in predictions))
        while len(self._by_params) > self._count or self._bytes() > self._most_bytes:
            del self._by_params[min(reversed(self._by_params), key=self._worth)]  # of equals the newest

    def _worth(self, params: str) -> float:
        return self._sign * (self._by_params[params][0].score or 0.0)

    def _bytes(self) -> int:
        return sum(part.nbytes for _, predictions in self._by_params.values() for part in predictions)


def keeps_predictions(study: Study, problem: Problem, most_bytes: int = MOST_BYTES) -> bool:
    """True where the predictions of as many trials as the study asks for fit into memory together."""
    rows = sum(len(fold.valid) for fold in problem.folds)
    columns = problem.data.n_classes if problem.data.n_classes > 2 else 1
    return 0 < study.kept_predictions * rows * columns * np.dtype(np.float32).itemsize <= most_bytes
