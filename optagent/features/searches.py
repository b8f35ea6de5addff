"""The searches of one proposal: one on all rows, whose features are proposed, and one within each fold's training rows,
whose features judge what such a search is worth on rows that it never saw."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest

import numpy as np
import numpy.typing as npt

from optagent.arrays import Rows
from optagent.errors import Infeasible
from optagent.features.generate import CandidateInputs, candidates, free_of_clashes, most_promising
from optagent.features.refits import PlainFits, inner_folds
from optagent.features.residual import Residual, components_of, residual_of
from optagent.features.screening_statistics import Block, ScreeningTarget
from optagent.training.plan import Step
from optagent.training.problem import Data, Fold, Problem

FEWEST_ROWS = 150
"""A residual of fewer rows shows nothing that chance does not."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSearch:
    """Where features are looked for.

    `fold` is the position of the fold that judges, None for the search on all rows. Its rows are those `asked`, each in
    one of `parts` (folds). `left` (rows, components) is what the current model leaves of the target there, `target` the
    target itself; `importances` (fits, columns) are those of the plain columns.
    """

    fold: int | None
    inner: tuple[Fold, ...]
    left: Residual
    target: Residual
    asked: npt.NDArray[np.bool_]
    parts: npt.NDArray[np.int64]
    importances: npt.NDArray[np.float64]


def questions_of(searches: Sequence[FeatureSearch], rows: Rows) -> list[ScreeningTarget]:
    """On some rows: what the current model lacks, of each search, and then what the target is, of each search.

    A feature may help a model that lacks nothing by saying at once what many splits say together, so both are asked.
    """
    residuals = [(search, search.left) for search in searches] + [(search, search.target) for search in searches]
    return [ScreeningTarget(residual[rows], search.asked[rows], search.parts[rows]) for search, residual in residuals]


def search_in(problem: Problem, fits: PlainFits, fold: int | None) -> FeatureSearch | None:
    """The search for one fold, or on all rows; None where too few rows can be predicted out of fold."""
    data = problem.data
    inner = inner_folds(problem, None if fold is None else problem.folds[fold].train)
    prediction: Residual | None = None
    parts = np.zeros(len(data), dtype=np.int64)
    importances, feasible = [], []
    for number, each in enumerate(inner, 1):
        try:
            said, worth = fits.trained_on(each.train)
        except Infeasible:
            continue
        prediction = np.full(said.shape, np.nan) if prediction is None else prediction
        prediction[each.valid], parts[each.valid] = said[each.valid], number
        importances.append(worth)
        feasible.append(each)
    asked = parts > 0
    if prediction is None or asked.sum() < FEWEST_ROWS:
        return None
    left, target = np.zeros((2, len(data), components_of(data.task, data.n_classes)))
    left[asked] = residual_of(data.y[asked], prediction[asked], data.task)
    target[asked] = residual_of(data.y[asked], np.zeros_like(prediction[asked]), data.task)
    return FeatureSearch(fold, tuple(feasible), left, target, asked, parts, np.array(importances))


def looked_at(searches: Sequence[FeatureSearch], most: int) -> Rows:
    """Rows on which candidates are screened, evenly spaced among those that any search asks about."""
    rows = np.flatnonzero(np.any([search.asked for search in searches], axis=0))
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]


def some_rows(data: Data, rows: Rows) -> Data:
    """These rows alone."""
    weight = None if data.weight is None else data.weight[rows]
    return replace(data, x=data.x[rows], y=data.y[rows], weight=weight)


def some_columns(data: Data, names: Collection[str]) -> Data:
    """These columns alone, in the order of the data."""
    kept = [index for index, name in enumerate(data.names) if name in names]
    codes = [(place, data.categorical.index(index)) for place, index in enumerate(kept) if index in data.categorical]
    return replace(
        data,
        x=np.ascontiguousarray(data.x[:, kept]),
        names=tuple(data.names[index] for index in kept),
        categorical=tuple(place for place, _ in codes),
        levels=tuple(data.levels[at] for _, at in codes),
    )


def blocks_of(
    searches: Sequence[FeatureSearch], inputs: CandidateInputs, most: int, size: int, flexible: bool
) -> list[Block]:
    """The candidates of all searches, each search's own `most`, by what its own rows say of the columns."""
    lists = []
    for search in searches:
        order = most_promising(inputs.names, search.importances.mean(axis=0))
        all_of_them = free_of_clashes(candidates(inputs, order, flexible), frozenset(inputs.names))
        lists.append(list(islice(all_of_them, most)))
    own = [frozenset(steps) for steps in lists] * 2  # for both questions of a search
    together: dict[Step, None] = {}
    for tier in zip_longest(*lists):
        together.update(dict.fromkeys(step for step in tier if step is not None))
    steps = list(together)
    found = []
    for start in range(0, len(steps), size):
        block = tuple(steps[start : start + size])
        found.append(Block(block, np.array([[step in each for each in own] for step in block])))
    return found


def plain_numbers(data: Data) -> npt.NDArray[np.float32]:
    """(columns, rows) of the columns that are no codes: those that have ranks of their own."""
    numbers = [index for index in range(len(data.names)) if index not in data.categorical]
    return np.ascontiguousarray(data.x[:, numbers].T)
