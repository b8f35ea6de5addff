from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, norm

from optagent.analysis.binned_counts import BinCounter
from optagent.analysis.drift import DriftRule, report_drift
from optagent.analysis.drift_tests import TwoSampleResult, persistent_p_value
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile import Profile, make_profile
from optagent.analysis.whole_windows import LiveWindows
from optagent.codec import decode, encode
from optagent.domain.drift import DriftCheck, DriftReport, DriftStatus
from optagent.domain.model import Task
from optagent.errors import InvalidRequest

WINDOW = 1000
LEVEL = 0.05


def make_rows(x, start=0.0, columns=None, prediction=None) -> ObservedRows:
    """A row a second."""
    rows, width = x.shape
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        task=Task.REGRESSION,
        columns=columns or tuple(ObservedColumn(f"c{index}", "numeric") for index in range(width)),
        x=x.astype(np.float32),
        prediction=x[:, 0].astype(np.float64) if prediction is None else prediction,
        y=unknown,
        time=start + np.arange(rows),
        latency_ms=unknown,
    )


def series(rng, rows, columns, coefficient):
    """Autoregressive, of variance 1."""
    noise = rng.normal(size=(rows + 100, columns)) * np.sqrt(1 - coefficient**2)
    return lfilter([1.0], [1.0, -coefficient], noise, axis=0)[100:]


def reports(coefficient, seed, references, windows, shift=0.0, shifted=0) -> list[DriftReport]:
    """50 columns, of which the first `shifted` ones have moved since the reference."""
    drift_reports = []
    for turn in range(references):
        rng = np.random.default_rng([seed, turn])
        profile = make_profile(make_rows(series(rng, 5000, 50, coefficient)))
        live = series(rng, WINDOW * (windows + 1), 50, coefficient)
        live[:, :shifted] += shift
        folder = BinCounter(profile, WINDOW / 24)
        counts = [
            folder.fold(make_rows(live[first : first + WINDOW], float(first))) for first in range(0, len(live), WINDOW)
        ]
        drift_reports += [
            report_drift(profile, LiveWindows((now, before)), {}, LEVEL) for before, now in pairwise(counts)
        ]
    return drift_reports


@pytest.mark.parametrize("coefficient", [0.0, 0.6])
def test_without_drift_windows_alarm_no_more_often_than_the_level_says(coefficient):
    """Also where every row half repeats the one before it."""
    drift_reports = reports(coefficient, seed=1, references=2, windows=12)
    most = binom.ppf(0.995, len(drift_reports), LEVEL)
    assert sum(report.status is DriftStatus.DRIFTED for report in drift_reports) <= most
    assert sum(report.prediction_status is DriftStatus.DRIFTED for report in drift_reports) <= most
    assert np.mean([report.score for report in drift_reports]) < 0.001


@pytest.mark.parametrize(("coefficient", "shift", "least"), [(0.0, 0.25, 0.95), (0.0, 0.5, 1.0), (0.6, 0.5, 0.95)])
def test_shifts_of_a_tenth_of_the_columns_are_found_and_no_others(coefficient, shift, least):
    drift_reports = reports(coefficient, seed=2, references=2, windows=4, shift=shift, shifted=5)
    shifted_names = {f"c{index}" for index in range(5)}
    assert np.mean([len(shifted_names & set(report.drifted_features)) / 5 for report in drift_reports]) >= least
    assert sum(bool(set(report.drifted_features) - shifted_names) for report in drift_reports) <= 1


def test_repetition_is_paid_for():
    worth = [reports(coefficient, 3, 1, 1)[0].features[0].effective_rows for coefficient in (0.0, 0.6)]
    assert 0.65 * WINDOW < worth[0] <= WINDOW
    assert WINDOW / 6 < worth[1] < WINDOW / 2


class Watch:
    """A reference of one column of each kind, and windows of an hour against it."""

    def __init__(self) -> None:
        self.columns = (
            ObservedColumn("number", "numeric"),
            ObservedColumn("day", "datetime"),
            ObservedColumn("flag", "boolean"),
            ObservedColumn("kind", "categorical", ("x", "y", "z")),
            ObservedColumn("constant", "numeric"),
            ObservedColumn("empty", "numeric"),
        )
        self.profile = make_profile(self.rows(3000, 0))
        self.folder = BinCounter(self.profile, 60.0)

    def rows(self, rows, seed, start=0.0) -> ObservedRows:
        rng = np.random.default_rng(seed)
        kind = rng.choice(3, rows, p=[0.6, 0.3, 0.1])
        x = np.column_stack([rng.normal(10, 2, rows), rng.uniform(0, 7, rows), rng.integers(0, 2, rows), kind])
        x = np.column_stack([x, np.full(rows, 3.0), np.full(rows, np.nan)])
        return make_rows(x, start, self.columns, rng.normal(size=rows))

    def report(self, change=None, rows=2000, before=True, importances=None) -> DriftReport:
        counts = []
        for turn in range(2):
            window = self.rows(rows, 10 + turn, turn * 3600.0)
            if change is not None:
                change(window.x)
            counts.insert(0, self.folder.fold(window))
        live = LiveWindows(tuple(counts if before else counts[:1]))
        return report_drift(self.profile, live, importances or {}, 0.01)

    def column(self, name, *args, **kwargs):
        return next(one for one in self.report(*args, **kwargs).features if one.name == name)


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def test_the_same_world_is_stable(watch):
    report = watch.report()
    assert (report.status, report.score, report.drifted_features, report.suspected_features) == (
        DriftStatus.STABLE,
        0.0,
        (),
        (),
    )
    assert report.prediction_status is DriftStatus.STABLE
    assert decode(DriftReport, encode(report)) == report


def test_without_a_window_before_drift_is_only_suspected(watch):
    def move(x):
        x[:, 0] += 0.6

    assert watch.report(move, rows=200, before=False).status is DriftStatus.SUSPECTED
    assert watch.report(move, rows=200).drifted_features == ("number",)


def test_one_window_alone_is_only_suspected(watch):
    calm, shifted = watch.rows(200, 1), watch.rows(200, 2, 3600.0)
    shifted.x[:, 0] += 0.8
    live = LiveWindows((watch.folder.fold(shifted), watch.folder.fold(calm)))
    assert report_drift(watch.profile, live, {}, 0.01).suspected_features == ("number",)


def test_one_window_beyond_doubt_is_enough(watch):
    def move(x):
        x[:, 0] += 2

    assert watch.report(move, before=False).drifted_features == ("number",)


def test_a_drifted_number_is_described(watch):
    def move(x):
        x[:, 0] += 2

    column = watch.column("number", move)
    assert column.effect == pytest.approx(0.383, abs=0.04)
    assert column.wasserstein == pytest.approx(1.0, abs=0.08)
    assert column.psi == pytest.approx(0.95, abs=0.2)
    assert column.now.mean == pytest.approx(12, abs=0.1)
    assert column.then.mean == pytest.approx(10, abs=0.1)
    assert column.now.outside < 0.05


def test_a_change_of_unit_is_seen_in_the_mean(watch):
    def move(x):
        x[:, 0] *= 1000

    column = watch.column("number", move)
    assert column.now.mean == pytest.approx(10_000, rel=0.02)
    assert column.now.outside == pytest.approx(1.0)
    assert column.wasserstein > 1000


def test_a_drifted_category_is_described(watch):
    def move(x):
        x[:, 3] = np.where(x[:, 3] == 0, 1, x[:, 3])

    column = watch.column("kind", move)
    assert column.status is DriftStatus.DRIFTED
    assert column.effect == pytest.approx(0.6, abs=0.05)
    assert column.now.shares == {"y": pytest.approx(0.9, abs=0.03), "z": pytest.approx(0.1, abs=0.03), "x": 0.0}
    assert 0.6 < column.cramers_v < 0.8
    assert column.wasserstein is None


@pytest.mark.parametrize(
    ("place", "value", "check"),
    [(0, np.nan, DriftCheck.MISSING), (3, 3, DriftCheck.UNSEEN), (3, np.nan, DriftCheck.MISSING)],
)
def test_missing_and_unseen_values_are_found_by_tests_of_their_own(watch, place, value, check):
    def move(x):
        x[::25, place] = value

    column = watch.column(watch.columns[place].name, move)
    assert column.status is DriftStatus.DRIFTED
    assert [test.check for test in column.tests if test.status is DriftStatus.DRIFTED] == [check]


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("value", [np.nan, 3.0, -1e30])
def test_a_column_of_one_value_or_none_gives_a_report(watch, place, value):
    def move(x):
        x[:, place] = value

    report = watch.report(move)
    assert decode(DriftReport, encode(report)) == report
    unchanged = (4, 3.0), (5, np.nan)
    same = (place, value) in unchanged or (place == 5 and np.isnan(value))
    assert report.drifted_features == (() if same else (watch.columns[place].name,))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_handful_of_rows_is_no_drift(watch, rows):
    report = watch.report(rows=rows)
    assert report.drifted_features == ()
    assert report.rows_now == rows


def test_an_empty_window_is_unknown(watch):
    empty = watch.folder.empty()
    for before in ((), (empty,), (watch.folder.fold(watch.rows(100, 3)),)):
        report = report_drift(watch.profile, LiveWindows((empty, *before)), {}, 0.01)
        assert (report.status, report.prediction_status) == (DriftStatus.UNKNOWN, DriftStatus.UNKNOWN)
        assert (report.score, report.rows_now) == (0.0, 0)
    now = watch.folder.fold(watch.rows(100, 3))
    assert report_drift(watch.profile, LiveWindows((now, empty)), {}, 0.01).status is DriftStatus.STABLE


def test_a_reference_of_one_row_gives_a_report(watch):
    profile = make_profile(watch.rows(1, 0))
    now = BinCounter(profile).fold(watch.rows(500, 1))
    assert report_drift(profile, LiveWindows((now, now)), {}, 0.01).rows_then == 1


def test_the_score_weighs_by_importance(watch):
    def move(x):
        x[:, 0] += 2

    equal = watch.report(move)
    assert equal.score == pytest.approx(equal.features[0].effect / 6)
    assert watch.report(move, importances={"number": 3.0, "kind": 1.0}).score == pytest.approx(4.5 * equal.score)
    assert watch.report(move, importances={"kind": 1.0, "number": float("nan")}).score == 0.0


def test_a_small_effect_is_no_drift_however_significant(watch):
    def move(x):
        x[:, 0] += 2

    counts = watch.folder.fold(watch.rows(2000, 5))
    shifted = watch.rows(2000, 6)
    move(shifted.x)
    now = watch.folder.fold(shifted)
    live, rule = LiveWindows((now, now)), DriftRule(effect_floor=0.5)
    assert report_drift(watch.profile, live, {}, 0.01, rule).drifted_features == ()
    assert report_drift(watch.profile, LiveWindows((counts, counts)), {}, 0.01).drifted_features == ()


def test_prediction_drift_is_reported_apart(watch):
    windows = [replace(watch.rows(2000, seed), prediction=np.full(2000, 3.0)) for seed in (1, 2)]
    live = LiveWindows(tuple(watch.folder.fold(window) for window in windows))
    report = report_drift(watch.profile, live, {}, 0.01)
    assert (report.status, report.prediction_status) == (DriftStatus.STABLE, DriftStatus.DRIFTED)
    assert report.prediction_score > 0.9


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_a_level_that_is_no_chance_is_refused(watch, level):
    with pytest.raises(InvalidRequest, match="level must be between 0 and 1"):
        report_drift(watch.profile, LiveWindows((watch.folder.empty(),)), {}, level)


@pytest.mark.parametrize("rows_of_reference", [100, 1000, 1_000_000])
def test_the_p_value_of_two_windows_is_uniform_though_they_share_a_reference(rows_of_reference):
    rng = np.random.default_rng(0)
    rows, turns = 1000, 200_000
    reference = rng.normal(size=turns) / np.sqrt(rows_of_reference)
    spread = np.sqrt(1 / rows + 1 / rows_of_reference)
    smaller = np.abs((rng.normal(size=(2, turns)) / np.sqrt(rows) - reference) / spread).min(axis=0)
    for at in (1.0, 2.0):
        p = float(2 * norm.sf(at))
        both = persistent_p_value(
            TwoSampleResult(0.1, p, 1 / rows), TwoSampleResult(0.1, p, 1 / rows), 1 / rows_of_reference
        )
        assert both == pytest.approx((smaller > at).mean(), rel=0.15, abs=1e-4)


def test_independent_windows_multiply():
    assert persistent_p_value(TwoSampleResult(0.1, 0.01, 1e-3), TwoSampleResult(0.1, 0.02, 1e-3), 0.0) == pytest.approx(
        4e-4
    )
    assert persistent_p_value(TwoSampleResult(0.1, 1e-30, 1e-3), TwoSampleResult(0.1, 1e-40, 1e-3), 1e-5) <= 1e-15
    assert persistent_p_value(TwoSampleResult(0.1, 0.0, 1e-3), TwoSampleResult(0.1, 0.0, 1e-3), 1e-5) == 0.0


def test_a_profile_read_back_gives_the_same_report(watch):
    again = decode(Profile, encode(watch.profile))
    rows = watch.rows(500, 7)
    first, second = (
        report_drift(profile, LiveWindows((BinCounter(profile, 60.0).fold(rows),)), {}, 0.01)
        for profile in (watch.profile, again)
    )
    assert first == second


def test_a_multiclass_model_is_watched_by_class():
    def rows(seed, concentration):
        rng = np.random.default_rng(seed)
        plain = make_rows(rng.normal(size=(1000, 1)), prediction=rng.dirichlet(concentration, 1000))
        return replace(plain, task=Task.MULTICLASS, n_classes=3)

    profile = make_profile(rows(0, [2, 2, 2]))
    folder = BinCounter(profile, 30.0)
    for concentration, status in (([2, 2, 2], DriftStatus.STABLE), ([4, 2, 2], DriftStatus.DRIFTED)):
        live = LiveWindows(tuple(folder.fold(rows(seed, concentration)) for seed in (2, 1)))
        report = report_drift(profile, live, {}, 0.01)
        assert report.prediction_status is status
        assert [one.name for one in report.predictions][::3] == ["prediction:0", "prediction:label"]
