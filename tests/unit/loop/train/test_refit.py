"""Refit rows: all labelled rows of the judged window, with its columns, and everything that is fitted fitted anew."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.features.fit import fit_plan
from optagent.loop.train.build import build_recipe
from optagent.loop.train.candidate import CandidateRecipes
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.refit import fit_recipes_again, prepare_refit
from optagent.loop.train.training_rows import TrainingRows, prepare_window
from optagent.loop.train.training_window import window_named
from optagent.training.recipe import Recipe
from optagent.training.steps import GroupMean
from optagent.training.target_mean import TargetMean

DAY = 86_400.0
COUNT = 1000
SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows"), "label", time_column="day", label_horizon="3d", folds=2)


def training_rows(spec: ModelSpec = SPEC, unlabelled: int = 0) -> TrainingRows:
    """Rows of a day each, shuffled, of which a new city appears among the newest ones only."""
    rng = np.random.default_rng(0)
    order = np.arange(COUNT) if spec.rows_in_time_order else rng.permutation(COUNT)
    days = (order * DAY * 1e6).astype("int64").astype("datetime64[us]")
    city = np.where(order >= 900, "Rome", np.where(order % 2, "Bern", "Oslo"))
    label: list[Any] = np.where(rng.random(COUNT) < 0.5, "no", "yes").tolist()
    label[:unlabelled] = [None] * unlabelled
    late = np.where(order < 850, 1.0, rng.normal(size=COUNT))
    columns = {"a": rng.normal(size=COUNT), "city": city, "late": late, "label": label}
    return TrainingRows(spec, pa.table({"day": days, **columns} if spec.time_column else columns))


def in_window(rows: TrainingRows, name: str) -> PreparedRows:
    prepared = rows.prepare(seed=0)
    return prepare_window(rows, prepared, window_named(name, prepared), 0)


def test_a_refit_learns_from_every_labelled_row_also_from_those_that_were_purged_or_held_out():
    rows = training_rows(unlabelled=7)
    judged = rows.prepare(seed=0)
    refit = prepare_refit(rows, judged, "expanding", "4")
    assert len(refit.problem.data) == COUNT - 7 > len(judged.problem.data) + len(judged.holdout)
    assert refit.trained_until == (COUNT - 1) * DAY
    assert judged.trained_until is not None
    assert judged.holdout_time is not None
    assert judged.trained_until + 3 * DAY < judged.holdout_time.min()
    assert refit.facts() == {"rows": COUNT - 7, "sha256": refit.digest, "ordered_by": "day", "measured_as": "4"}


def test_rows_are_the_same_each_time_and_lie_in_time_order():
    rows = training_rows()
    first, second = (prepare_refit(rows, rows.prepare(seed=0), "expanding", "4") for _ in range(2))
    assert first.digest == second.digest
    assert first.dev_time is not None
    assert (np.diff(first.dev_time) > 0).all()


def test_categories_are_learned_anew_and_columns_stay_those_that_were_judged():
    rows = training_rows()
    judged = rows.prepare(seed=0)
    refit = prepare_refit(rows, judged, "expanding", "4")
    assert judged.schema.names == refit.schema.names == ("a", "city")  # `late` had one value before the holdout
    assert set(judged.schema.columns[1].categories) == {"Bern", "Oslo"}
    assert set(refit.schema.columns[1].categories) == {"Bern", "Oslo", "Rome"}
    assert np.isnan(judged.holdout.x[:, 1]).any()
    assert not np.isnan(refit.holdout.x[:, 1]).any()


@pytest.mark.parametrize(("window", "count"), [("sliding", 500), ("100d", 101)])
def test_a_refit_of_a_window_learns_from_the_windows_rows_alone(window: str, count: int):
    rows = training_rows()
    spec = replace(SPEC, holdout_fraction=0.2)
    refit = prepare_refit(rows, in_window(replace(rows, spec=spec), window), window, "4")
    # `sliding` is half of the rows before the holdout, which lie behind it.
    assert abs(len(refit.problem.data) - (count if window == "100d" else 200 + 399)) <= 2


def test_the_weights_of_a_weighted_window_reach_over_the_newest_rows():
    rows = training_rows()
    refit = prepare_refit(rows, in_window(rows, "weighted"), "weighted", "4")
    weight = refit.problem.data.weight
    assert weight is not None
    assert (len(weight), np.argmax(weight)) == (COUNT, COUNT - 1)
    assert weight[-1] == pytest.approx(2 * weight[-1 - COUNT // 4], rel=0.01)
    assert weight.mean() == pytest.approx(1.0)


def test_group_means_are_those_of_all_rows_and_of_the_new_codes():
    rows = training_rows()
    judged = rows.prepare(seed=0)
    plan = fit_plan(judged.problem.data, [GroupMean("city", "a")])
    refit = prepare_refit(rows, judged.with_plan(plan), "expanding", "4")
    assert refit.plan is not None
    (step,) = refit.plan.steps
    assert isinstance(step, GroupMean)
    assert len(step.means) == 3
    assert refit.problem.data.names == ("a", "city", "mean of a by city")
    model = build_recipe(Recipe("r", "linear", {}, 20), refit, 0, 1).model
    assert np.isfinite(model.predict(refit.holdout.x)).all()


def test_means_of_the_target_forget_the_labels_that_an_earlier_model_learned_and_judge_now():
    rows = training_rows()
    judged = rows.prepare(seed=0)
    champion = fit_plan(replace(judged.holdout, y=np.ones(len(judged.holdout))), [TargetMean(("city",))])
    prepared = judged.with_plan(champion)
    assert prepared.plan == fit_plan(judged.problem.data, [TargetMean(("city",))])
    assert prepared.problem.data.parts is not None
    assert prepared.problem.data.parts.known is not None, "rows in time order learn from earlier ones"
    assert np.isnan(prepared.problem.data.x[0, -1])
    refit = prepare_refit(rows, prepared, "expanding", "4")
    assert refit.plan is not None
    (step,) = refit.plan.steps
    assert isinstance(step, TargetMean)
    assert (len(step.means), refit.problem.data.encodings[0].column) == (4, 2)  # a mean of Rome, and one of all rows


def test_a_recipe_with_a_plan_of_its_own_gets_it_fitted_anew():
    rows = training_rows()
    judged = rows.prepare(seed=0)
    recipe = Recipe("r", "linear", {}, 20, fit_plan(judged.problem.data, [GroupMean("city", "a")]))
    refit = prepare_refit(rows, judged, "expanding", "4")
    (again,) = fit_recipes_again(CandidateRecipes((recipe,)), refit).recipes
    assert again.plan is not None
    assert len(again.plan.steps[0].means) == 3  # type: ignore[union-attr]
    assert replace(again, plan=recipe.plan) == recipe


def test_rows_without_an_order_are_all_learned_and_have_no_newest_one():
    rows = training_rows(replace(SPEC, time_column=None, label_horizon=0.0, ignore=("day",)))
    refit = prepare_refit(rows, rows.prepare(seed=0), "expanding", "4")
    assert (len(refit.problem.data), refit.trained_until) == (COUNT, None)


def test_places_of_a_window_count_from_the_first_row_of_all():
    rows = training_rows(replace(SPEC, time_column=None, rows_in_time_order=True, label_horizon=0.0), unlabelled=3)
    judged = in_window(rows, "sliding")
    refit = prepare_refit(rows, judged, "sliding", "4")
    assert judged.holdout_time is not None
    assert judged.holdout_time.max() + judged.first_position == COUNT - 1
    assert (refit.trained_until, refit.first_position) == (COUNT - 1, judged.first_position)
    assert len(refit.problem.data) == COUNT - refit.first_position
