from dataclasses import replace

import numpy as np
import pytest

from optagent.analysis.binned_counts import BinCounter
from optagent.analysis.column_groups import ColumnGroups
from optagent.analysis.drift import report_drift
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile import Profile, groups_of, make_profile
from optagent.analysis.reference_series import MOST_BUCKETS
from optagent.analysis.reference_units import reference_units
from optagent.analysis.whole_windows import LiveWindows, missing_weekdays
from optagent.codec import decode, encode
from optagent.domain.drift import DriftCheck, DriftStatus
from optagent.domain.model import Task
from optagent.domain.monitoring import Window

DAY = 86_400.0
MONDAY = 1_704_067_200.0
A_DAY = 200
COLUMNS = (ObservedColumn("number", "numeric"), ObservedColumn("kind", "categorical", ("x", "y", "z")))


def make_rows(days: float, start: float = MONDAY, seed: int = 0, a_day: int = A_DAY) -> ObservedRows:
    rng = np.random.default_rng(seed)
    rows = int(days * a_day)
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        task=Task.REGRESSION,
        columns=COLUMNS,
        x=np.column_stack([rng.normal(size=rows), rng.choice(3, rows, p=[0.6, 0.3, 0.1])]).astype(np.float32),
        prediction=rng.normal(size=rows),
        y=unknown,
        time=start + np.arange(rows) * (DAY / a_day),
        latency_ms=unknown,
    )


def live_windows(profile: Profile, change=None, windows: int = 3, day: float = 60.0) -> LiveWindows:
    """Windows of a day from that day on, the newest first."""
    counter, counts = BinCounter(profile, 3600.0), []
    for turn in range(windows):
        rows = make_rows(1, MONDAY + (day + turn) * DAY, 10 + turn)
        if change is not None:
            change(rows.x)
        counts.insert(0, counter.fold(rows))
    start = MONDAY + (day + windows - 1) * DAY
    return LiveWindows(tuple(counts), Window(start, start + DAY))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return make_profile(make_rows(60))


def drifted(profile: Profile, change) -> dict[str, list[DriftCheck]]:
    report = report_drift(profile, live_windows(profile, change), {}, 0.01)
    return {
        one.name: [test.check for test in one.tests if test.status is DriftStatus.DRIFTED]
        for one in report.features
        if one.status is DriftStatus.DRIFTED
    }


def test_the_report_says_what_it_compares_with_and_how_many_windows_it_rests_on(profile):
    report = report_drift(profile, live_windows(profile, windows=3), {}, 0.01)
    assert (report.status, report.comparison, report.windows) == (
        DriftStatus.STABLE,
        "against the same weekday of 9 weeks",
        3,
    )


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (30, "against the same hours and weekdays of 4 weeks"),
        (14, "against the same hours of 14 days, too few weeks to know a weekday"),
        (3, "against a reference of 3.0 days, too short to know a week: it has no Thursday or Friday"),
    ],
)
def test_a_shorter_reference_says_what_it_does_not_know(days, text):
    short = make_profile(make_rows(days))
    report = report_drift(short, live_windows(short, windows=2, day=59 if days == 3 else 60), {}, 0.01)
    assert report.comparison.startswith(text)


def test_each_kind_of_change_is_found_by_its_own_check(profile):
    def move(x):
        x[:, 0] += 1

    def lose(x):
        x[::10, 0] = np.nan

    def rename(x):
        x[::5, 1] = 3

    def mix(x):
        x[:, 1] = np.where(x[:, 1] == 0, 1, x[:, 1])

    assert drifted(profile, None) == {}
    assert drifted(profile, move) == {"number": [DriftCheck.VALUES]}
    assert drifted(profile, lose) == {"number": [DriftCheck.MISSING]}
    assert DriftCheck.UNSEEN in drifted(profile, rename)["kind"]
    assert drifted(profile, mix) == {"kind": [DriftCheck.VALUES]}


def test_one_window_that_was_off_is_not_lasting(profile):
    live = live_windows(profile, windows=6)
    odd = make_rows(1, MONDAY + 64 * DAY, 99)
    odd.x[:, 0] += 1
    counts = (live.counts[0], BinCounter(profile, 3600.0).fold(odd), *live.counts[2:])
    assert report_drift(profile, replace(live, counts=counts), {}, 0.01).status is DriftStatus.STABLE


def test_windows_count_back_to_the_first_without_rows(profile):
    live = live_windows(profile, windows=5)
    empty = BinCounter(profile, 3600.0).empty()
    with_gap = replace(live, counts=(*live.counts[:2], empty, *live.counts[3:]))
    assert report_drift(profile, with_gap, {}, 0.01).windows == 2
    only_gap = replace(live, counts=(empty, *live.counts[1:]))
    assert report_drift(profile, only_gap, {}, 0.01).status is DriftStatus.UNKNOWN


def test_what_is_stored_of_the_reference_is_bounded_and_survives_json():
    long = make_profile(make_rows(3000, a_day=4))
    assert long.series is not None
    assert long.series.buckets <= MOST_BUCKETS
    assert long.series.width_s == DAY
    again = decode(Profile, encode(long))
    assert again == long
    assert again.series is not None
    assert np.array_equal(again.series.counts(), long.series.counts())


def test_the_series_holds_every_row_of_the_reference(profile):
    assert profile.series is not None
    groups = groups_of(profile.columns)
    missing = groups.group[0]
    counts = profile.series.counts()
    number_of_rows = counts[:, missing : groups.group[len(profile.features[0].counts)] + 1].sum()
    assert number_of_rows == profile.rows


def test_a_profile_of_before_is_judged_as_before(profile):
    old = replace(profile, span=None, series=None)
    live = live_windows(old)
    report = report_drift(old, live, {}, 0.01)
    assert report == report_drift(old, LiveWindows(live.counts[:2]), {}, 0.01)
    assert (report.comparison, report.windows) == ("", 2)


def test_rows_without_instants_have_no_weeks():
    numbered = make_profile(make_rows(60, start=0.0))
    assert (numbered.span, numbered.series) == (None, None)


def test_weekdays_that_a_short_reference_lacks_need_a_large_effect():
    short = make_profile(make_rows(3, a_day=1000))

    def move(x):
        x[:, 0] += 0.5

    def move_far(x):
        x[:, 0] += 2

    live = live_windows(short, move, windows=2, day=5)
    assert missing_weekdays(short, live) == ("Saturday", "Sunday")
    assert report_drift(short, live, {}, 0.01).drifted_features == ()
    assert report_drift(short, live_windows(short, move, windows=2, day=7), {}, 0.01).drifted_features == ("number",)
    assert report_drift(short, live_windows(short, move_far, windows=2, day=5), {}, 0.01).drifted_features == (
        "number",
    )


def test_units_lie_on_the_clock_of_the_window(profile):
    assert profile.series is not None
    groups = groups_of(profile.columns)
    from_noon = reference_units(profile.series, groups, Window(MONDAY + 70.5 * DAY, MONDAY + 71.5 * DAY))
    assert from_noon is not None
    assert (len(from_noon.hits), from_noon.per_window, from_noon.phases) == (59, 1, 7)
    assert from_noon.gap == 11  # the last unit ends at noon of day 59, and the window begins at noon of day 70
    week = reference_units(profile.series, groups, Window(MONDAY + 70 * DAY, MONDAY + 77 * DAY))
    assert week is not None
    assert (week.per_window, week.phases, week.unit_s) == (7, 7, DAY)


@pytest.mark.parametrize("length_s", [1800.0, 5 * 3600.0, 20 * DAY])
def test_windows_that_no_buckets_fill_or_of_which_there_are_few_have_no_units(profile, length_s):
    assert profile.series is not None
    window = Window(MONDAY + 80 * DAY, MONDAY + 80 * DAY + length_s)
    assert reference_units(profile.series, groups_of(profile.columns), window) is None


def test_groups_are_octiles_of_ordered_columns_and_the_frequent_categories():
    numbers, categories = np.array([0, *[10] * 16, 0]), np.array([*range(30), 0])
    groups = ColumnGroups.of([(numbers, True), (categories, False)])
    values = groups.group[1 : 1 + len(numbers)]
    assert np.bincount(values)[1:].tolist() == [1, 2, 2, 2, 2, 2, 2, 2, 2, 1]
    of_categories = groups.group[2 + len(numbers) :]
    assert len(set(of_categories.tolist())) == 13
    assert (of_categories == of_categories[29]).sum() == 1
