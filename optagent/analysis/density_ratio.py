"""Density ratio of a window to its reference: weights under which the reference's rows have the window's features.

The log of the ratio is linear in functions of the features and answers: their ranks as normal scores, frequent
categories, missing values, and products of two of these. The weights are the least uneven ones under which those
functions that shifted have the window's means (KLIEP of Sugiyama et al. 2008, which is the entropy balancing of
Hainmueller 2012). That is a logistic domain classifier whose odds balance the two sides exactly, for some milliseconds
a window; trees would need a second, and miss a change of correlation that moves no single column.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtri

from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.arrays import Mask, Matrix64, Prediction, Rows, Vector
from optagent.errors import InvalidData

LEAST_EFFECTIVE_ROWS = 100
_UNSEEN_SHARE, _UNSEEN_ROWS = 0.02, 2
_MOST_CATEGORIES = 10
_RAREST = 0.01
_MOST_FOR_ALL_PRODUCTS = 100
_ROWS_A_FUNCTION = 15
_RIDGE = 1e-3
_STEPS = 30
_CLOSE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceWeights:
    """(rows,) weights of the reference's rows of mean 1, or None where no feature shifted.

    `effective_rows` are as many as rows of equal weight that tell as much (Kish). With a `refusal` the reference has
    too little that is like the window, and an estimate from it would be a guess.
    """

    weights: Vector | None
    effective_rows: float
    refusal: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """A column of the reference: its values in ascending order without the missing ones, or its frequent categories."""

    name: str
    values: Vector
    categories: Vector | None
    has_missing: bool

    def scores(self, cells: Vector) -> Iterator[Vector]:
        """Each (rows,): normal scores by the reference's ranks or one indicator a category, and one of missing."""
        missing = np.isnan(cells)
        if self.categories is not None:
            yield from ((cells == category).astype(np.float64) for category in self.categories)
        elif len(self.values):
            rank = (np.searchsorted(self.values, cells) + np.searchsorted(self.values, cells, side="right")) / 2
            share = np.clip(rank, 0.5, len(self.values) - 0.5) / len(self.values)
            yield np.where(missing, 0.0, ndtri(share))
        if self.has_missing:
            yield missing.astype(np.float64)

    def unseen_rows(self, cells: Vector) -> int:
        """The number of rows that are missing, a category, or beyond the range, where the reference never was."""
        missing = np.isnan(cells)
        if not len(self.values):
            return int((~missing).sum())
        if self.categories is not None:
            unseen = ~np.isin(cells, self.values)
        else:
            unseen = (cells < self.values[0]) | (cells > self.values[-1])
        return int(np.where(missing, not self.has_missing, unseen).sum())


@dataclass(frozen=True, slots=True, eq=False)
class DensityRatio:
    """The reference's side of the ratio: its columns, and their standardised scores `z` (rows, scores).

    `left` are the scores of which products with all others are looked at; `then` are the moments of all functions, and
    `counts` is True for those whose shift counts.
    """

    columns: tuple[_Column, ...]
    centre: Vector
    scale: Vector
    z: Matrix64
    left: slice
    then: "_Moments"
    counts: Mask

    def weigh(self, window: ObservedRows) -> ReferenceWeights:
        """The weights for a window with finite predictions; InvalidData where its columns are others."""
        cells = _cells(window)
        if len(cells) != len(self.columns):
            raise InvalidData(f"{len(cells)} columns with the answers, those of the reference are {len(self.columns)}")
        rows = len(self.z)
        unseen, name = max(
            (column.unseen_rows(values), column.name) for column, values in zip(self.columns, cells, strict=True)
        )
        if unseen > _UNSEEN_ROWS + _UNSEEN_SHARE * len(window):
            reason = f"{unseen / len(window):.1%} of the rows have values of {name} that the reference never had"
            return ReferenceWeights(None, 0.0, reason)
        z = (_stack_scores(self.columns, cells) - self.centre) / self.scale
        functions, target = self._shifted_functions(z)
        if not len(target):
            return ReferenceWeights(None, float(rows))
        weights = balancing_weights(functions, target)
        effective = float(weights.sum() ** 2 / np.square(weights).sum())
        if effective >= LEAST_EFFECTIVE_ROWS:
            return ReferenceWeights(weights, effective)
        reason = (
            f"its features are too unlike the reference's, of whose {rows:,} labelled rows only {effective:,.0f}"
            f" resemble it, at least {LEAST_EFFECTIVE_ROWS} are needed"
        )
        return ReferenceWeights(None, effective, reason)

    def _shifted_functions(self, z: Matrix64) -> tuple[Matrix64, Vector]:
        """(rows, functions) of the reference, standardised, and their means in the window."""
        then, now, rows = self.then, _moments(z, self.left), len(z)
        varies = then.variance > 1e-9
        spread = np.sqrt(np.where(varies, then.variance, 1.0))
        shift = np.where(varies, (now.mean - then.mean) / spread, 0.0)
        noise = np.sqrt(np.maximum(now.variance / spread**2, 1.0) / rows + 1 / len(self.z))
        strength = np.abs(shift) / noise
        # A threshold that noise in so many functions does not reach (Donoho and Johnstone 1994).
        is_strong = strength >= np.sqrt(2 * np.log(max(varies.sum(), 2)))
        places = np.flatnonzero(is_strong & self.counts)
        places = places[np.argsort(-strength[places], kind="stable")][: max(1, rows // _ROWS_A_FUNCTION)]
        places = self._with_parts(places)
        places = places[varies[places]]
        functions = _functions(self.z, self.left, places)
        return (functions - then.mean[places]) / spread[places], shift[places]

    def _with_parts(self, places: Rows) -> Rows:
        """With each product also its two scores and their squares, without which a correlation would widen both."""
        first, second = _pairs(self.z.shape[1], self.left)
        of_products = places[places >= self.z.shape[1]] - self.z.shape[1]
        scores = np.unique(np.concatenate([first[of_products], second[of_products]]))
        squares = np.flatnonzero((first == second) & np.isin(first, scores)) + self.z.shape[1]
        return np.unique(np.concatenate([places, scores, squares]))


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    """(functions,) means and variances: first of the scores, then of their products."""

    mean: Vector
    variance: Vector


def fit_density_ratio(reference: ObservedRows, given_answer: bool = False) -> DensityRatio:
    """The reference's side, of rows with finite predictions; dates are left out: they tell any two sides apart.

    `given_answer` is for who compares rows of like answers only: then a shift of the answers alone needs no weights.
    """
    cells = _cells(reference)
    names = [column.name for column in _features(reference.columns)]
    kinds = [column.kind for column in _features(reference.columns)]
    answers = len(cells) - len(names)
    names += ["the answer"] * answers
    kinds += ["numeric"] * answers
    columns = tuple(_column(name, kind, values) for name, kind, values in zip(names, kinds, cells, strict=True))
    scores = _stack_scores(columns, cells)
    centre, scale = scores.mean(axis=0), scores.std(axis=0)
    scale[scale == 0] = 1.0
    z = (scores - centre) / scale
    left = slice(None) if z.shape[1] <= _MOST_FOR_ALL_PRODUCTS else slice(z.shape[1] - answers, None)
    first_answer = z.shape[1] - answers if given_answer else z.shape[1]
    first, second = _pairs(z.shape[1], left)
    counts = np.concatenate([np.arange(z.shape[1]), np.minimum(first, second)]) < first_answer
    return DensityRatio(columns, centre, scale, z, left, _moments(z, left), counts)


def balancing_weights(functions: Matrix64, target: Vector) -> Vector:
    """(rows,) weights of mean 1, exponential in the functions (rows, functions), under which their means are `target`.

    By Newton's method on the convex dual; a small ridge bounds it where no weights reach the target.
    """
    theta = np.zeros(len(target))
    value = _dual(functions, target, theta)
    for _ in range(_STEPS):
        weights = _exponential(functions @ theta)
        mean = weights @ functions
        gradient = mean - target + _RIDGE * theta
        if np.abs(gradient).max() < _CLOSE:
            break
        hessian = (functions * weights[:, None]).T @ functions - np.outer(mean, mean) + _RIDGE * np.eye(len(target))
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while length > _CLOSE:
            tried = _dual(functions, target, theta - length * step)
            if tried <= value - _CLOSE * length * (gradient @ step):
                break
            length /= 2
        theta, value = theta - length * step, _dual(functions, target, theta - length * step)
    return _exponential(functions @ theta) * len(functions)


def _dual(functions: Matrix64, target: Vector, theta: Vector) -> float:
    return float(logsumexp(functions @ theta) - target @ theta + _RIDGE / 2 * theta @ theta)


def _exponential(log: Vector) -> Vector:
    weights = np.exp(log - log.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _features(columns: tuple[ObservedColumn, ...]) -> list[ObservedColumn]:
    return [column for column in columns if column.kind != "datetime"]


def _cells(observed: ObservedRows) -> list[Vector]:
    """Each feature that is no date, then each column of the answers, (rows,), infinite values as missing."""
    places = [place for place, column in enumerate(observed.columns) if column.kind != "datetime"]
    answers: Prediction = observed.prediction.reshape(len(observed), -1)
    cells = [*(observed.x[:, place].astype(np.float64) for place in places), *answers.T]
    return [np.where(np.isfinite(values), values, np.nan) for values in cells]


def _column(name: str, kind: str, cells: Vector) -> _Column:
    present = np.sort(cells[~np.isnan(cells)])
    has_missing = len(present) < len(cells)
    if kind != "categorical":
        return _Column(name, present, None, has_missing)
    categories, counts = np.unique(present, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES]
    return _Column(name, categories, categories[frequent[counts[frequent] >= _RAREST * len(cells)]], has_missing)


def _stack_scores(columns: tuple[_Column, ...], cells: list[Vector]) -> Matrix64:
    return np.column_stack(
        [scores for one, values in zip(columns, cells, strict=True) for scores in one.scores(values)]
    )


def _moments(z: Matrix64, left: slice) -> _Moments:
    products, squares = z[:, left].T @ z / len(z), np.square(z[:, left]).T @ np.square(z) / len(z)
    first, second = _pairs(z.shape[1], left)
    first = first - np.arange(z.shape[1])[left][0]
    mean = products[first, second]
    return _Moments(
        np.concatenate([z.mean(axis=0), mean]),
        np.concatenate([z.var(axis=0), squares[first, second] - np.square(mean)]),
    )


def _pairs(scores: int, left: slice) -> tuple[Rows, Rows]:
    """The places of the two scores of each product."""
    of_left = np.arange(scores)[left]
    first, second = np.meshgrid(of_left, np.arange(scores), indexing="ij")
    is_first_time = (second >= first) | (second < of_left[0])
    return first[is_first_time], second[is_first_time]


def _functions(z: Matrix64, left: slice, places: Rows) -> Matrix64:
    first, second = _pairs(z.shape[1], left)
    scores = z.shape[1]
    of_products = places[places >= scores] - scores
    functions = np.empty((len(z), len(places)))
    functions[:, places < scores] = z[:, places[places < scores]]
    functions[:, places >= scores] = z[:, first[of_products]] * z[:, second[of_products]]
    return functions
