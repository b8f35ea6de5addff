"""Native engine: the model's own library scores the rows."""

from typing import TYPE_CHECKING

from optagent.arrays import Matrix, Prediction

if TYPE_CHECKING:
    from optagent.training.predictor import Predictor


class NativeEngine:
    """Scores by the predictor itself."""

    name = "native"
    blocks = True

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor

    def scores(self, x: Matrix) -> Prediction:
        return self._predictor.scores(x)

    def close(self) -> None:
        pass
