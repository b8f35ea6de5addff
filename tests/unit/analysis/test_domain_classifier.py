import numpy as np
import pytest

from optagent.analysis.domain_classifier import DomainRule, separability
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.domain.drift import Separability
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest

QUICK = DomainRule(most_rows=400, folds=3, rounds=8, resamples=100)


def make_rows(x, kinds=None) -> ObservedRows:
    kinds = kinds or ["numeric"] * x.shape[1]
    unknown = np.full(len(x), np.nan)
    columns = tuple(ObservedColumn(f"c{place}", kind) for place, kind in enumerate(kinds))
    time = np.arange(len(x), dtype=np.float64)
    return ObservedRows(Task.REGRESSION, columns, x.astype(np.float32), unknown, unknown, time, unknown)


def correlated_rows(rows, correlation, seed):
    x = np.random.default_rng(seed).normal(size=(rows, 3))
    x[:, 1] = correlation * x[:, 0] + np.sqrt(1 - correlation**2) * x[:, 1]
    return make_rows(x)


def test_a_change_of_correlation_that_no_column_shows_is_found_in_its_columns():
    report = separability(correlated_rows(2000, 0.0, 1), correlated_rows(2000, 0.9, 2), seed=0, rule=QUICK)
    assert report.verdict is Separability.SEPARABLE
    assert report.auc.low > 0.6
    assert set(list(report.importances)[:2]) == {"c0", "c1"}
    assert (report.rows_then, report.rows_now) == (400, 400)


def test_rows_of_the_same_world_are_not_separable():
    for seed in range(2):
        report = separability(correlated_rows(600, 0.5, 10 + seed), correlated_rows(600, 0.5, 20 + seed), seed, QUICK)
        assert report.verdict is not Separability.SEPARABLE


def test_neighbours_that_repeat_each_other_do_not_make_rows_separable():
    walk = np.random.default_rng(3).normal(size=(1200, 2)).repeat(3, axis=0)[:1200]
    report = separability(make_rows(walk[:600]), make_rows(walk[600:]), seed=0, rule=QUICK)
    assert report.verdict is not Separability.SEPARABLE


def test_the_same_seed_gives_the_same_report():
    sides = correlated_rows(300, 0.0, 4), correlated_rows(300, 0.5, 5)
    assert separability(*sides, seed=7, rule=QUICK) == separability(*sides, seed=7, rule=QUICK)


def test_dates_and_columns_that_do_not_vary_are_left_out():
    x = np.random.default_rng(6).normal(size=(400, 4))
    x[:, 1] = 5.0
    x[:, 2] = np.nan
    x[:, 3] = np.arange(400)
    both = make_rows(x, ["numeric", "numeric", "numeric", "datetime"])
    report = separability(both.where(np.arange(400) < 200), both.where(np.arange(400) >= 200), 0, QUICK)
    assert list(report.importances) == ["c0"]


def test_a_column_that_went_missing_separates():
    then, now = correlated_rows(200, 0.0, 8), correlated_rows(200, 0.0, 9)
    now.x[:, 2] = np.nan
    report = separability(then, now, 0, QUICK)
    assert report.verdict is Separability.SEPARABLE
    assert next(iter(report.importances)) == "c2"


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_too_few_rows_are_inconclusive_and_say_so(rows):
    report = separability(correlated_rows(300, 0.0, 1), correlated_rows(rows, 0.0, 2), 0, QUICK)
    assert (report.verdict, report.auc) == (Separability.INCONCLUSIVE, None)
    assert "100 rows" in report.reason or "no column" in report.reason


def test_different_columns_are_refused():
    with pytest.raises(InvalidData, match="different columns"):
        separability(make_rows(np.zeros((200, 2))), make_rows(np.zeros((200, 3))), 0)


def test_a_margin_of_one_half_is_refused():
    with pytest.raises(InvalidRequest, match=r"below 0\.5"):
        DomainRule(margin=0.5)
