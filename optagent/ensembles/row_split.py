"""Split of rows for ensemble selection: rows to learn weights from, rows to pick a search on, rows for the verdict."""

from dataclasses import dataclass, replace

import numpy as np

from optagent.arrays import Rows, Vector
from optagent.domain.model import ModelSpec
from optagent.training.folds import make_folds, split
from optagent.training.problem import Fold

PICK_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class RowSplit:
    """Positions among the members' rows.

    `learn` is every row but those of the verdict: the picked search learns from it in the end; `fit` and `pick` are
    parts of it. Folds are positions within `fit`, or `learn`. In time order each part is newer than the one before it,
    and purged of rows whose label reaches into it.
    """

    fit: Rows
    pick: Rows
    verdict: Rows
    learn: Rows
    fit_folds: tuple[Fold, ...]
    learn_folds: tuple[Fold, ...]


def split_rows(spec: ModelSpec, y: Vector, time: Vector | None, seed: int = 0) -> RowSplit:
    """The split made like the model's own holdout and folds; raises InvalidData where a part would be too small."""
    outer = split(time, y, spec, seed=seed)
    learn = outer.dev
    inner_spec = replace(spec, holdout_fraction=PICK_SHARE)
    inner = split(_times_of(time, learn), y[learn], inner_spec, seed=seed + 1)
    fit, pick = learn[inner.dev], learn[inner.holdout]
    fit_folds, learn_folds = (
        make_folds(_times_of(time, rows), y[rows], spec, np.arange(len(rows)), seed=seed) for rows in (fit, learn)
    )
    return RowSplit(fit, pick, outer.holdout, learn, fit_folds, learn_folds)


def _times_of(time: Vector | None, rows: Rows) -> Vector | None:
    return None if time is None else time[rows]
