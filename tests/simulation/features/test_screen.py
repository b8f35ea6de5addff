"""The bar is where chance gets to, for independent rows and for neighbours in time, and what is real is above it."""

from itertools import islice

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import rankdata

from optagent.features.basis import curves, hat_basis, ranks
from optagent.features.generate import candidate_inputs, candidates
from optagent.features.matching_pursuit import pursue
from optagent.features.residual import residual_of, standardise
from optagent.features.screening_statistics import (
    Block,
    ScreeningTarget,
    build_screen,
    chance_bar,
    screen_block,
    step_values,
)
from optagent.training.problem import Data
from optagent.training.steps import Product

DRAWS = 59


def screen_all(data: Data, residual: np.ndarray, seed: int = 0, ordered: bool = False, size: int = 1_000):
    """The candidates, their statistics, and the bar at 5 %."""
    rows = len(data)
    question = ScreeningTarget(standardise(residual[:, None]), np.ones(rows, bool), np.ones(rows, np.int64))
    screen = build_screen(data, [question], DRAWS, seed, ordered=ordered)
    steps = list(islice(candidates(candidate_inputs(data), data.names), 200))
    parts = [tuple(steps[start : start + size]) for start in range(0, len(steps), size)]
    blocks = [screen_block(screen, Block(part, np.ones((len(part), 1), bool))) for part in parts]
    return steps, np.concatenate([block.statistics[:, 0] for block in blocks]), chance_bar(blocks, 0.05, slice(None))


def alarms(worlds: int, make) -> float:
    """Share of worlds in which any candidate is above the bar."""
    count = 0
    for seed in range(worlds):
        data, residual, ordered = make(np.random.default_rng(seed))
        _, statistics, bar = screen_all(data, residual, seed, ordered)
        count += bool((statistics > bar.height).any())
    return count / worlds


def series(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """AR(1) with coefficient .9."""
    return lfilter([0.44], [1.0, -0.9], rng.normal(size=shape), axis=0)


def test_noise_gets_above_the_bar_as_rarely_as_alpha_says(make_data) -> None:
    def make(rng):
        return make_data(rng.normal(size=(120, 4)), np.zeros(120)), rng.standard_t(3, size=120), False

    # Three standard deviations of a binomial share at 100 worlds: .065.
    assert alarms(100, make) <= 0.05 + 0.065


def test_neighbours_in_time_raise_the_bar_that_permuted_rows_would_leave_too_low(make_data) -> None:
    def make(ordered):
        return lambda rng: (make_data(series(rng, (300, 3)), np.zeros(300)), series(rng, (300,)), ordered)

    assert alarms(30, make(ordered=False)) > 0.4
    assert alarms(50, make(ordered=True)) <= 0.05 + 0.09


def test_a_hidden_product_is_above_the_bar_and_blocks_change_nothing(make_data) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    residual = x[:, 2] * x[:, 4] + 2 * rng.normal(size=400)
    data = make_data(x, np.zeros(400))
    steps, whole, bar = screen_all(data, residual)
    _, by_block, other = screen_all(data, residual, size=7)
    assert steps[int(whole.argmax())] == Product("x2", "x4")
    assert whole.max() > bar.height
    assert bar.p_value(whole.max()) == 1 / (DRAWS + 1)
    assert by_block == pytest.approx(whole, rel=1e-4)
    assert other.height == pytest.approx(bar.height, rel=1e-4)


def test_a_prediction_that_knows_nothing_leaves_the_target_as_it_is() -> None:
    rng = np.random.default_rng(0)
    y, prediction = rng.normal(size=2_000), 0.5 * rng.normal(size=2_000)
    assert np.corrcoef(residual_of(y, prediction, "regression")[:, 0], prediction)[0, 1] == pytest.approx(0, abs=0.05)
    assert np.corrcoef(y - prediction, prediction)[0, 1] < -0.4  # which noisy features seem to explain


def test_ranks_are_those_of_scipy_with_ties_shared_and_missing_values_left_out() -> None:
    values = np.random.default_rng(0).integers(0, 9, size=(3, 200)).astype(np.float32)
    values[1, ::7] = np.nan
    ranked = ranks(values)
    for row, mine in zip(values, ranked, strict=True):
        known = ~np.isnan(row)
        assert mine[known] == pytest.approx(2 * (rankdata(row[known]) - 0.5) / known.sum() - 1, abs=1e-6)
        assert np.isnan(mine[~known]).all()


def test_curves_are_orthonormal_and_silent_where_a_feature_says_nothing() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 300)).astype(np.float32)
    values[1] = np.round(values[1])
    values[2] = values[2] > 0
    values[3] = 4.0
    values[4, 5:] = np.nan
    shapes = curves(values)
    for each in shapes[:2]:
        assert each @ each.T == pytest.approx(np.eye(3), abs=1e-3)
    assert shapes[2] @ shapes[2].T == pytest.approx(np.diag([1, 0, 0]), abs=1e-3)  # two values have one curve
    assert not shapes[3:].any()


def test_hat_functions_hold_every_curve_that_is_straight_between_knots() -> None:
    rank = np.linspace(-1, 1, 500, dtype=np.float32)
    shape = hat_basis(rank)
    assert shape[:, :-1].sum(axis=1) == pytest.approx(1.0)
    curve = np.abs(rank - 0.25)
    coefficients, *_ = np.linalg.lstsq(shape, curve, rcond=None)
    assert shape @ coefficients == pytest.approx(curve, abs=1e-4)


def test_a_column_that_explains_it_alone_takes_the_credit_from_its_combinations(make_data) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4))
    data = make_data(x, np.zeros(600))
    residual = standardise((np.sin(2 * x[:, 0]) + 0.5 * rng.normal(size=600))[:, None])
    steps = list(candidates(candidate_inputs(data), data.names))
    values, everything = step_values(data, steps), np.ones(600, bool)
    plain = np.ascontiguousarray(data.x.T)
    nothing = np.empty((0, 600), np.float32)
    assert pursue(plain, values, residual, everything, 30.0, 5) == ()
    assert len(pursue(nothing, values, residual, everything, 30.0, 5)) > 0


def test_of_many_that_resemble_the_truth_the_truth_alone_is_left(make_data) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(0.5, 3, size=(800, 4))
    data = make_data(x, np.zeros(800))
    residual = standardise((x[:, 0] / x[:, 1] + 0.3 * rng.normal(size=800))[:, None])
    steps = list(candidates(candidate_inputs(data), data.names))
    pursued = pursue(data.x.T.copy(), step_values(data, steps), residual, np.ones(800, bool), 30.0, 5)
    assert [steps[each.index].name for each in pursued] == ["x0 / x1"]
