"""Rollout losses: each row counts once, with its latest label, and a failure of the candidate as a failure."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.rollout_evidence import PairedLosses, SplitLosses
from optagent.domain.model import Task
from optagent.domain.rollout import begin, promote
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.loop.rollout.evidence import (
    RowLoss,
    guarded_requests,
    labels_for,
    loss_moments,
    read_rollout_rows,
    rollout_losses,
    row_loss,
)
from optagent.serving.evidence_record import EvidenceRecord, evidence_table
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema

SCHEMA = Schema((FeatureColumn("amount", Kind.NUMERIC),), "churned", Task.BINARY, ("no", "yes"))
BRIER = RowLoss(Task.BINARY)
POLICY = RolloutPolicy(ramp=(0.25, 0.5), budget_ms=50.0)
SHADOW = begin("r1", "churn", "1", "2", POLICY, 0.0, "ana")
RAMP = begin("r1", "churn", "1", "2", replace(POLICY, shadow=False), 0.0, "ana")
BAKING = promote(SHADOW, "ana", "sure", 1.0)
LATE = 1_000_000.0


def row(name, time=1.0, champion=0.4, candidate=0.2, **facts):
    """One request of one row, as a gateway notes it."""
    defaults = {
        "ids": [name],
        "time": time,
        "rollout": "r1",
        "state": "shadow",
        "step": 0,
        "arm": "champion",
        "share": 0.0,
        "unit": name,
        "version": "1",
        "failed": False,
        "latency_ms": 5.0,
        "champion": None if champion is None else np.array([champion]),
        "candidate": None if candidate is None else np.array([candidate]),
    }
    return EvidenceRecord(**{**defaults, **facts})


def split(name, arm="champion", share=0.25, **facts):
    own = {"candidate": None, "latency_ms": None} if arm == "champion" else {"champion": None}
    return row(name, **{"state": "ramp", "arm": arm, "share": share, **own, **facts})


def evidence(*rows, outputs=1):
    return read_rollout_rows([evidence_table(rows, outputs)], "r1", outputs)


def label_values(rows, labels, schema=SCHEMA):
    """`labels` are (id, label) or (id, label, time)."""
    times = [round((item[2] if len(item) > 2 else 2.0) * 1e6) for item in labels]
    table = pa.table(
        {
            "id": pa.array([item[0] for item in labels], pa.large_string()),
            "time": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "label": pa.array([item[1] for item in labels]),
        }
    )
    return labels_for(rows, [table], schema)


def losses(rollout, rows, labels, now=LATE):
    recorded = evidence(*rows)
    return rollout_losses(recorded, label_values(recorded, labels), BRIER, rollout, now)


def test_both_versions_are_compared_on_the_same_rows_in_the_order_of_requests():
    result = losses(SHADOW, [row("b", 2.0), row("a", 1.0, 0.9, 0.8)], [("a", "yes"), ("b", "no")])

    assert isinstance(result, PairedLosses)
    np.testing.assert_allclose(result.champion, [0.01, 0.16])
    np.testing.assert_allclose(result.candidate, [0.04, 0.04])


def test_each_id_counts_once_with_its_earliest_row_and_its_latest_label():
    again = row("a", 3.0, champion=0.0)
    result = losses(SHADOW, [again, row("a", 1.0)], [("a", "no", 2.0), ("a", "yes", 5.0)])

    np.testing.assert_allclose(result.champion, [0.36])


def test_rows_of_other_rollouts_and_states_are_not_of_this_one():
    others = [row("b", rollout="r0"), row("c", state="baking"), split("d")]
    result = losses(SHADOW, [row("a"), *others], [(name, "no") for name in "abcd"])

    assert len(result.champion) == 1
    assert (
        rollout_losses(evidence(*others), np.zeros(2), BRIER, replace(SHADOW, state=RolloutState.ABORTED), LATE) is None
    )


def test_a_row_without_a_label_has_no_loss():
    result = losses(SHADOW, [row("a"), row("b")], [("b", "maybe"), ("c", "no")])

    assert np.isnan(result.champion).all()
    assert np.isnan(result.candidate).all()


@pytest.mark.parametrize("rollout", [SHADOW, BAKING])
def test_where_the_candidate_failed_the_champion_answers_and_its_loss_counts(rollout):
    failed = row("a", candidate=None, failed=True, state=str(rollout.state))
    result = losses(rollout, [failed], [("a", "no")])

    assert (result.champion[0], result.candidate[0]) == pytest.approx((0.16, 0.16))


def test_a_row_that_the_champion_did_not_answer_compares_nothing():
    result = losses(BAKING, [row("a", champion=None, state="baking")], [("a", "no")])

    assert np.isnan(result.champion[0])
    assert np.isnan(result.candidate[0])


def test_on_split_traffic_the_arm_that_was_drawn_counts_whoever_answered():
    rows = [
        split("a", unit="ann"),
        split("b", "candidate", unit="bob", time=2.0),
        split("c", "candidate", unit="ann", time=3.0, share=0.5, failed=True, champion=np.array([0.4]), candidate=None),
    ]
    result = losses(RAMP, rows, [("a", "no"), ("b", "no"), ("c", "no")])

    assert isinstance(result, SplitLosses)
    assert result.candidate.tolist() == [False, True, True]
    assert result.share.tolist() == [0.25, 0.25, 0.5]
    np.testing.assert_allclose(result.loss, [0.16, 0.04, 0.16])
    assert (result.units[0] == result.units[2], result.units[0] == result.units[1]) == (True, False)


def test_rows_mature_by_their_age_alone():
    waiting = replace(SHADOW, policy=replace(POLICY, label_delay_s=10.0))
    result = losses(waiting, [row("a", 1.0), row("b", 2.0)], [("b", "no")], now=11.5)

    assert result.matured.tolist() == [True, False]


def test_the_guardrails_are_of_the_requests_that_the_candidate_was_asked_for():
    rows = [
        row("a"),
        row("b", 2.0, candidate=None, failed=True),
        row("c", 3.0, latency_ms=51.0),
        row("d", 4.0, candidate=None, failed=True, latency_ms=60.0),
        split("e", time=5.0),
        split("f", "candidate", time=6.0, candidate=np.array([np.nan])),
        split("g", "candidate", time=7.0, latency_ms=None),
    ]
    guarded = guarded_requests(evidence(*rows), SHADOW)

    assert guarded.times.tolist() == [1, 2, 3, 4, 6, 7]
    assert guarded.flags["errors"].tolist() == [0, 1, 0, 0, 1, 0]
    assert guarded.flags["slow"].tolist() == [0, 0, 1, 1, 0, 1]


def test_the_rows_of_one_request_count_once():
    batch = row("x", 2.0, latency_ms=99.0, ids=["b", "c", "d"], champion=None, candidate=None, failed=True)
    guarded = guarded_requests(evidence(row("a"), batch, row("e", 2.0)), SHADOW)

    assert guarded.times.tolist() == [1, 2, 2]
    assert sorted(guarded.flags["slow"].tolist()) == [0, 0, 1]


def test_a_request_that_the_champion_was_slow_for_too_is_no_fault_of_the_candidate():
    rows = [row("a", latency_ms=80.0, champion_ms=90.0), row("b", 2.0, latency_ms=80.0, champion_ms=3.0)]

    assert guarded_requests(evidence(*rows), SHADOW).flags["slow"].tolist() == [0, 1]


def test_on_split_traffic_the_champions_requests_of_the_same_seconds_excuse_the_candidate():
    rows = [
        split("a", time=1.0, champion_ms=90.0),
        split("b", time=1.5, champion_ms=4.0),
        split("c", "candidate", time=2.0, latency_ms=80.0),
        split("d", "candidate", time=60.0, latency_ms=80.0),
    ]

    assert guarded_requests(evidence(*rows), RAMP).flags["slow"].tolist() == [0.5, 1]


def test_no_rows_say_nothing():
    nothing = read_rollout_rows([], "r1", 1)
    result = rollout_losses(nothing, labels_for(nothing, [], SCHEMA), BRIER, RAMP, LATE)

    assert len(nothing) == len(result.loss) == 0
    assert guarded_requests(nothing, RAMP).times.tolist() == []


def test_probabilities_of_several_classes_are_read_and_scored():
    schema = replace(SCHEMA, task=Task.MULTICLASS, classes=("a", "b", "c"))
    rows = [row("x", champion=np.zeros(3), candidate=None)._replace(champion=np.array([[0.2, 0.5, 0.3]]))]
    recorded = evidence(*rows, outputs=3)
    loss = RowLoss(Task.MULTICLASS)(label_values(recorded, [("x", "b")], schema), recorded.champion)

    assert loss[0] == pytest.approx((0.04 + 0.25 + 0.09) / 2)


def test_the_score_of_two_classes_is_that_of_their_probability():
    y, p = np.array([0.0, 1.0, np.nan]), np.array([0.3, 0.3, 0.3])
    alone, both = p[:, None], np.column_stack([1 - p, p])

    np.testing.assert_allclose(BRIER(y, alone), [0.09, 0.49, np.nan])
    np.testing.assert_allclose(RowLoss(Task.MULTICLASS)(y, both), BRIER(y, alone))


def test_what_is_no_number_has_no_loss_and_no_row_loses_more_than_one():
    scores = np.array([[np.nan], [np.inf], [7.0]])

    np.testing.assert_array_equal(BRIER(np.zeros(3), scores), [np.nan, np.nan, 1.0])
    assert np.isnan(RowLoss(Task.REGRESSION)(np.zeros(3), scores)[:2]).all()


def regression(errors):
    y = np.arange(len(errors), dtype=np.float64)
    empty = np.zeros((len(y), 0), dtype=np.float32)
    return ObservedRows(Task.REGRESSION, (), empty, y + errors, y, y, np.full(len(y), np.nan))


def test_wild_errors_cost_no_more_than_the_largest_of_the_reference():
    reference = regression(np.random.default_rng(0).normal(0, 2.0, 20_000))
    loss = row_loss(Task.REGRESSION, "", reference)
    row_losses = loss(np.zeros(3), np.array([[1.0], [3.0], [1e9]]))

    assert row_losses[:2].tolist() == [1.0, 9.0]
    assert row_losses[2] == pytest.approx((3.29 * 2.0) ** 2, rel=0.15)
    assert loss_moments(loss, reference)[0] == pytest.approx(4.0, rel=0.05)


def test_the_median_is_judged_by_the_absolute_error_where_the_model_asks_for_it():
    loss = row_loss(Task.REGRESSION, "mae", regression(np.array([-9.0, 9.0])))

    assert loss(np.zeros(1), np.array([[3.0]]))[0] == 3.0


def test_a_quantile_is_judged_by_its_own_loss_on_both_sides():
    reference = regression(np.array([-9.0, 9.0]))
    loss = row_loss(Task.REGRESSION, "pinball_90", reference)
    np.testing.assert_allclose(loss(np.zeros(2), np.array([[1.0], [-1.0]])), [0.1, 0.9])
    assert row_loss(Task.REGRESSION, "pinball_50", reference)(np.zeros(1), np.array([[3.0]]))[0] == 3.0


def test_a_champion_without_an_error_leaves_errors_as_they_are():
    assert row_loss(Task.REGRESSION, "", regression(np.zeros(5))).largest == np.inf
