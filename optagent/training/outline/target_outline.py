"""Target outline: the task of a model, from the values of its target."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of
from optagent.training.outline.model_outline import TargetOutline
from optagent.training.target import MAX_CLASSES, learn_classes

MOST_NUMBERS = 20
"""Different whole numbers that still look like classes; more look like amounts."""

_RARE = 0.1
_SHOWN = 10


def outline_target(values: pa.ChunkedArray, name: str) -> TargetOutline:
    """The task and its classes; raises InvalidData for a target that cannot be learned."""
    if pt.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    kind = kind_of(values.type)
    if kind is None or kind is Kind.DATETIME:
        raise InvalidData(
            f"target {name!r}: type {values.type} is neither a class nor a number; name another column by --target"
        )
    present = _present(values, kind)
    if not len(present):
        raise InvalidData(f"target {name!r}: no row has a value; name another column by --target")
    distinct = len(pc.unique(present))
    if distinct == 1:
        value = present[0].as_py()
        raise InvalidData(
            f"target {name!r}: every row is of the class {value!r}, a model needs rows of two at least;"
            " name another column by --target, or a file with more rows"
        )
    task, reason = _task(present, kind, distinct, name)
    missing = len(values) - len(present)
    notes = [f"{missing:,} of {len(values):,} rows have no target and are left out"] if missing else []
    if not task.classifies:
        return TargetOutline(name, task, reason, notes=tuple(notes))
    classes = learn_classes(values, ModelSpec("outline", task, FileSource("outline"), name))
    return TargetOutline(
        name, task, reason, tuple(map(str, classes)), (*notes, *_class_notes(present, task, tuple(classes)))
    )


def _present(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    values = values.drop_null()
    if kind is Kind.NUMERIC and pt.is_floating(values.type):
        return values.filter(pc.invert(pc.is_nan(values)))
    return values


def _task(present: pa.ChunkedArray, kind: Kind, distinct: int, name: str) -> tuple[Task, str]:
    if kind is Kind.NUMERIC and not _are_whole(present):
        return Task.REGRESSION, f"the target holds fractions, {distinct:,} different ones"
    if distinct == 2:
        return Task.BINARY, "the target has two values"
    if kind is Kind.NUMERIC:
        if distinct > MOST_NUMBERS:
            return Task.REGRESSION, f"the target holds {distinct:,} different whole numbers"
        return Task.MULTICLASS, f"the target holds {distinct} whole numbers; write regression where they are amounts"
    if distinct > MAX_CLASSES or distinct > len(present) / 2:
        raise InvalidData(
            f"target {name!r}: {distinct:,} different texts on {len(present):,} rows are no classes;"
            " name another column by --target"
        )
    return Task.MULTICLASS, f"the target has {distinct} values"


def _are_whole(present: pa.ChunkedArray) -> bool:
    if not pt.is_floating(present.type) and not pt.is_decimal(present.type):
        return True
    try:
        pc.cast(present, pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _class_notes(present: pa.ChunkedArray, task: Task, classes: tuple[object, ...]) -> list[str]:
    counts = {str(item["values"]): item["counts"] for item in pc.value_counts(present).to_pylist()}
    shares = sorted(((count / len(present), label) for label, count in counts.items()), reverse=True)
    listing = ", ".join(f"{label} {share:.1%}" for share, label in shares[:_SHOWN])
    notes = [f"rows by class: {listing}{' …' if len(shares) > _SHOWN else ''}"]
    if task is Task.BINARY:
        notes.append(f"the positive class is {classes[-1]}, the last in order: for the other, write positive_class")
    if shares[-1][0] < _RARE:
        notes.append(f"{shares[-1][1]} is rare: class_weight: balanced makes all classes weigh the same")
    return notes
