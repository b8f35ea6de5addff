"""Split of rows for ensemble selection: rows to learn weights from, rows to pick a search on, rows for the verdict."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.arrays import Codes, Rows, Vector
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


def split_rows(spec: ModelSpec, y: Vector, time: Vector | None, seed: int = 0, entity: Codes | None = None) -> RowSplit:
    """The split made like the model's own holdout and folds; raises InvalidData where a part would be too small."""
    outer = split(time, y, spec, seed=seed, entity=entity)
    learn = outer.dev
    inner_spec = replace(spec, holdout_fraction=PICK_SHARE)
    learn_time, learn_entity = _part_of(time, learn), _part_of(entity, learn)
    inner = split(learn_time, y[learn], inner_spec, seed=seed + 1, entity=learn_entity)
    fit, pick = learn[inner.dev], learn[inner.holdout]
    fit_folds, learn_folds = (
        make_folds(
            *(_part_of(time, rows), y[rows], spec, np.arange(len(rows))), seed=seed, entity=_part_of(entity, rows)
        )
        for rows in (fit, learn)
    )
    return RowSplit(fit, pick, outer.holdout, learn, fit_folds, learn_folds)


def _part_of(values: npt.NDArray[Any] | None, rows: Rows) -> npt.NDArray[Any] | None:
    return None if values is None else values[rows]
