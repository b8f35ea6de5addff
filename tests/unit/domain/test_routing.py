"""Routing: the arm of a key, and the table of a rollout."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.codec import decode, encode
from optagent.domain.prediction_interval import IntervalThresholds
from optagent.domain.rollout import abort, begin, promote
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.routing import Arm, RoutingTable, table_of
from optagent.errors import InvalidRequest

ROLLOUT = begin("r1", "churn", "1", "2", RolloutPolicy(), 0.0, "me")
RAMP = begin("r1", "churn", "1", "2", RolloutPolicy(shadow=False), 0.0, "me")


def split(share: float) -> RoutingTable:
    return RoutingTable("churn", 1, "1", "2", share, rollout_id="r1")


@given(st.text(), st.floats(0.01, 0.98))
def test_a_key_stays_with_the_candidate_when_its_share_grows(key: str, share: float) -> None:
    if split(share).arm(key) is Arm.CANDIDATE:
        assert split(share + 0.01).arm(key) is Arm.CANDIDATE


def test_the_share_of_keys_is_the_share_that_was_asked_for() -> None:
    count = sum(split(0.25).arm(str(key)) is Arm.CANDIDATE for key in range(20_000))
    assert abs(count / 20_000 - 0.25) < 4 * (0.25 * 0.75 / 20_000) ** 0.5


def test_two_rollouts_draw_independently() -> None:
    other = RoutingTable("churn", 1, "1", "2", 0.5, rollout_id="r2")
    both = sum(split(0.5).arm(str(key)) is other.arm(str(key)) for key in range(20_000))
    assert abs(both / 20_000 - 0.5) < 4 * (0.25 / 20_000) ** 0.5


def test_without_a_rollout_the_champion_answers_alone() -> None:
    assert table_of("churn", 3, "1") == RoutingTable("churn", 3, "1")
    assert table_of("churn", 3, "1").arm("any") is Arm.CHAMPION


def test_shadow_asks_the_candidate_and_answers_with_the_champion() -> None:
    table = table_of("churn", 1, "1", ROLLOUT)
    assert (table.champion, table.candidate, table.shadow, table.state) == ("1", None, "2", "shadow")


def test_the_ramp_splits_by_its_step() -> None:
    table = table_of("churn", 1, "1", RAMP)
    assert (table.champion, table.candidate, table.share, table.shadow) == ("1", "2", 0.05, None)


def test_while_baking_the_champion_of_before_stays_loaded_and_is_shadowed() -> None:
    table = table_of("churn", 1, "1", promote(ROLLOUT, "me", "sure", 1.0))
    assert (table.champion, table.candidate, table.shadow) == ("2", None, "1")
    assert set(table.versions) == {"1", "2"}


def test_an_ended_rollout_leaves_the_champion_alone() -> None:
    assert table_of("churn", 2, "1", abort(ROLLOUT, "me", "no", 1.0)) == RoutingTable("churn", 2, "1")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"revision": 0}, "revision"),
        ({"share": 1.0, "candidate": "2"}, "share"),
        ({"share": 0.5}, "candidate"),
        ({"candidate": "2"}, "share"),
        ({"candidate": "1", "share": 0.1}, "compared with itself"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        RoutingTable(**{"model_id": "churn", "revision": 1, "champion": "1", **fields})  # type: ignore[arg-type]


def test_a_table_of_before_there_were_intervals_is_still_read() -> None:
    stored = json.loads(encode(RoutingTable("churn", 1, "1")))
    del stored["intervals"]
    assert decode(RoutingTable, json.dumps(stored)) == RoutingTable("churn", 1, "1")


def test_other_thresholds_answer_otherwise() -> None:
    one, other = (
        RoutingTable("churn", 1, "1", intervals=IntervalThresholds((1.0, 2.0, 3.0, 4.0, last))) for last in (5.0, 6.0)
    )
    assert not one.answers_like(other)


@pytest.mark.parametrize("thresholds", [(1.0,), (5.0, 4.0, 3.0, 2.0, 1.0), (-1.0, 0.0, 1.0, 2.0, 3.0)])
def test_thresholds_that_cannot_be_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(InvalidRequest, match="thresholds"):
        IntervalThresholds(thresholds)
