"""The fast paths say what the metric says."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optagent.domain.model import Task
from optagent.ensembles.fast_auc import roc_auc
from optagent.ensembles.fast_scores import worths_by_metric
from optagent.ensembles.members import Members, members_of
from optagent.ensembles.mixing import GivenWeightings, OneMoreDraw, mean_of
from optagent.ensembles.target import gains, target_of
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.metrics import METRICS

Library = Callable[..., Members]
EVERY = [(task, name) for name, metric in METRICS.items() for task in metric.tasks]


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_every_metric_is_worth_what_it_scores(library: Library, task: Task, name: str) -> None:
    members, metric = library(task), METRICS[name]
    weights = np.random.default_rng(1).dirichlet(np.ones(len(members)), size=7)
    sign = 1 if metric.maximize else -1
    expected = [sign * metric.score(members.y, mean_of(members, each)) for each in weights]
    np.testing.assert_allclose(worths_by_metric(members, metric, GivenWeightings(weights)), expected, atol=1e-9)
    counts, candidates = np.array([2, 0, 1, 0, 0]), np.array([1, 2, 4])
    added = [sign * metric.score(members.y, mean_of(members, (counts + np.eye(5)[one]) / 4)) for one in candidates]
    np.testing.assert_allclose(worths_by_metric(members, metric, OneMoreDraw(counts, candidates)), added, atol=1e-9)


def test_gains_of_shares_of_the_candidates_are_those_of_all(library: Library) -> None:
    for name in ("auc", "log_loss", "f1"):
        members = library(models=7)
        target, counts = target_of(members, [METRICS[name]]), np.array([1, 0, 2, 0, 0, 0, 0])
        whole = gains(members, target, counts, np.arange(7))
        shares = [gains(members, target, counts, share) for share in np.array_split(np.arange(7), 3)]
        np.testing.assert_allclose(np.concatenate(shares), whole, rtol=1e-13)


@given(
    st.integers(2, 60).flatmap(
        lambda rows: st.tuples(
            hnp.arrays(np.float64, rows, elements=st.sampled_from([0.0, 1e-300, 1e-9, 0.1, 0.25, 0.5, 0.5000001, 1.0])),
            hnp.arrays(np.int64, rows, elements=st.integers(0, 1)),
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_the_area_of_tied_scores_counts_ties_half(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = drawn
    y = labels.astype(np.float64)
    if len(np.unique(y)) < 2:
        with pytest.raises(InvalidData, match="one class"):
            roc_auc(y, scores)
    else:
        # Levels that 2**31 steps tell apart: 1e-300 is 0 beside 1.
        levels = np.where(scores < 1e-200, 0.0, scores) if scores.max() > 1e-200 else scores
        assert roc_auc(y, scores) == pytest.approx(METRICS["auc"].score(y, levels), abs=1e-12)


def test_certain_and_wrong_costs_what_the_metric_says() -> None:
    y = np.tile([0.0, 1.0], 50)
    members = members_of(Task.BINARY, {"sure": y, "wrong": 1 - y, "half": np.full(100, 0.5)}, y)
    metric = METRICS["log_loss"]
    worths = target_of(members, [metric]).singles(members)
    np.testing.assert_allclose(worths, [-metric.score(y, one) for one in members.predictions], rtol=0.02, atol=1e-12)


def test_float32_members_are_judged_as_float64(library: Library) -> None:
    members = library()
    narrow = Members(members.task, members.names, members.predictions.astype(np.float32), members.y)
    for name in ("log_loss", "brier", "auc"):
        wide, same = (target_of(one, [METRICS[name]]).singles(one) for one in (members, narrow))
        np.testing.assert_allclose(same, wide, atol=1e-6)


def test_several_metrics_are_weighed_by_how_far_the_models_are_apart(library: Library) -> None:
    members = library()
    target = target_of(members, [METRICS["auc"], METRICS["brier"]])
    alone = [target_of(members, [METRICS[name]]).singles(members) for name in ("auc", "brier")]
    expected = alone[0] / alone[0].std() + alone[1] / alone[1].std()
    np.testing.assert_allclose(target.singles(members), expected)
    assert target.worth(members.y, members.predictions[0]) == pytest.approx(expected[0])


def test_a_metric_of_another_task_is_refused(library: Library) -> None:
    with pytest.raises(InvalidRequest, match="rmse: not a metric of a binary model"):
        target_of(library(), [METRICS["auc"], METRICS["rmse"]])
    with pytest.raises(InvalidRequest, match="at least one metric"):
        target_of(library(), [])


@pytest.mark.parametrize("name", ["auc", "f1", "balanced_accuracy"])
def test_a_metric_that_is_undefined_says_so_or_is_a_number(name: str) -> None:
    members = members_of(Task.BINARY, {"a": np.full(20, 0.2), "b": np.full(20, 0.7)}, np.zeros(20))
    target = target_of(members, [METRICS[name]])
    if name == "auc":
        with pytest.raises(InvalidData, match="auc: all rows are of one class"):
            target.singles(members)
    else:
        assert np.isfinite(target.singles(members)).all()


def test_values_too_large_to_be_squared_are_refused() -> None:
    members = members_of(Task.REGRESSION, {"a": [1e200, 0.0], "b": [1.0, 2.0]}, [0.0, 1.0])
    with pytest.raises(InvalidData, match="too large to be squared"):
        target_of(members, [METRICS["rmse"]]).singles(members)
