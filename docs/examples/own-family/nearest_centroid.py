"""A family of one's own: the class whose shrunken mean is nearest wins (Tibshirani et al. 2002, simplified)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from optagent.domain.model import Task
from optagent.domain.space import Float, SearchSpace
from optagent.training.families.simple_family import SimpleFamily
from optagent.training.problem import Data


class NearestCentroid(SimpleFamily):
    """Named in model.yaml as `nearest_centroid:NearestCentroid`."""

    tasks = (Task.BINARY, Task.MULTICLASS)
    limits: Mapping[str, tuple[float, float]] = {"shrink": (0.0, 1.0), "temperature": (1e-3, 1e3)}

    def space(self, task: Task) -> SearchSpace:
        return SearchSpace((Float("shrink", 0.0, 0.9), Float("temperature", 0.1, 10.0, log=True)))

    def fit(self, params: Mapping[str, Any], data: Data, seed: int, threads: int) -> dict[str, Any]:
        middle = np.nan_to_num(np.nanmean(data.x, axis=0))
        spread = np.nan_to_num(np.nanstd(data.x, axis=0)) + 1e-6
        scaled = np.nan_to_num((data.x - middle) / spread)
        classes = range(max(2, data.n_classes))
        centroids = np.array([scaled[data.y == label].mean(axis=0) for label in classes])
        return {
            "middle": middle,
            "spread": spread,
            "centroids": centroids * (1 - params["shrink"]),
            "temperature": params["temperature"],
        }

    def predict(self, model: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
        scaled = np.nan_to_num((x - model["middle"]) / model["spread"])
        distance = ((scaled[:, None, :] - model["centroids"]) ** 2).mean(axis=2)
        likelihood = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / model["temperature"])
        shares = likelihood / likelihood.sum(axis=1, keepdims=True)
        return shares[:, 1] if len(model["centroids"]) == 2 else shares
