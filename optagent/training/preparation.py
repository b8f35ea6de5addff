"""From a table to the problem that is searched and the holdout that judges, in the order that lets nothing leak."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from optagent.domain.model import ModelSpec
from optagent.training.encoding import Schema, encode_target, fit_schema, load_data, target_schema
from optagent.training.folds import Split, make_folds, split
from optagent.training.instants import instants
from optagent.training.problem import Problem, Rows, Vector


@dataclass(frozen=True, slots=True)
class Prepared:
    """A problem with what surrounds it. Rows are positions in `problem.data`; `kept` are those rows in the table.

    `time` is in the unit of `instants`, None for rows without an order; `dropped` counts the rows without a target.
    """

    problem: Problem
    schema: Schema
    split: Split
    time: Vector | None
    kept: Rows
    dropped: int
    notes: tuple[str, ...]


def prepare(table: pa.Table, spec: ModelSpec, seed: int = 0) -> Prepared:
    """Splits first, learns the schema from the development rows alone, then encodes; raises InvalidData."""
    y, mask = encode_target(table, target_schema(table, spec))
    kept = np.flatnonzero(mask)
    time = instants(table, spec)
    if time is not None:
        time = time[kept]
    parts = split(time, y, spec, seed=seed)
    folds = make_folds(time, y, spec, parts.dev, seed=seed)
    schema = fit_schema(table, spec, kept[parts.dev])
    data = load_data(table, schema, spec.class_weight)
    dropped = table.num_rows - len(kept)
    missing = (f"{dropped:,} rows without a target left out",) if dropped else ()
    return Prepared(Problem(data, folds), schema, parts, time, kept, dropped, (*missing, *schema.notes, *parts.notes))
