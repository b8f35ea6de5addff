"""Training window: all past rows are learned from, unless the newest rows show that fewer are better."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.training_rows import TrainingRows, prepare_window
from optagent.loop.train.training_window import choose_window, restrict_rows, window_named
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS
from optagent.training.recipe import Recipe

SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows"), "label", rows_in_time_order=True, folds=4)
RECIPE = Recipe("champion", "linear", family_named("linear").defaults(Task.BINARY), 81)
LOSS = METRICS["log_loss"]


def prepare_rows(count: int = 6_000, turned_at: float = 1.0, spec: ModelSpec = SPEC) -> PreparedRows:
    return learnable_rows(count, turned_at, spec).prepare(0)


def learnable_rows(count: int = 6_000, turned_at: float = 1.0, spec: ModelSpec = SPEC) -> TrainingRows:
    """Rows whose label depends on `a`, and from a share of them on upon `b`."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, count))
    signal = np.where(np.arange(count) < turned_at * count, a, b) * 2 + rng.logistic(size=count) * 0.5
    return TrainingRows(spec, pa.table({"a": a, "b": b, "label": np.where(signal > 0, "yes", "no")}))


def test_all_rows_are_learned_from_where_nothing_has_changed():
    window = choose_window(prepare_rows(), RECIPE, LOSS)
    assert (window.name, len(window.rows), window.weight) == ("expanding", 4_800, None)
    assert set(window.scores) == {"expanding", "newest 50%", "newest 25%", "newest 12%", "weighted"}


def test_after_a_change_the_newest_rows_are_better_and_best_those_since_it():
    rows = prepare_rows(turned_at=0.5)
    assert choose_window(rows, RECIPE, LOSS).name == "newest 25%"
    since = choose_window(rows, RECIPE, LOSS, changed_at=3_000.0)
    assert since.name in ("since the change", "newest 25%")
    by_name = choose_window(rows, RECIPE, LOSS, "since_change", changed_at=3_000.0)
    assert (by_name.rows.min(), by_name.rows.max()) == (3_000, 4_799)


def test_what_is_asked_for_is_done_or_refused_with_the_reason():
    rows = prepare_rows()
    assert len(choose_window(rows, RECIPE, LOSS, "sliding").rows) == 2_400
    window = choose_window(rows, RECIPE, LOSS, "weighted")
    assert window.weight is not None
    assert window.weight[-1] > 10 * window.weight[0]
    assert window.weight.mean() == pytest.approx(1.0)
    with pytest.raises(InvalidData, match="nothing was seen to change"):
        choose_window(rows, RECIPE, LOSS, "since_change")
    with pytest.raises(InvalidData, match="80 rows are left to learn from, 500 are needed"):
        choose_window(rows, RECIPE, LOSS, "since_change", changed_at=5_900.0)


def test_a_duration_means_so_long_before_the_newest_row():
    rows = prepare_rows()
    window = choose_window(rows, RECIPE, LOSS, "3000s")  # the rows' own time: their positions
    assert (window.name, window.rows.min(), window.rows.max()) == ("3000s", 2_999, 4_799)


def test_a_window_may_lie_within_the_newest_rows_that_all_rows_would_set_apart():
    rows, table = prepare_rows(), learnable_rows()
    for name, changed_at in (("1000s", None), ("since_change", 4_999.0)):
        window = choose_window(rows, RECIPE, LOSS, name, changed_at)
        assert (len(window.rows), window.start) == (0, 4_999.0)
        cut = prepare_window(table, rows, window, 0)
        assert (len(cut.problem.data), len(cut.holdout)) == (801, 200)
        assert (cut.holdout.y == rows.holdout.y[-200:]).all()


def test_a_window_that_was_chosen_keeps_enough_rows_to_judge_on():
    rows, table = prepare_rows(turned_at=0.5), learnable_rows(turned_at=0.5)
    window = choose_window(rows, RECIPE, LOSS)
    assert window.start is None
    cut = prepare_window(table, rows, window, 0)
    assert len(cut.holdout) == max(500, round(0.2 * (len(cut.holdout) + len(cut.problem.data))))
    few = prepare_rows(2_000), learnable_rows(2_000)
    cut = prepare_window(few[1], few[0], window_named("sliding", few[0]), 0)
    assert len(cut.holdout) == len(few[0].holdout) == 400


def test_a_fold_of_one_class_says_nothing():
    rows = prepare_rows()
    rows.problem.data.y[-600:] = 0.0
    assert choose_window(rows, RECIPE, METRICS["auc"]).name == "expanding"


def test_rows_without_an_order_have_no_window():
    rows = prepare_rows(1_000, spec=replace(SPEC, rows_in_time_order=False))
    assert choose_window(rows, RECIPE, LOSS, "sliding").name == "expanding"


def test_the_window_keeps_the_holdout_and_has_folds_of_its_own():
    rows = prepare_rows(turned_at=0.5)
    cut = restrict_rows(rows, choose_window(rows, RECIPE, LOSS, "sliding"))
    assert len(cut.problem.data) == 2_400
    assert len(cut.problem.folds) == SPEC.folds
    assert cut.holdout is rows.holdout
    assert cut.digest != rows.digest
    assert (cut.problem.data.x[-1] == rows.problem.data.x[-1]).all()
    weighted_rows = restrict_rows(rows, choose_window(rows, RECIPE, LOSS, "weighted"))
    assert weighted_rows.problem.data.weight is not None
    assert restrict_rows(rows, choose_window(rows, RECIPE, LOSS, "expanding")) is rows
