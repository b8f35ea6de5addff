"""Feature searches of one proposal: one on all rows, whose features are proposed, and one within each fold's training
rows, whose features test such a search on rows that it never saw."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest

import numpy as np
import numpy.typing as npt

from optagent.arrays import Rows
from optagent.errors import Infeasible
from optagent.features.generate import CandidateInputs, candidates, most_promising, without_name_clashes
from optagent.features.refits import PlainFits, inner_folds
from optagent.features.residual import Residual, components_of, residual_of
from optagent.features.screening_statistics import Block, ScreeningTarget
from optagent.training.problem import Data, Fold, Problem
from optagent.training.steps import Step

FEWEST_ROWS = 150
"""With fewer rows, a residual shows nothing beyond chance."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSearch:
    """The rows and residuals in which features are searched for.

    `fold` is the position of the fold that tests the search, None for the search on all rows. The rows of the search
    are those `asked`, each in one of `parts` (folds). `left` (rows, components) is the residual of the current model
    there, `target` the target itself; `importances` (fits, columns) are those of the plain columns.
    """

    fold: int | None
    inner: tuple[Fold, ...]
    left: Residual
    target: Residual
    asked: npt.NDArray[np.bool_]
    parts: npt.NDArray[np.int64]
    importances: npt.NDArray[np.float64]


def screening_targets(searches: Sequence[FeatureSearch], rows: Rows) -> list[ScreeningTarget]:
    """The questions on some rows: for each search the residual of the current model, then for each search the target
    itself.

    A feature may help a model that leaves no residual by expressing at once what many splits express together, so both
    are screened.
    """
    residuals = [(search, search.left) for search in searches] + [(search, search.target) for search in searches]
    return [ScreeningTarget(residual[rows], search.asked[rows], search.parts[rows]) for search, residual in residuals]


def prepare_search(problem: Problem, fits: PlainFits, fold: int | None) -> FeatureSearch | None:
    """The search for one fold, or on all rows; None where too few rows can be predicted out of fold."""
    data = problem.data
    folds = inner_folds(problem, None if fold is None else problem.folds[fold].train)
    prediction: Residual | None = None
    parts = np.zeros(len(data), dtype=np.int64)
    importances, feasible = [], []
    for number, inner_fold in enumerate(folds, 1):
        try:
            fold_prediction, fold_importances = fits.train_on(inner_fold.train)
        except Infeasible:
            continue
        prediction = np.full(fold_prediction.shape, np.nan) if prediction is None else prediction
        prediction[inner_fold.valid], parts[inner_fold.valid] = fold_prediction[inner_fold.valid], number
        importances.append(fold_importances)
        feasible.append(inner_fold)
    predicted = parts > 0
    if prediction is None or predicted.sum() < FEWEST_ROWS:
        return None
    residual, target = np.zeros((2, len(data), components_of(data.task, data.n_classes)))
    residual[predicted] = residual_of(data.y[predicted], prediction[predicted], data.task)
    target[predicted] = residual_of(data.y[predicted], np.zeros_like(prediction[predicted]), data.task)
    return FeatureSearch(fold, tuple(feasible), residual, target, predicted, parts, np.array(importances))


def screening_sample(searches: Sequence[FeatureSearch], most: int) -> Rows:
    """Rows on which candidates are screened, evenly spaced among those of any search."""
    rows = np.flatnonzero(np.any([search.asked for search in searches], axis=0))
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]


def select_rows(data: Data, rows: Rows) -> Data:
    """The data of these rows alone."""
    weight = None if data.weight is None else data.weight[rows]
    parts = None if data.parts is None else data.parts.select_rows(rows)
    return replace(data, x=data.x[rows], y=data.y[rows], weight=weight, parts=parts)


def select_columns(data: Data, names: Collection[str]) -> Data:
    """The data of these columns alone, in the order of the data."""
    positions = [index for index, name in enumerate(data.names) if name in names]
    codes = [
        (place, data.categorical.index(index)) for place, index in enumerate(positions) if index in data.categorical
    ]
    return replace(
        data,
        x=np.ascontiguousarray(data.x[:, positions]),
        names=tuple(data.names[index] for index in positions),
        categorical=tuple(place for place, _ in codes),
        levels=tuple(data.levels[at] for _, at in codes),
    )


def candidate_blocks(
    searches: Sequence[FeatureSearch], inputs: CandidateInputs, most: int, size: int, flexible: bool
) -> list[Block]:
    """The candidates of all searches in blocks: `most` of each search, ordered by the importances on its own rows."""
    candidates_of_searches = []
    for search in searches:
        order = most_promising(inputs.names, search.importances.mean(axis=0))
        unique = without_name_clashes(candidates(inputs, order, flexible), frozenset(inputs.names))
        candidates_of_searches.append(list(islice(unique, most)))
    admitted_steps = [frozenset(steps) for steps in candidates_of_searches] * 2  # for both questions of a search
    merged: dict[Step, None] = {}
    for tier in zip_longest(*candidates_of_searches):
        merged.update(dict.fromkeys(step for step in tier if step is not None))
    steps = list(merged)
    blocks = []
    for start in range(0, len(steps), size):
        block = tuple(steps[start : start + size])
        blocks.append(Block(block, np.array([[step in each for each in admitted_steps] for step in block])))
    return blocks


def numeric_columns(data: Data) -> npt.NDArray[np.float32]:
    """(columns, rows) of the columns that are no codes: those that have ranks of their own."""
    positions = [index for index in range(len(data.names)) if index not in data.categorical]
    return np.ascontiguousarray(data.x[:, positions].T)
