from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.loop.train.prepare import prepare_table
from optagent.training.families.registry import family_named
from optagent.training.problem import Data
from optagent.training.uniqueness import label_uniqueness

SPEC = ModelSpec("m", Task.BINARY, FileSource("r"), "y", time_column="t", label_horizon=3, weights="uniqueness")


def table(rows: int = 200) -> pa.Table:
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 300, rows))
    return pa.table({"t": time, "a": rng.normal(size=rows), "y": rng.integers(0, 2, rows)})


def test_a_label_counts_by_the_labels_that_are_open_at_each_step_of_its_window() -> None:
    rng = np.random.default_rng(1)
    time, horizon = rng.integers(0, 40, 60), 5
    steps = time[:, None] + np.arange(horizon)  # the steps (t, t + 1] of each window
    open_labels = np.array([[((time <= step) & (step < time + horizon)).sum() for step in own] for own in steps])
    np.testing.assert_allclose(label_uniqueness(time.astype(float), float(horizon)), (1 / open_labels).mean(axis=1))


def test_rows_far_apart_are_unique_and_rows_of_one_instant_share_one_label() -> None:
    assert label_uniqueness(np.array([9.0, 0.0, 3.0]), 3.0).tolist() == [1.0, 1.0, 1.0]
    assert label_uniqueness(np.full(5, 7.0), 2.0) == pytest.approx([0.2] * 5)


def test_rows_to_learn_from_are_weighted_and_those_that_judge_are_not() -> None:
    prepared = prepare_table(table(), SPEC)
    assert prepared.dev_time is not None
    np.testing.assert_allclose(prepared.problem.data.weight, label_uniqueness(prepared.dev_time, 3.0))
    assert prepared.holdout.weight is None
    assert prepare_table(table(), replace(SPEC, weights="none")).problem.data.weight is None


def test_uniqueness_is_multiplied_with_the_weight_of_the_class() -> None:
    both = prepare_table(table(), replace(SPEC, class_weight="balanced")).problem.data.weight
    one, other = (
        prepare_table(table(), replace(SPEC, **fields)).problem.data.weight
        for fields in ({}, {"weights": "none", "class_weight": "balanced"})
    )
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(both, one * other)


def test_a_weight_of_two_is_a_row_twice() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 2)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=80) > 0).astype(np.float64)
    twice = np.concatenate([np.arange(80), np.arange(20)])
    family, predictions = family_named("linear"), []
    params = {**family.defaults(Task.BINARY), "C": 1e4}  # hardly a penalty, whose share depends on the rows
    for rows, weight in ((np.arange(80), np.where(np.arange(80) < 20, 2.0, 1.0)), (twice, None)):
        data = Data(x[rows], y[rows], ("a", "b"), Task.BINARY, n_classes=2, weight=weight)
        fit = family.start(params, data, np.arange(len(rows)))
        fit.advance(family.default_rounds)
        predictions.append(fit.model().predict(x))
    np.testing.assert_allclose(*predictions, atol=1e-3)
