"""The model's own library as an engine."""

from optagent.training.families.family import Prediction
from optagent.training.predictor import Predictor
from optagent.training.problem import Matrix


class NativeEngine:
    """The predictor itself."""

    name = "native"

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def scores(self, x: Matrix) -> Prediction:
        return self._predictor.scores(x)
