"""Refit: a recipe that passed its gates is trained again on all labelled rows of its window, the holdout's included.

The newest rows are those that resemble the next ones most, so that a model that never learns them loses quality. The
recipe stays as it was judged: columns, parameters, rounds and weights. Whatever is fitted (categories, group means,
members) is fitted anew. Nothing is left to judge the refit on: live rows do, in shadow, beside the champion.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from optagent.arrays import Vector
from optagent.features.fit import fit_plan
from optagent.loop.train.candidate import CandidateRecipes
from optagent.loop.train.prepare import PreparedRows, digest_of, take_rows
from optagent.loop.train.training_rows import TrainingRows
from optagent.loop.train.training_window import window_rules
from optagent.training.encoding import Schema, encode_target, fit_schema, load_data
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data, Problem
from optagent.training.row_times import instants


def prepare_refit(rows: TrainingRows, judged: PreparedRows, window: str, measured_as: str) -> PreparedRows:
    """All labelled rows of the window of `judged`, with the columns that its model was judged with.

    The rows that were purged before the holdout are among them: no row is judged any more. `holdout` stays that of the
    version `measured_as`, encoded for the refit, to try its bundle on.
    """
    table, time, first_position = _rows_of_window(rows, judged)
    schema = _refit_schema(table, judged)
    data = load_data(table, schema, judged.spec.class_weight)
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
        first_position=first_position,
        measured_as=measured_as,
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
    _, has_target = encode_target(rows.table, judged.schema)
    labelled, time = np.flatnonzero(has_target), instants(rows.table, judged.spec)
    if time is None:
        return take_rows(rows.table, labelled), None, rows.first_position
    labelled = labelled[np.argsort(time[labelled], kind="stable")]
    return take_rows(rows.table, labelled), time[labelled], rows.first_position


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
