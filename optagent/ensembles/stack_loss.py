"""Stack loss: the mean loss over rows, plus a penalty on the distance of the weights from equal ones."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix, Prediction, Rows, Vector
from optagent.domain.model import Task
from optagent.ensembles.members import Members
from optagent.training.stack import Stack, StackColumn, apply_link, invert_link, standardise


@dataclass(frozen=True, slots=True)
class StackFeatures:
    """The encoded features of the members' rows: `x` is (rows, columns), and only the columns at `positions` are
    used."""

    x: Matrix
    positions: tuple[int, ...]

    def select_rows(self, rows: Rows) -> "StackFeatures":
        return StackFeatures(self.x[rows], self.positions)


class StackLoss:
    """The mean loss of the rows and the penalty, as a function of one vector of weights, intercepts and
    coefficients."""

    def __init__(self, members: Members, features: StackFeatures | None) -> None:
        order = members.by_name
        self._names = tuple(members.names[index] for index in order)
        self._task = members.task
        # Values are learned in units of their spread: a penalty, and a step of the search, mean the same for every
        # target.
        values = members.task is Task.REGRESSION
        self._centre = float(members.y.mean()) if values else 0.0
        self._scale = (float(members.y.std()) or 1.0) if values else 1.0
        self._y = (members.y - self._centre) / self._scale
        inputs = [apply_link(members.task, np.asarray(members.predictions[i], dtype=np.float64)) for i in order]
        self._inputs = (np.stack(inputs).reshape(len(order), -1) - self._centre) / self._scale
        self._shape = (members.rows, members.classes)
        self._columns = _standardisation(features)
        self._features = _design(features, self._columns, members.rows)
        self._even = np.full(len(order), 1 / len(order))
        self._others = members.classes * (1 + len(self._columns))

    @property
    def start(self) -> Vector:
        return np.concatenate([self._even, np.zeros(self._others)])

    @property
    def bounds(self) -> list[tuple[float | None, float | None]]:
        return [(0.0, None)] * len(self._even) + [(None, None)] * self._others

    def __call__(self, theta: Vector, penalty: float) -> tuple[float, Vector]:
        weights, intercepts, coefficients = self._split_theta(theta)
        outputs = (weights @ self._inputs).reshape(self._shape) + intercepts + self._features @ coefficients
        loss, slope = self._row_loss(outputs)
        apart = weights - self._even
        loss += penalty * float(apart @ apart + np.square(coefficients).sum())
        gradient = np.concatenate(
            [
                self._inputs @ slope.ravel() + 2 * penalty * apart,
                slope.sum(axis=0),
                (self._features.T @ slope + 2 * penalty * coefficients).ravel(),
            ]
        )
        return loss, gradient

    def stack_of(self, theta: Vector) -> Stack:
        """The stack of these parameters, without the members of weight 0, which need not be served."""
        weights, intercepts, coefficients = self._split_theta(theta)
        intercepts = intercepts * self._scale + self._centre * (1 - weights.sum())
        coefficients = coefficients * self._scale
        heeded = np.flatnonzero(weights) if weights.any() else np.arange(len(weights))
        columns = tuple(
            StackColumn(position, mean, scale, tuple(coefficients[index].tolist()))
            for index, (position, mean, scale) in enumerate(self._columns)
        )
        names = tuple(self._names[index] for index in heeded)
        return Stack(self._task, names, tuple(weights[heeded].tolist()), tuple(intercepts.tolist()), columns)

    def _split_theta(self, theta: Vector) -> tuple[Vector, Vector, npt.NDArray[np.float64]]:
        models, outputs = len(self._even), self._shape[1]
        return theta[:models], theta[models : models + outputs], theta[models + outputs :].reshape(-1, outputs)

    def _row_loss(self, outputs: Prediction) -> tuple[float, Prediction]:
        """The mean loss of (rows, outputs), and its slope."""
        rows = len(outputs)
        if self._task is Task.REGRESSION:
            error = outputs - self._y[:, None]
            return float(np.square(error).sum()) / rows, 2 * error / rows
        if self._task is Task.BINARY:
            logits = outputs[:, 0]
            loss = np.logaddexp(0.0, logits) - self._y * logits
            return float(loss.mean()), (invert_link(self._task, logits) - self._y)[:, None] / rows
        shares = invert_link(self._task, outputs)
        truth = self._y.astype(np.int64)[:, None] == np.arange(self._shape[1])
        return -float(np.log(np.maximum(shares[truth], 1e-300)).mean()), (shares - truth) / rows


def _standardisation(features: StackFeatures | None) -> list[tuple[int, float, float]]:
    """Position, mean and spread of each feature in use, without constant ones."""
    columns: list[tuple[int, float, float]] = []
    if features is None:
        return columns
    for position in features.positions:
        finite = features.x[:, position].astype(np.float64)
        finite = finite[np.isfinite(finite)]
        if len(finite) and finite.std() > 0:
            columns.append((position, float(finite.mean()), float(finite.std())))
    return columns


def _design(
    features: StackFeatures | None, columns: list[tuple[int, float, float]], rows: int
) -> npt.NDArray[np.float64]:
    if features is None:
        return np.zeros((rows, 0))
    design = np.empty((rows, len(columns)))
    for index, (position, mean, scale) in enumerate(columns):
        design[:, index] = standardise(features.x[:, position], mean, scale)
    return design
