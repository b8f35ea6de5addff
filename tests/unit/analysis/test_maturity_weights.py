"""Metrics of young windows, weighted for the labels that have not come yet."""

import numpy as np
import pytest

from optagent.analysis.label_maturity import MaturityCurve, bin_end
from optagent.analysis.maturity_weights import (
    corrected_metric_values,
    corrected_over_time,
    outcome_edges,
    outcome_groups,
    weigh_rows,
)
from optagent.analysis.observed_rows import ObservedRows
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.training.metrics import METRICS

HOUR, DAY = 3600.0, 86_400.0
ACCURACY, AUC = METRICS["accuracy"], METRICS["auc"]


def curve_of(*delays_h, bins=330):
    """Exponential curves of such means, in hours, one an outcome, known without error."""
    ends = np.array([bin_end(index) for index in range(bins)])
    shares = np.stack([1 - np.exp(-ends / (mean * HOUR)) for mean in (delays_h[0], *delays_h)])
    shares /= shares[:, -1:]
    return MaturityCurve(("no", "yes")[: len(delays_h)], shares, shares[None], np.full(len(shares), 1000), 1.0)


def rows_of(rng, rows=20_000, means_h=(4.0, 40.0), now=DAY):
    """Requests of a day, one in five of class 1, of which half are answered rightly, of the others nine in ten."""
    time, y = np.sort(rng.uniform(0, DAY, rows)), (rng.random(rows) < 0.2).astype(float)
    is_right = rng.random(rows) < np.where(y > 0, 0.5, 0.9)
    prediction = np.where(is_right == (y > 0), 0.8, 0.2)
    came = rng.exponential(np.where(y > 0, means_h[1], means_h[0]) * HOUR) <= now - time
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        Task.BINARY, (), np.zeros((rows, 0), np.float32), prediction, np.where(came, y, np.nan), time, unknown, 2
    )


def test_a_label_stands_for_those_of_its_outcome_that_have_not_come():
    rows = rows_of(np.random.default_rng(0))
    weighted, maturity = weigh_rows(rows, curve_of(4.0, 40.0), (), now=DAY)
    (value,) = corrected_metric_values(weighted, (ACCURACY,))
    known = rows.where(rows.has_label)

    assert ACCURACY.score(known.y, known.prediction) > 0.86
    assert value.interval.low < 0.82 < value.interval.high
    assert value.value == pytest.approx(0.82, abs=0.015)
    assert maturity.provisional
    assert maturity.corrected
    assert maturity.share == pytest.approx(rows.has_label.mean(), abs=0.02)
    assert maturity.effective_rows < len(known)


def test_weights_make_an_interval_wider():
    rows = rows_of(np.random.default_rng(1), 2_000)
    weighted, _ = weigh_rows(rows, curve_of(4.0, 40.0), (), now=DAY)
    (value,) = corrected_metric_values(weighted, (ACCURACY,))
    whole, _ = weigh_rows(rows, curve_of(0.001, 0.001), (), now=DAY)
    (plain,) = corrected_metric_values(whole, (ACCURACY,))

    assert value.interval.high - value.interval.low > 1.2 * (plain.interval.high - plain.interval.low)


def test_an_outcome_that_no_row_is_old_enough_for_leaves_the_metrics_as_they_are():
    _, maturity = weigh_rows(rows_of(np.random.default_rng(2), means_h=(1.0, 900.0)), curve_of(1.0, 900.0), (), now=DAY)

    assert maturity.provisional
    assert not maturity.corrected
    assert "uncorrected" in maturity.note


def test_rows_too_young_for_an_outcome_are_left_out_and_counted():
    rows = rows_of(np.random.default_rng(3))
    weighted, maturity = weigh_rows(rows, curve_of(4.0, 40.0), (), now=DAY)
    youngest_s = float((DAY - weighted.observed.time).min())

    assert youngest_s >= 40 * HOUR * -np.log(0.9) * 0.97
    assert weighted.weights.max() <= 10.5
    assert "are left out" in maturity.note


def test_a_window_whose_labels_have_come_is_not_provisional():
    rows = rows_of(np.random.default_rng(4), now=30 * DAY)
    _, maturity = weigh_rows(rows, curve_of(4.0, 40.0), (), now=30 * DAY)

    assert not maturity.provisional
    assert maturity.share == pytest.approx(1.0, abs=0.001)
    assert maturity.note == ""


def test_a_metric_that_is_not_defined_says_why():
    rows = rows_of(np.random.default_rng(5))
    weighted, _ = weigh_rows(rows.where(~(rows.y == 1)), curve_of(4.0, 4.0), (), now=DAY)
    auc, median = corrected_metric_values(weighted, (AUC, METRICS["median_ae"]))

    assert "of one class" in auc.reason
    assert "cannot be weighted" in median.reason


def test_parts_of_a_window_without_labels_say_so():
    rows = rows_of(np.random.default_rng(6), 4_000)
    weighted, _ = weigh_rows(rows, curve_of(4.0, 40.0), (), now=DAY)
    first, *_, last = corrected_over_time(weighted, rows, Window(0.0, DAY).parts(12), (ACCURACY,))

    assert first.metrics[0].value == pytest.approx(0.82, abs=0.15)
    assert last.rows > 200
    assert "0 effective rows" in last.metrics[0].reason


def test_a_regression_is_told_apart_by_the_quartiles_of_its_reference():
    edges = outcome_edges(np.array([0.0, 1.0, 2.0, 3.0, 4.0, np.nan]), Task.REGRESSION)

    assert edges == (1.0, 2.0, 3.0)
    assert outcome_groups(np.array([-5.0, 1.0, 2.5, 9.0]), 4, edges).tolist() == [0, 1, 2, 3]
    assert outcome_edges(np.array([0.0, 1.0]), Task.BINARY) == ()
    assert outcome_groups(np.array([0.0, 30.0]), 20, ()).tolist() == [0, 19]
