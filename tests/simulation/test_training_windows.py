"""Choice of a training window: past rows are left out where they mislead, and not for luck on a few hundred rows."""

import pytest
from scipy.stats import binom

from tests.performance.decisions.samples import chosen_window, promised_skill

RUNS = 20


def count_short_windows(rows: int, turned_at: int | None = None, strength: float = 1.0, runs: int = 6) -> int:
    return sum(chosen_window(seed, rows, turned_at, strength).name != "expanding" for seed in range(runs))


def test_of_rows_that_nothing_happened_to_hardly_any_are_left_out() -> None:
    # The window of the best score leaves rows out in 8 of these.
    assert count_short_windows(2_500, strength=0.25, runs=RUNS) <= binom.ppf(0.9, RUNS, 0.1)


def test_rows_of_another_law_are_left_out() -> None:
    assert count_short_windows(2_500, turned_at=1_250) >= 4
    assert count_short_windows(6_000, turned_at=3_000) >= 5


def test_a_holdout_of_customers_who_were_learned_promises_what_new_customers_do_not_keep() -> None:
    assert promised_skill(4, "customer") == pytest.approx(0.5, abs=0.06)
    assert promised_skill(4, None) > 0.7
