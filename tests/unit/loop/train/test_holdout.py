"""Comparison on a holdout: only rows that neither model has learned count."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.gate import Verdict
from optagent.domain.model import ModelSpec, Task
from optagent.loop.train.holdout import Baseline, HoldoutTest, compare_on_holdout, unlearned_rows
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.training_rows import TrainingRows
from optagent.training.manifest import FORMAT, Manifest
from optagent.training.metrics import metric_named

DAY = 86_400.0
COUNT = 500
SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows"), "label", time_column="day", label_horizon="5d", folds=2)


@pytest.fixture
def prepared() -> PreparedRows:
    rng = np.random.default_rng(1)
    days = (np.arange(COUNT) * DAY * 1e6).astype("int64").astype("datetime64[us]")
    label = np.where(rng.random(COUNT) < 0.5, "no", "yes")
    return TrainingRows(SPEC, pa.table({"day": days, "a": rng.normal(size=COUNT), "label": label})).prepare(0)


def manifest(until: float | None, ordered_by: str = "day") -> Manifest:
    data = {"ordered_by": ordered_by}
    return Manifest(FORMAT, "churn", Task.BINARY, "linear", {}, 1, (), (), 0.0, data=data, trained_until=until)


def test_rows_that_a_version_learned_and_rows_whose_labels_overlap_with_them_are_left_out(prepared: PreparedRows):
    rows = unlearned_rows(prepared, manifest(420 * DAY))
    assert rows is not None
    assert prepared.holdout_time is not None
    assert prepared.holdout_time[rows].tolist() == [day * DAY for day in range(426, COUNT)]
    rows = unlearned_rows(prepared, manifest((COUNT - 1) * DAY))
    assert rows is not None
    assert not len(rows)


def test_all_rows_count_where_the_version_is_older_than_the_holdout(prepared: PreparedRows):
    assert unlearned_rows(prepared, manifest(300 * DAY)) is None
    assert unlearned_rows(prepared, manifest(prepared.trained_until)) is None


@pytest.mark.parametrize("until", [None, 499 * DAY])
def test_a_version_that_does_not_tell_or_tells_of_other_times_is_compared_on_all_rows(
    prepared: PreparedRows, until: float | None
):
    assert unlearned_rows(prepared, manifest(until, "another column" if until else "day")) is None


def test_both_models_are_scored_on_the_rows_that_neither_has_learned(prepared: PreparedRows):
    y = prepared.holdout.y
    known = np.arange(len(y)) < 75  # these the champion has learned by heart
    rng = np.random.default_rng(2)
    better = np.clip(0.5 + 0.2 * (2 * y - 1) + 0.1 * rng.normal(size=len(y)), 0.02, 0.98)
    champion = np.where(known, np.where(y == 1, 0.99, 0.01), 0.5)
    test = HoldoutTest(prepared, metric_named("log_loss", Task.BINARY), 0.05, 0)
    everywhere = compare_on_holdout(better, Baseline("champion", champion), test)
    assert everywhere.rows == len(y)
    assert everywhere.improvement.estimate < 0
    elsewhere = compare_on_holdout(better, Baseline("champion", champion, np.flatnonzero(~known)), test)
    assert (elsewhere.verdict, elsewhere.rows) == (Verdict.PASS, len(y) - 75)
    assert elsewhere.baseline.estimate == pytest.approx(np.log(2))


def test_places_of_a_window_are_compared_with_those_of_all_rows(prepared: PreparedRows):
    spec = replace(SPEC, time_column=None, rows_in_time_order=True, label_horizon=0.0)
    rows = TrainingRows(spec, prepared.holdout_rows.drop_columns(["day"]), first_position=400.0)
    window = rows.prepare(0)
    learned = unlearned_rows(window, manifest(490.0, "position"))
    assert learned is not None
    assert window.holdout_time is not None
    assert (window.holdout_time[learned] + 400.0).tolist() == list(range(491, 500))
