"""Holdout split and cross-validation folds: the rows that a search learns from, is scored on, and is judged on at last.

Rows in time order are split walk-forward: the holdout is the newest share, each fold trains on everything before its
validation rows, and a training row is purged where its label window (t, t + horizon] reaches into the rows that it
would be judged on, since two labels that overlap in time share what they know (López de Prado 2018, Advances in
Financial Machine Learning, ch. 7). Nothing is trained on rows that come after those that judge. Cuts lie between
distinct times, so that rows of one instant, such as the stocks of one day, are never on both sides. Rows without an
order are split at random, by class for classifiers. Rows of one entity are never on both sides either, see `entities`.
A scheme of `combinatorial_folds` trains on later rows as well, but for the holdout's.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from optagent.arrays import Codes, Rows, Vector
from optagent.domain.fold_scheme import FoldScheme
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData
from optagent.training.combinatorial_folds import combinatorial_folds, group_bounds
from optagent.training.entities import entity_folds, holdout_of_entities, without_entities
from optagent.training.problem import Fold

MIN_HOLDOUT_ROWS = 10
"""Fewer rows than these prove nothing, however wide the interval is that they give."""

_EVERY_ENTITY_RECURS = "where the same entities come again and again, name no `entity`: time alone parts the rows then"


@dataclass(frozen=True, slots=True)
class Split:
    """Rows for the search and rows for the verdict, in time order where there is one, ascending otherwise."""

    dev: Rows
    holdout: Rows
    notes: tuple[str, ...] = ()


def split(
    time: Vector | None, y: Vector, spec: ModelSpec, *, seed: int = 0, least: int = 0, entity: Codes | None = None
) -> Split:
    """Sets the holdout apart: the newest `holdout_fraction` of the rows, and at least `least` rows, or a random share
    of rows without an order. `entity` (rows,) numbers the entities.

    Raises InvalidData where a part would be too small, or of one class.
    """
    _check_lengths(time, y)
    if len(y) < spec.fold_parts + 2:
        raise InvalidData(f"{len(y)} rows are too few for {spec.fold_parts} folds and a holdout")
    wanted = round(len(y) * spec.holdout_fraction)
    if wanted < MIN_HOLDOUT_ROWS:
        raise InvalidData(
            f"a holdout of {wanted} rows ({spec.holdout_fraction:g} of {len(y)}) is too small: at least"
            f" {MIN_HOLDOUT_ROWS} are needed"
        )
    if time is None:
        return _random_split(y, spec, seed, entity)
    order = np.argsort(time, kind="stable")
    wanted = max(wanted, least)
    (cut,) = _cuts(time[order], [len(y) - wanted], "a holdout")
    before, holdout = order[:cut], order[cut:]
    matured = before[time[before] + spec.horizon < time[holdout[0]]] if spec.horizon else before
    if not len(matured):
        raise InvalidData(f"no row is left before the holdout after purging a label horizon of {spec.label_horizon}")
    dev = without_entities(matured, holdout, entity)
    if not len(dev):
        raise InvalidData(f"{_EVERY_ENTITY_RECURS}: all {len(matured)} rows before the holdout are of its entities")
    _check_classes(y, holdout, spec, "the holdout", "a larger holdout_fraction")
    notes = [f"{cut - len(matured)} rows purged before the holdout (label horizon)"] if cut > len(matured) else []
    if len(dev) < len(matured):
        notes.append(f"{len(matured) - len(dev)} of {len(matured)} rows left out: their entity is in the holdout too")
    if not 0.5 <= len(holdout) / wanted <= 1.5:
        notes.append(f"the holdout has {len(holdout)} rows instead of {wanted}: rows of one time stay together")
    return Split(dev, holdout, tuple(notes))


def make_folds(
    time: Vector | None, y: Vector, spec: ModelSpec, rows: Rows, *, seed: int = 0, entity: Codes | None = None
) -> tuple[Fold, ...]:
    """The folds on `rows` (positions in `time`, `y` and `entity`), walk-forward where there is a time.

    Raises InvalidData, naming the fold, for one that would have no training row or a single class.
    """
    _check_lengths(time, y)
    if len(rows) < spec.fold_parts + 1:
        raise InvalidData(f"{len(rows)} rows are too few for {spec.fold_parts} folds")
    if isinstance(spec.folds, FoldScheme):
        folds = _combinatorial(time, spec, spec.folds, rows, entity)
    elif time is None:
        folds = _random_folds(y, spec, spec.folds, rows, seed, entity)
    else:
        wanted = [round(len(rows) * number / (spec.folds + 1)) for number in range(1, spec.folds + 1)]
        folds = _walk_forward(time, spec, rows, wanted, entity)
    for number, fold in enumerate(folds, 1):
        name = f"fold {number} of {len(folds)}"
        if not len(fold.train) and entity is not None:
            raise InvalidData(f"{name}: no training row is left. {_EVERY_ENTITY_RECURS}, or use fewer folds")
        if not len(fold.train):
            raise InvalidData(f"{name}: no training row is left after purging {_purge_text(spec)}; use fewer folds")
        _check_classes(y, fold.train, spec, f"{name} (training rows)", "fewer folds")
        _check_classes(y, fold.valid, spec, f"{name} (validation rows)", "fewer folds")
    return folds


def newest_folds(
    time: Vector, spec: ModelSpec, rows: Rows, count: int, size: int, entity: Codes | None = None
) -> tuple[Fold, ...]:
    """Walk-forward folds, `count` of them, whose validation rows together are the newest `size` of `rows`.

    Raises InvalidData where there are too few distinct times.
    """
    wanted = [len(rows) - size + round(size * number / count) for number in range(count)]
    return _walk_forward(time, spec, rows, wanted, entity)


def _walk_forward(
    time: Vector, spec: ModelSpec, rows: Rows, wanted: list[int], entity: Codes | None
) -> tuple[Fold, ...]:
    """Folds whose validation rows begin near the `wanted` places in the order of time."""
    order = rows[np.argsort(time[rows], kind="stable")]
    when = time[order]
    cuts = [*_cuts(when, wanted, f"{len(wanted)} folds"), len(order)]
    gap = spec.horizon
    folds = []
    for start, end in pairwise(cuts):
        train = order[:start][when[:start] + gap < when[start]] if gap else order[:start]
        folds.append(Fold(train=without_entities(train, order[start:end], entity), valid=order[start:end]))
    return tuple(folds)


def _combinatorial(
    time: Vector | None, spec: ModelSpec, scheme: FoldScheme, rows: Rows, entity: Codes | None
) -> tuple[Fold, ...]:
    if time is None:
        raise InvalidData(f"folds: {scheme.scheme} needs rows in time order")
    order = rows[np.argsort(time[rows], kind="stable")]
    when = time[order]
    cuts = [0, *_cuts(when, group_bounds(len(order), scheme.groups)[1:], f"{scheme.groups} groups")]
    return combinatorial_folds(order, when, cuts, scheme, spec.horizon, entity)


def _purge_text(spec: ModelSpec) -> str:
    horizon = f"a label horizon of {spec.label_horizon}"
    return f"{horizon} and an embargo of {spec.folds.embargo}" if isinstance(spec.folds, FoldScheme) else horizon


def _cuts(when: Vector, wanted: list[int], purpose: str) -> list[int]:
    """Positions where the sorted times change, ascending, each the nearest one left to the position wanted."""
    edges = np.flatnonzero(np.diff(when)) + 1
    if len(edges) < len(wanted):
        raise InvalidData(f"{len(edges) + 1} distinct times are too few for {purpose}")
    cuts: list[int] = []
    first = 0
    for number, position in enumerate(wanted):
        free = edges[first : len(edges) - (len(wanted) - number - 1)]
        nearest = int(np.argmin(np.abs(free - position)))
        cuts.append(int(free[nearest]))
        first += nearest + 1
    return cuts


def _random_split(y: Vector, spec: ModelSpec, seed: int, entity: Codes | None) -> Split:
    from sklearn.model_selection import train_test_split

    strata = _strata(y, 2) if spec.task.classifies else None
    if entity is None:
        dev, holdout = train_test_split(
            np.arange(len(y)), test_size=spec.holdout_fraction, random_state=seed, stratify=strata
        )
        dev, holdout = np.sort(dev), np.sort(holdout)
    else:
        dev, holdout = holdout_of_entities(strata, entity, spec.holdout_fraction, seed)
    _check_classes(y, holdout, spec, "the holdout", "a larger holdout_fraction")
    return Split(dev, holdout)


def _random_folds(
    y: Vector, spec: ModelSpec, count: int, rows: Rows, seed: int, entity: Codes | None
) -> tuple[Fold, ...]:
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if spec.task.classifies else KFold
    strata = _strata(y[rows], count) if spec.task.classifies else None
    if entity is None:
        splits = list(kind(count, shuffle=True, random_state=seed).split(rows, strata))
    else:
        splits = entity_folds(strata, entity[rows], count, seed)
    return tuple(Fold(train=rows[train], valid=rows[valid]) for train, valid in splits)


def _strata(y: Vector, least: int) -> npt.NDArray[np.int64]:
    """Classes to stratify by: those with fewer than `least` rows are spread at random, with the most frequent one."""
    classes = y.astype(np.int64)
    counts = np.bincount(classes)
    return np.where(counts[classes] < least, np.argmax(counts), classes)


def _check_lengths(time: Vector | None, y: Vector) -> None:
    if time is not None and len(time) != len(y):
        raise InvalidData(f"{len(time)} times for {len(y)} rows")


def _check_classes(y: Vector, rows: Rows, spec: ModelSpec, name: str, remedy: str) -> None:
    if spec.task.classifies and len(rows) and (y[rows] == y[rows[0]]).all():
        raise InvalidData(f"{name}: all {len(rows)} rows are of one class; use {remedy}")
