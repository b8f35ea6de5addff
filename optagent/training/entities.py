"""Entities of rows, such as customers or machines: rows of one entity stay together on one side of every split.

A model that has learned some rows of a customer knows the customer, and its score on the others says nothing of new
ones. Rows without an order are split by entity at random. In time order, a training row is left out where its entity is
among the rows that it would be judged on: for entities that come for a while and go, these are few.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from optagent.arrays import Codes, Rows
from optagent.domain.model import ModelSpec
from optagent.errors import InvalidData
from optagent.training.columns import Kind, kind_of, require_columns

_HOLDOUT_PARTS = 20  # of which the holdout takes some: the least holdout is a twentieth
_TOO_FULL = 1.25  # of the rows that the holdout is to have
_MOST_BALANCED = 2_000  # entities: balancing classes takes time for each, and of more it changes little


def entities_of(table: pa.Table, spec: ModelSpec) -> Codes | None:
    """(rows,) the number of each row's entity, None for a model that names none; a row without one stands alone."""
    if spec.entity is None:
        return None
    require_columns([spec.entity], table.schema.names, "entity")
    values = table.column(spec.entity)
    if kind_of(values.type) is None:
        raise InvalidData(f"entity {spec.entity!r}: type {values.type} names nothing")
    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    if kind_of(values.type) is Kind.NUMERIC and pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    codes = pc.dictionary_encode(values).unify_dictionaries().combine_chunks().indices
    nameless = np.asarray(codes.is_null())
    entity = np.array(codes.fill_null(0), dtype=np.int64)
    entity[nameless] = entity.max(initial=-1) + 1 + np.arange(nameless.sum())
    return entity


def without_entities(rows: Rows, judged: Rows, entity: Codes | None) -> Rows:
    """The rows whose entity is not among those of the judged rows."""
    return rows if entity is None else rows[~np.isin(entity[rows], entity[judged])]


def holdout_of_entities(
    strata: npt.NDArray[np.int64] | None, entity: Codes, fraction: float, seed: int
) -> tuple[Rows, Rows]:
    """Development and holdout rows: whole entities at random, near `fraction` of the rows for the holdout."""
    wanted = fraction * len(entity)
    parts = min(_HOLDOUT_PARTS, int(entity.max()) + 1)
    judged = np.zeros(len(entity), dtype=np.bool_)
    for _, valid in entity_folds(strata, entity, parts, seed):
        if judged.sum() < wanted and judged.sum() + len(valid) <= _TOO_FULL * wanted:
            judged[valid] = True
    if not judged.any():
        raise InvalidData(f"entity: no holdout of {wanted:.0f} rows can be made of whole entities, there are {parts}")
    return np.flatnonzero(~judged), np.flatnonzero(judged)


def entity_folds(strata: npt.NDArray[np.int64] | None, entity: Codes, count: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Training and validation rows of `count` folds of whole entities, of about as many rows, and classes, each."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    entities = len(np.unique(entity))
    if entities < count:
        raise InvalidData(f"{entities} entities are too few for {count} folds")
    kind = GroupKFold if strata is None or entities > _MOST_BALANCED else StratifiedGroupKFold
    splits = kind(count, shuffle=True, random_state=seed).split(entity, strata, entity)
    return [(train.astype(np.int64), valid.astype(np.int64)) for train, valid in splits]
