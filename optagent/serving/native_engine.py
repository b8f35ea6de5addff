"""The model's own library as an engine."""

from typing import TYPE_CHECKING

from optagent.arrays import Matrix, Prediction

if TYPE_CHECKING:
    from optagent.training.predictor import Predictor


class NativeEngine:
    """The predictor itself."""

    name = "native"
    blocks = True

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor

    def scores(self, x: Matrix) -> Prediction:
        return self._predictor.scores(x)

    def close(self) -> None:
        pass
