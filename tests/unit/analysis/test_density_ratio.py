import numpy as np
import pytest

from optagent.analysis.density_ratio import balancing_weights, fit_density_ratio
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.domain.model import Task
from optagent.errors import InvalidData


def make_rows(x: np.ndarray, kinds: list[str] | None = None) -> ObservedRows:
    rows = len(x)
    kinds = kinds or ["numeric"] * x.shape[1]
    columns = tuple(ObservedColumn(f"c{place}", kind) for place, kind in enumerate(kinds))
    unknown, answer = np.full(rows, np.nan), np.linspace(0.1, 0.9, rows)
    return ObservedRows(
        Task.BINARY, columns, x.astype(np.float32), answer, unknown, np.arange(rows, dtype=float), unknown
    )


def normal(rows: int, seed: int, columns: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def test_rows_of_the_same_world_have_equal_weights() -> None:
    ratio = fit_density_ratio(make_rows(normal(2000, 0)))
    windows = [ratio.weigh(make_rows(normal(500, seed))) for seed in range(1, 21)]
    assert sum(likeness.weights is None for likeness in windows) >= 12
    assert min(likeness.effective_rows for likeness in windows) > 1800
    assert not any(likeness.refusal for likeness in windows)


def test_weights_give_the_reference_the_means_of_a_shifted_window() -> None:
    then, now = normal(4000, 0), normal(1000, 1)
    now[:, 0] += 0.7
    likeness = fit_density_ratio(make_rows(then)).weigh(make_rows(now))
    assert likeness.weights is not None
    assert likeness.weights.mean() == pytest.approx(1)
    assert np.average(then[:, 0], weights=likeness.weights) == pytest.approx(now[:, 0].mean(), abs=0.05)
    assert likeness.effective_rows == pytest.approx(4000 * np.exp(-(0.7**2)), rel=0.15)


def test_a_correlation_that_no_column_shows_is_balanced_and_widens_neither() -> None:
    then, now = normal(4000, 0), normal(1000, 1)
    now[:, 1] = 0.6 * now[:, 0] + 0.8 * now[:, 1]
    weights = fit_density_ratio(make_rows(then)).weigh(make_rows(now)).weights
    assert weights is not None
    covariance = np.cov(then[:, :2].T, aweights=weights)
    assert covariance == pytest.approx(np.cov(now[:, :2].T), abs=0.1)


def test_categories_and_missing_values_are_balanced() -> None:
    rng = np.random.default_rng(2)
    then = np.column_stack([rng.choice(3, 3000, p=[0.6, 0.3, 0.1]), np.where(rng.random(3000) < 0.1, np.nan, 1.0)])
    now = np.column_stack([rng.choice(3, 800, p=[0.3, 0.3, 0.4]), np.where(rng.random(800) < 0.3, np.nan, 1.0)])
    kinds = ["categorical", "numeric"]
    weights = fit_density_ratio(make_rows(then, kinds)).weigh(make_rows(now, kinds)).weights
    assert weights is not None
    for category in range(3):
        share = np.average(then[:, 0] == category, weights=weights)
        assert share == pytest.approx((now[:, 0] == category).mean(), abs=0.02)
    assert np.average(np.isnan(then[:, 1]), weights=weights) == pytest.approx(np.isnan(now[:, 1]).mean(), abs=0.02)


def test_dates_do_not_count() -> None:
    then, now = normal(1000, 0, 2), normal(500, 1, 2)
    now[:, 1] += 1000
    kinds = ["numeric", "datetime"]
    assert not fit_density_ratio(make_rows(then, kinds)).weigh(make_rows(now, kinds)).refusal


def test_a_window_unlike_the_reference_is_refused_with_the_numbers() -> None:
    now = normal(500, 1) + 0.9
    refusal = fit_density_ratio(make_rows(normal(1000, 0))).weigh(make_rows(np.clip(now, -2.5, 2.5))).refusal
    assert refusal.startswith("its features are too unlike the reference's, of whose 1,000 labelled rows only ")
    assert refusal.endswith("resemble it, at least 100 are needed")


@pytest.mark.parametrize(
    ("kind", "value"), [("numeric", 9.0), ("numeric", np.nan), ("categorical", 7.0), ("categorical", np.nan)]
)
def test_values_that_the_reference_never_had_are_refused_by_name(kind: str, value: float) -> None:
    then, now = normal(1000, 0), normal(100, 1)
    then[:, 2], now[:, 2] = np.arange(1000) % 3, np.arange(100) % 3
    now[:5, 2] = value
    kinds = ["numeric", "numeric", kind]
    refusal = fit_density_ratio(make_rows(then, kinds)).weigh(make_rows(now, kinds)).refusal
    assert refusal == "5.0% of the rows have values of c2 that the reference never had"


def test_columns_that_are_constant_or_empty_do_no_harm() -> None:
    then, now = normal(500, 0, 4), normal(100, 1, 4)
    for x in (then, now):
        x[:, 1], x[:, 2], x[:, 3] = 5.0, np.nan, np.inf
    assert not fit_density_ratio(make_rows(then)).weigh(make_rows(now)).refusal


def test_many_columns_are_weighed_without_all_their_products() -> None:
    then, now = normal(1500, 0, 130), normal(500, 1, 130)
    now[:, 7] += 0.5
    weights = fit_density_ratio(make_rows(then)).weigh(make_rows(now)).weights
    assert weights is not None
    assert np.average(then[:, 7], weights=weights) == pytest.approx(now[:, 7].mean(), abs=0.05)


def test_rows_of_other_columns_are_refused() -> None:
    with pytest.raises(InvalidData, match="3 columns with the answers, those of the reference are 4"):
        fit_density_ratio(make_rows(normal(300, 0))).weigh(make_rows(normal(50, 1, 2)))


def test_a_target_out_of_reach_ends_with_finite_weights() -> None:
    functions = np.random.default_rng(0).normal(size=(200, 2))
    weights = balancing_weights(functions, np.array([50.0, 0.0]))
    assert np.isfinite(weights).all()
    assert weights.max() > 50
