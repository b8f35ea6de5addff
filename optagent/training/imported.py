"""Imported models: checks of the columns, the classes and the parity of a model that was trained elsewhere."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from optagent.arrays import Prediction
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of
from optagent.training.encoding import FeatureColumn, Schema
from optagent.training.families.family import FittedModel
from optagent.training.target import Label

TOLERANCE = 1e-6
_ROUNDED_ROWS = 0.01
_DEFAULT_NAME = re.compile(r"(Column_|f|x)\d+")


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A converted model, and its source's predictions for the same rows.

    `reference` is the source's prediction for the rows as they are, `rounded` for the rows as 32-bit floats, which a
    bundle's model gets. `source` describes the origin of the model.
    """

    family: str
    model: FittedModel
    schema: Schema
    params: Mapping[str, Any]
    rounds: int
    reference: Prediction
    rounded: Prediction
    source: Mapping[str, Any] = field(default_factory=dict)


def usable_columns(table: pa.Table, spec: ModelSpec) -> tuple[dict[str, Kind], dict[str, str]]:
    """The columns that an imported model may read, and the reason for each column that it may not read."""
    usable: dict[str, Kind] = {}
    refused: dict[str, str] = {}
    for name in table.schema.names:
        kind = kind_of(table.schema.field(name).type)
        if name == spec.target:
            refused[name] = "it is the target"
        elif name == spec.entity and name not in spec.features:
            refused[name] = "it is the entity"
        elif name in spec.sensitive_columns:
            refused[name] = "it is a sensitive column"
        elif name in spec.ignore or (spec.features and name not in spec.features):
            refused[name] = "it is not among the model's features"
        elif kind in (Kind.NUMERIC, Kind.BOOLEAN):
            usable[name] = kind
        else:
            refused[name] = f"it is of type {table.schema.field(name).type}; an imported model reads numbers only"
    return usable, refused


def name_features(
    own: Sequence[str] | None, count: int, signature: Sequence[str] | None, listed: Sequence[str]
) -> tuple[str, ...]:
    """The features in the model's order: by the names that it holds, or else by its signature, or else as listed.

    LightGBM writes `_` for a blank in a name.
    """
    if own is None or all(_DEFAULT_NAME.fullmatch(name) for name in own):
        own = None
    if own is not None and signature is not None and list(own) != list(signature):
        if [name.replace(" ", "_") for name in signature] == list(own):
            return tuple(signature)
        if sorted(own) == sorted(signature):
            raise InvalidData(f"features: the model has the order {list(own)}, its signature {list(signature)}")
    for names, origin in ((own, "model"), (signature, "signature"), (listed or None, "features of model.yaml")):
        if names is not None:
            if len(names) != count:
                raise InvalidData(f"features: the model reads {count} columns, its {origin} names {len(names)}")
            return tuple(names)
    raise InvalidData(f"features: the model names none of its {count}; list them in model.yaml in the model's order")


def imported_schema(
    features: Sequence[str], usable: Mapping[str, Kind], refused: Mapping[str, str], target: Schema
) -> Schema:
    """The schema of the features; InvalidData lists those that are missing or cannot be read."""
    missing = [name for name in features if name not in usable and name not in refused]
    if missing:
        raise InvalidData(f"features: the data lacks {missing}, which the model reads; the columns are {list(usable)}")
    for name in features:
        if name in refused:
            raise InvalidData(f"features: the model reads {name!r}, but {refused[name]}")
    columns = tuple(FeatureColumn(name, usable[name]) for name in features)
    return Schema(columns=columns, target=target.target, task=target.task, classes=target.classes)


def class_order(labels: Sequence[Any] | None, count: int, classes: Sequence[Label]) -> tuple[int, ...]:
    """The position of each of our classes among the model's.

    A model without labels numbers its classes 0 … k-1. The numbers are the labels if the target holds them; otherwise
    the model is assumed to have our order.
    """
    if count != len(classes):
        raise InvalidData(f"the model tells {count} classes apart, the target holds {list(classes)}")
    ours = [_label_key(label) for label in classes]
    if labels is None:
        labels = range(count) if sorted(map(str, ours)) == sorted(map(str, range(count))) else ours
    theirs = [_label_key(label) for label in labels]
    if sorted(map(repr, ours)) != sorted(map(repr, theirs)):
        raise InvalidData(f"the model tells {list(labels)} apart, the target holds {list(classes)}")
    return tuple(theirs.index(key) for key in ours)


def reorder_classes(prediction: Prediction, order: Sequence[int], task: Task) -> Prediction:
    """A source's prediction in our order of classes."""
    if task is Task.BINARY:
        return prediction if tuple(order) == (0, 1) else 1.0 - prediction
    return prediction if task is Task.REGRESSION else prediction[:, list(order)]


def check_parity(prediction: Prediction, imported: ConvertedModel) -> dict[str, float]:
    """The distance of the converted model from its source; raises InvalidData where the two disagree.

    On the same 32-bit values they must agree within 1e-6 on every row (of the largest value, for a regression). A
    split that falls between a value and its 32-bit rounding moves a row: one row in a hundred may be moved.
    """
    scale = max(1.0, float(np.abs(imported.rounded).max(initial=0.0)))
    if prediction.shape != imported.rounded.shape:
        raise InvalidData(f"the model predicts shape {prediction.shape}, its source {imported.rounded.shape}")
    difference = float(np.abs(prediction - imported.rounded).max(initial=0.0))
    if not difference <= TOLERANCE * scale:
        raise InvalidData(
            f"the converted model differs from its source by up to {difference:.3g}, {TOLERANCE} is allowed"
        )
    differences = np.abs(prediction - imported.reference).reshape(len(prediction), -1).max(axis=1, initial=0.0)
    moved_share = float(np.mean(~(differences <= TOLERANCE * scale)))  # NaN counts as moved
    if not moved_share <= _ROUNDED_ROWS:
        raise InvalidData(
            f"as 32-bit floats, which optagent feeds its models, {moved_share:.1%} of the rows get another prediction;"
            " scale the columns with large values"
        )
    return {"parity_max_abs_difference": difference, "rows_moved_by_rounding": moved_share}


def _label_key(label: Any) -> str | int:
    if isinstance(label, str):
        return label
    if int(label) != label:
        raise InvalidData(f"the model's class {label!r} is neither a text nor a whole number")
    return int(label)
