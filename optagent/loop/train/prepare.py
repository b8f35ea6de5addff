"""Row preparation: reads a model's rows, sets the holdout apart and encodes both, so that nothing of it leaks."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from optagent.arrays import Codes, Rows, Vector
from optagent.domain.model import ModelSpec
from optagent.ports import Datasets
from optagent.training.encoding import Schema, columns_of, encode_target, fit_schema, load_data, target_schema
from optagent.training.entities import entities_of
from optagent.training.folds import make_folds, split
from optagent.training.history.table import ensure_history
from optagent.training.label_encoding import fit_label_steps
from optagent.training.label_parts import label_parts
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data, Problem, span_of
from optagent.training.row_times import instants
from optagent.training.transform import transform_data
from optagent.training.uniqueness import weigh_labels


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """The encoded rows of a model: development rows with folds for a search, and the holdout that judges its result.

    `problem` holds the development rows only, and `digest` is their SHA-256. `holdout` is encoded, and `holdout_rows`
    are the same rows as they were read; `holdout_time` and `dev_time` are instants, None for rows without an order, and
    `holdout_entity` and `dev_entity` numbers of entities, None for a model that names none. With a `plan`, `problem`
    has the plan's columns; `holdout` always has the model's own. `first_position` is the place among all rows at which
    rows without a time of their own begin: their instants count from there.

    The rows of a refit have `measured_as`: then `problem` holds the holdout's rows too, and `holdout` is that of the
    version of this number, by which the recipe was judged.
    """

    spec: ModelSpec
    problem: Problem
    schema: Schema
    holdout: Data
    holdout_rows: pa.Table
    holdout_time: Vector | None
    digest: str
    notes: tuple[str, ...] = ()
    dev_time: Vector | None = None
    plan: FeaturePlan | None = None
    first_position: float = 0.0
    measured_as: str = ""
    holdout_entity: Codes | None = None
    dev_entity: Codes | None = None

    @property
    def trained_until(self) -> float | None:
        """The time of the newest row to learn from, comparable with that of other versions; None without an order."""
        return None if self.dev_time is None else float(self.dev_time.max()) + self.first_position

    @property
    def ordered_by(self) -> str:
        """The origin of the rows' times: versions with another one cannot be compared by `trained_until`."""
        return self.spec.time_column or ("position" if self.spec.rows_in_time_order else "")

    def facts(self) -> dict[str, Any]:
        """The facts about these rows that are kept in the manifest of a model trained on them."""
        rows = {"rows": len(self.problem.data), "sha256": self.digest, "ordered_by": self.ordered_by}
        if self.measured_as:
            return {**rows, "measured_as": self.measured_as}
        return {
            **rows,
            "holdout_rows": len(self.holdout),
            "holdout_sha256": digest_of(self.holdout),
        }

    def with_plan(self, plan: FeaturePlan) -> "PreparedRows":
        """The same rows with the columns of a plan, whose means of the target become those of these rows."""
        plan = fit_label_steps(plan, self.problem.data)
        data = transform_data(plan, self.problem.data)
        return replace(self, problem=Problem(data, self.problem.folds), digest=digest_of(data), plan=plan)


def prepare(spec: ModelSpec, datasets: Datasets, seed: int = 0) -> PreparedRows:
    """Reads the model's data, and prepares it as `prepare_table`; raises InvalidData and Unavailable."""
    return prepare_table(datasets.read(spec.data, columns_of(spec)), spec, seed)


def prepare_table(table: pa.Table, spec: ModelSpec, seed: int = 0, least_holdout: int = 0) -> PreparedRows:
    """Splits first, learns the schema from the development rows alone, then encodes; raises InvalidData.

    The holdout has `holdout_fraction` of the rows, and at least `least_holdout` rows where they have an order.
    """
    table = ensure_history(table, spec)
    y, has_target = encode_target(table, target_schema(table, spec))
    time = instants(table, spec)
    notes = []
    if not has_target.all():
        notes.append(f"{int((~has_target).sum()):,} rows without a target were left out")
        table = table.filter(pa.array(has_target))
        time = None if time is None else time[has_target]
    entity = entities_of(table, spec)
    parts = split(time, y, spec, seed=seed, least=least_holdout, entity=entity)
    dev_time, holdout_time = (None if time is None else time[rows] for rows in (parts.dev, parts.holdout))
    dev_entity, holdout_entity = (None if entity is None else entity[rows] for rows in (parts.dev, parts.holdout))
    folds = make_folds(dev_time, y[parts.dev], spec, np.arange(len(parts.dev)), seed=seed, entity=dev_entity)
    schema = fit_schema(table, spec, parts.dev)
    holdout_rows = table.take(pa.array(parts.holdout))  # a slice would keep the whole table in memory
    data = load_data(take_rows(table, parts.dev), schema, spec.class_weight, spec.metric)
    data = replace(weigh_labels(data, dev_time, spec), parts=label_parts(dev_time, spec.horizon, dev_entity))
    return PreparedRows(
        spec=spec,
        problem=Problem(data, folds),
        schema=schema,
        holdout=load_data(holdout_rows, schema),
        holdout_rows=holdout_rows,
        holdout_time=holdout_time,
        digest=digest_of(data),
        notes=(*notes, *schema.notes, *parts.notes),
        dev_time=dev_time,
        holdout_entity=holdout_entity,
        dev_entity=dev_entity,
    )


def take_rows(table: pa.Table, rows: Rows) -> pa.Table:
    """The rows of a table at these indices; a run of neighbours is a slice without a copy."""
    return table.take(pa.array(rows)) if span_of(rows) is None else table.slice(int(rows[0]), len(rows))


def digest_of(data: Data) -> str:
    """SHA-256 of the encoded rows and their targets."""
    digest = hashlib.sha256(np.ascontiguousarray(data.x).data)
    digest.update(np.ascontiguousarray(data.y).data)
    return digest.hexdigest()
