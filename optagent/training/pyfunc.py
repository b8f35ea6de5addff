"""MLflow loader module: MLflow imports it (`loader_module`) to open a bundle; it needs no MLflow itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from optagent.training.bundle import bundle_digest, load_bundle
from optagent.training.predictor import Predictor


class PyfuncModel:
    """A predictor in the shape that `mlflow.pyfunc` calls."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Predictions for a data frame, an Arrow table, one record, or a list of records; there are no `params`."""
        return self._predictor.predict(_frame(model_input))


def _frame(model_input: Any) -> pd.DataFrame:
    if isinstance(model_input, pa.Table):
        return model_input.to_pandas()
    if isinstance(model_input, Mapping):
        values = model_input.values()
        scalar = not any(isinstance(value, Sequence) and not isinstance(value, str | bytes) for value in values)
        return pd.DataFrame([model_input] if scalar else model_input)
    return model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)


def _load_pyfunc(path: str) -> PyfuncModel:
    """Opens the bundle at `path`, verified. A caller of MLflow trusts the code that the model names."""
    return PyfuncModel(load_bundle(Path(path), bundle_digest(Path(path))))
