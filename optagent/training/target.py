"""Target column: its classes in order, and its labels as class indexes or numbers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.arrays import Vector
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of

Label = bool | int | str
MAX_CLASSES = 1000
_ANOTHER = "; give more rows, or another target (optagent init ID ROWS --target COLUMN)"


def learn_classes(values: pa.ChunkedArray, spec: ModelSpec) -> tuple[Label, ...]:
    """The classes in sorted order, the positive one last; empty for a regression.

    Raises InvalidData for a target that cannot be learned: it holds nulls only or one value only, has too many classes,
    or a type that does not fit the task.
    """
    name, task = spec.target, spec.task
    target = _typed_target(values, name, task)
    present = target.filter(pc.is_valid(target))
    if not len(present):
        raise InvalidData(f"target {name!r}: no row has a value{_ANOTHER}")
    if not task.classifies:
        if pc.min_max(present)["min"] == pc.min_max(present)["max"]:
            raise InvalidData(f"target {name!r}: every row has the same value{_ANOTHER}")
        return ()
    classes: list[Label] = sorted(pc.unique(present).to_pylist())
    if len(classes) == 1:
        raise InvalidData(
            f"target {name!r}: every row is of the class {classes[0]!r}, a model needs rows of two at least{_ANOTHER}"
        )
    if len(classes) > MAX_CLASSES:
        raise InvalidData(f"target {name!r}: {len(classes):,} classes, the limit is {MAX_CLASSES}; is it a regression?")
    if task is Task.BINARY and len(classes) > 2:
        raise InvalidData(f"target {name!r}: {len(classes)} classes for a binary model; is it multiclass?")
    return tuple(_positive_last(classes, spec))


def encode_labels(
    values: pa.ChunkedArray, name: str, task: Task, classes: Sequence[Label]
) -> tuple[Vector, npt.NDArray[np.bool_]]:
    """Class indexes or numbers of the rows that have a target, and the mask of those rows."""
    target = _typed_target(values, name, task)
    has_target = pc.is_valid(target).to_numpy()
    present = target.filter(pc.is_valid(target))
    if not task.classifies:
        return np.ascontiguousarray(present.to_numpy(), dtype=np.float64), has_target
    try:
        class_values = pa.array(classes).cast(present.type)
    except pa.ArrowInvalid:
        raise InvalidData(f"target {name!r}: type {values.type}, the classes are {list(classes)[:10]}") from None
    indexes = pc.index_in(present, value_set=class_values)
    if indexes.null_count:
        raise InvalidData(
            f"target {name!r}: {indexes.null_count} rows of unknown classes; the classes are {list(classes)[:10]}"
        )
    return indexes.to_numpy().astype(np.float64), has_target


def _positive_last(classes: list[Label], spec: ModelSpec) -> list[Label]:
    if spec.positive_class is None:
        return classes
    for label in classes:
        if str(label).lower() == spec.positive_class.lower():
            return [other for other in classes if other != label] + [label]
    raise InvalidData(f"positive_class {spec.positive_class!r} is not a class of {spec.target!r}; those are {classes}")


def _typed_target(values: pa.ChunkedArray, name: str, task: Task) -> pa.ChunkedArray:
    """The target as float64 for regressions, as boolean, int64 or text for classifiers; NaN becomes null."""
    if pt.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    kind = kind_of(values.type)
    if kind is Kind.NUMERIC and not pt.is_integer(values.type):
        values = pc.cast(values, pa.float64(), safe=False)
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
        if pc.any(pc.is_inf(values)).as_py():
            row = pc.index(pc.is_inf(values), True).as_py()
            raise InvalidData(f"target {name!r}: infinite value in row {row}")
    if not task.classifies:
        if kind is not Kind.NUMERIC:
            raise InvalidData(f"target {name!r}: a regression needs numbers, the column is of type {values.type}")
        return pc.cast(values, pa.float64(), safe=False)
    if kind is Kind.NUMERIC:
        return _whole_numbers(values, name)
    if kind in (Kind.BOOLEAN, Kind.CATEGORICAL):
        return values if kind is Kind.BOOLEAN else pc.cast(values, pa.large_string())
    raise InvalidData(f"target {name!r}: type {values.type} cannot be a class")


def _whole_numbers(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    try:
        return pc.cast(values, pa.int64())
    except pa.ArrowInvalid:
        raise InvalidData(
            f"target {name!r}: classes are whole numbers, texts or booleans, the column holds fractions;"
            " is it a regression?"
        ) from None
