"""Uniqueness of labels: training weights where label windows overlap and several rows tell of the same stretch of time.

López de Prado 2018, Advances in Financial Machine Learning, ch. 4: a label counts as much as it shares its window
(t, t + horizon] with no other, the mean over the window of one over the number of labels that are open then.
"""

from dataclasses import replace

import numpy as np

from optagent.arrays import Vector
from optagent.domain.model import ModelSpec
from optagent.training.problem import Data


def label_uniqueness(time: Vector, horizon: float) -> Vector:
    """(rows,) average uniqueness of the labels of rows at these times, above 0 and at most 1.

    Rows of one instant share it: five shares a day count as one together.

    >>> label_uniqueness(np.array([0.0, 1.0, 5.0]), 2.0).tolist()
    [0.75, 0.75, 1.0]
    """
    opened, closed = np.sort(time), np.sort(time + horizon)
    edges = np.unique(np.concatenate([opened, closed]))
    begin = edges[:-1]
    labels = np.searchsorted(opened, begin, side="right") - np.searchsorted(closed, begin, side="right")
    shares = np.diff(edges) / np.maximum(labels, 1)
    total = np.concatenate([[0.0], np.cumsum(np.where(labels > 0, shares, 0.0))])
    own = total[np.searchsorted(edges, time + horizon)] - total[np.searchsorted(edges, time)]
    return np.asarray(own / horizon, dtype=np.float64)


def weigh_labels(data: Data, time: Vector | None, spec: ModelSpec) -> Data:
    """The data with weights by uniqueness where the model asks for them, beside those that it has."""
    if spec.weights != "uniqueness" or time is None:
        return data
    weight = label_uniqueness(time, spec.horizon)
    return replace(data, weight=weight if data.weight is None else data.weight * weight)
