import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.analysis.importance_drift import attribution_shift, ndcg
from optagent.codec import decode, encode
from optagent.domain.performance import AttributionShift
from optagent.errors import InvalidData

NAMES = ("a", "b", "c")


def test_the_same_ranking_is_no_change() -> None:
    shift = attribution_shift(NAMES, np.array([5.0, 3.0, 2.0]), np.array([0.6, 0.3, 0.1]))
    assert shift.ndcg == 1.0
    assert not shift.changed
    assert [one.name for one in shift.features] == ["a", "b", "c"]


def test_the_gain_is_that_of_the_formula() -> None:
    # Reference shares .7 .2 .1; the current order is c, b, a.
    ideal = 0.7 + 0.2 / np.log2(3) + 0.1 / 2
    shift = attribution_shift(NAMES, np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7]))
    assert shift.ndcg == pytest.approx((0.1 + 0.2 / np.log2(3) + 0.7 / 2) / ideal)
    assert shift.changed
    assert shift.movers == ("a", "c")
    first = shift.features[0]
    assert (first.name, first.reference_rank, first.current_rank) == ("c", 3, 1)
    assert first.change == pytest.approx(0.6)


def test_a_swap_among_the_last_is_no_change() -> None:
    shift = attribution_shift(NAMES, np.array([0.8, 0.11, 0.09]), np.array([0.8, 0.09, 0.11]))
    assert shift.ndcg is not None
    assert 0.99 < shift.ndcg < 1
    assert not shift.changed


@given(st.lists(st.tuples(st.floats(0.001, 100), st.floats(0.001, 100)), min_size=1, max_size=20))
def test_the_gain_is_a_share_of_the_ideal(pairs: list[tuple[float, float]]) -> None:
    reference, current = np.array(pairs).T
    assert 0 < ndcg(reference, current) <= 1
    assert ndcg(reference, reference) == 1


def test_without_a_contribution_there_is_no_ranking() -> None:
    some, none = np.array([0.5, 0.5, np.nan]), np.array([0.0, np.nan, np.inf])
    assert attribution_shift(NAMES, none, some).reason == "the reference has no contribution to rank"
    assert attribution_shift(NAMES, some, none).ndcg is None
    assert not attribution_shift((), np.empty(0), np.empty(0)).changed


def test_other_columns_are_refused() -> None:
    with pytest.raises(InvalidData, match="2 contributions for 3 columns"):
        attribution_shift(NAMES, np.ones(3), np.ones(2))


def test_the_answer_survives_json() -> None:
    shift = attribution_shift(NAMES, np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7]))
    assert decode(AttributionShift, encode(shift)) == shift
