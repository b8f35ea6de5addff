"""Refit: a recipe that passed its gates is trained again on all labelled rows of its window, the holdout's included.

The newest rows are those that resemble the next ones most, so that a model that never learns them loses quality. The
recipe stays as it was judged: columns, parameters, rounds and weights. Whatever is fitted (categories, group means,
members) is fitted anew. Nothing is left to judge the refit on: live rows do, in shadow, beside the champion.
"""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa

from optagent.arrays import Vector
from optagent.domain.slot import Slot
from optagent.errors import InvalidData
from optagent.features.fit import fit_plan
from optagent.loop.train.candidate import CandidateRecipes
from optagent.loop.train.prepare import PreparedRows, digest_of, take_rows
from optagent.loop.train.training_rows import TrainingRows
from optagent.loop.train.training_window import window_rules
from optagent.training.encoding import Schema, encode_target, fit_schema, load_data
from optagent.training.entities import entities_of
from optagent.training.label_parts import label_parts
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data, Problem
from optagent.training.row_times import instants
from optagent.training.uniqueness import weigh_labels

_LEAST_ROWS = 400


def prepare_refit(rows: TrainingRows, judged: PreparedRows, window: str, measured_as: str) -> PreparedRows:
    """All labelled rows of the window of `judged`, with the columns that its model was judged with.

    The rows that were purged before the holdout are among them: no row is judged any more. `holdout` stays that of the
    version `measured_as`, encoded for the refit, to try its bundle on.
    """
    table, time, first_position = _rows_of_window(rows, judged)
    refit = _prepare_all(table, time, judged, window)
    return replace(refit, first_position=first_position, measured_as=measured_as)


def prepare_slot(rows: TrainingRows, judged: PreparedRows, slot: Slot) -> PreparedRows:
    """All labelled rows of a slot's window, with the columns of `judged`; nothing is held out.

    A slot's rows are the newest share of all, and 400 at least, or those of its time before the newest row. `holdout`
    stays that of `judged`, to try the model's bundle on. Raises InvalidData for a window of another form than the
    times of the rows.
    """
    table, time = _labelled_rows(rows, judged)
    count = table.num_rows
    if slot.share is not None:
        first = max(0, count - max(_LEAST_ROWS, math.ceil(count * slot.share)))
    elif time is None or judged.spec.time_column is None:
        raise InvalidData(f"slot {slot.name}: a duration needs rows with a time_column of dates (model.yaml)")
    else:
        first = int(np.searchsorted(time, time[-1] - (slot.window_s or 0.0), side="right"))
    time = None if time is None else time[first:]
    return replace(_prepare_all(table.slice(first), time, judged, ""), first_position=rows.first_position + first)


def _prepare_all(table: pa.Table, time: Vector | None, judged: PreparedRows, window: str) -> PreparedRows:
    """The rows of a table, all of them to learn from, with the columns of `judged`."""
    schema = _refit_schema(table, judged)
    data = load_data(table, schema, judged.spec.class_weight, judged.spec.metric)
    parts = label_parts(time, judged.spec.horizon, entities_of(table, judged.spec))
    data = replace(weigh_labels(data, time, judged.spec), parts=parts)
    data = data if time is None else _weigh_rows(data, time, window)
    plan = None if judged.plan is None else _fit_again(judged.plan, data)
    refit = replace(
        judged,
        problem=Problem(data, ()),
        schema=schema,
        holdout=load_data(judged.holdout_rows, schema),
        digest=digest_of(data),
        dev_time=time,
        plan=None,
    )
    return refit if plan is None else refit.with_plan(plan)


def fit_recipes_again(candidate: CandidateRecipes, refit: PreparedRows) -> CandidateRecipes:
    """The recipes with their own plans fitted on the rows of the refit; parameters, rounds and weights stay."""
    recipes = tuple(
        recipe if recipe.plan is None else replace(recipe, plan=_fit_again(recipe.plan, refit.problem.data))
        for recipe in candidate.recipes
    )
    return replace(candidate, recipes=recipes)


def _rows_of_window(rows: TrainingRows, judged: PreparedRows) -> tuple[pa.Table, Vector | None, float]:
    """The labelled rows from the oldest one of `judged` on, in time order, their times, and the place of the first."""
    if judged.dev_time is not None:
        rows = rows.since(float(judged.dev_time.min()) + judged.first_position - rows.first_position)
    return *_labelled_rows(rows, judged), rows.first_position


def _labelled_rows(rows: TrainingRows, judged: PreparedRows) -> tuple[pa.Table, Vector | None]:
    """The labelled rows, in time order where they have one, and their times."""
    _, has_target = encode_target(rows.table, judged.schema)
    labelled, time = np.flatnonzero(has_target), instants(rows.table, judged.spec)
    if time is None:
        return take_rows(rows.table, labelled), None
    labelled = labelled[np.argsort(time[labelled], kind="stable")]
    return take_rows(rows.table, labelled), time[labelled]


def _refit_schema(table: pa.Table, judged: PreparedRows) -> Schema:
    """The schema of all rows, with the columns that the model was judged with."""
    schema = fit_schema(table, judged.spec)
    columns = tuple(column for column in schema.columns if column.name in set(judged.schema.names))
    return replace(schema, columns=columns)


def _weigh_rows(data: Data, time: Vector, window: str) -> Data:
    """The rows with the weights of a window that has weights."""
    rule = window_rules().get(window)
    if rule is None:
        return data
    order = np.argsort(time, kind="stable").astype(np.int64)
    chosen, weight = rule(order, time[order])
    if weight is None:
        return data
    weights = np.ones(len(data)) if data.weight is None else data.weight.copy()
    weights[chosen] *= weight
    return replace(data, weight=weights)


def _fit_again(plan: FeaturePlan, data: Data) -> FeaturePlan:
    return fit_plan(data, plan.steps, dropped=plan.dropped)
