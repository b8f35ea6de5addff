from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.analysis.binned_counts import BinCounter, merge
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile import make_profile
from optagent.domain.model import Task
from optagent.errors import Conflict, InvalidData, InvalidRequest

COLUMNS = (
    ObservedColumn("a", "numeric"),
    ObservedColumn("b", "numeric"),
    ObservedColumn("c", "categorical", ("x", "y", "z")),
)


def rows_of(rows: int, seed: int, hours: float = 6.0) -> ObservedRows:
    """Awkward ones too: missing and infinite values, unseen categories."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=rows), rng.lognormal(3, 2, rows), rng.integers(0, 4, rows)])
    x[rng.random(x.shape) < 0.05] = np.nan
    x[rng.random(rows) < 0.02, 0] = np.inf
    x[rng.random(rows) < 0.02, 1] = 1e30
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        task=Task.BINARY,
        columns=COLUMNS,
        x=x.astype(np.float32),
        prediction=rng.random(rows),
        y=unknown,
        time=np.sort(rng.random(rows)) * hours * 3600,
        latency_ms=unknown,
        n_classes=2,
    )


PROFILE = make_profile(rows_of(500, seed=1))
FOLDER = BinCounter(PROFILE)


def test_folding_the_reference_gives_the_counts_of_the_profile():
    counts = FOLDER.fold(rows_of(500, seed=1))
    total = counts.total()
    for place, column in enumerate(PROFILE.columns):
        assert tuple(counts.values(place, total)) == column.counts
        assert counts.missing(place, total) == column.missing


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 700),
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 700), max_size=4),
    hours=st.sampled_from([0.5, 6.0, 500.0]),
)
def test_parts_in_any_order_merge_to_exactly_the_whole(rows, seed, cuts, hours):
    whole = rows_of(rows, seed, hours)
    order = np.random.default_rng(seed).permutation(rows)
    parts = [FOLDER.fold(whole.where(part)) for part in np.split(order, sorted(min(cut, rows) for cut in cuts))]
    expected = FOLDER.fold(whole)
    assert merge(*parts) == merge(*reversed(parts)) == expected
    merged = parts[0]
    for part in parts[1:]:
        merged = merge(merged, part)
    assert merged == expected
    assert expected.rows == rows


def test_both_ways_to_count_agree():
    """Long stretches of one bucket are sorted, short ones are looked up."""
    observed = rows_of(3000, seed=2, hours=1.0)
    long = FOLDER.fold(observed).total()
    short = BinCounter(PROFILE, width_s=10.0).fold(observed).total()
    assert (long == short).all()


def test_means_are_those_of_the_rows():
    observed = rows_of(5000, seed=3)
    counts = FOLDER.fold(observed)
    values = observed.x[:, 0][np.isfinite(observed.x[:, 0])]
    assert counts.mean(0, counts.total()) == pytest.approx(values.mean(dtype=np.float64), abs=1e-3)
    assert counts.mean(2, counts.total()) is None


def test_a_window_is_its_buckets():
    observed = rows_of(1000, seed=4)
    counts = FOLDER.fold(observed)
    window = counts.between(3600, 3 * 3600)
    assert sorted(window.buckets) == [1, 2]
    assert window.rows == ((observed.time >= 3600) & (observed.time < 3 * 3600)).sum()
    assert counts.between(100 * 3600, 200 * 3600).rows == 0
    counts.forget(3 * 3600)
    assert sorted(counts.buckets) == [3, 4, 5]


def test_a_window_stays_as_it_was_when_more_rows_are_folded():
    counts = FOLDER.fold(rows_of(100, seed=5))
    window = counts.between(0, 6 * 3600)
    FOLDER.fold_into(counts, rows_of(50, seed=6))
    assert (window.rows, counts.rows) == (100, 150)


def test_blocks_are_of_equal_lengths_of_time():
    counts = BinCounter(PROFILE, width_s=60.0).fold(rows_of(1000, seed=7))
    blocks = counts.blocks(32)
    assert len(blocks) <= 32
    assert (blocks.sum(axis=0) == counts.total()).all()


def test_times_before_1970_have_buckets_too():
    observed = replace(rows_of(10, seed=8), time=np.full(10, -1.0))
    assert list(FOLDER.fold(observed).buckets) == [-1]


def test_no_rows_are_no_buckets():
    counts = FOLDER.fold(rows_of(100, seed=9).where(np.zeros(100, dtype=bool)))
    assert counts == FOLDER.empty()
    assert (counts.rows, counts.nbytes, counts.total().sum()) == (0, 0, 0)


def test_rows_of_other_columns_are_refused_by_name():
    other = rows_of(10, seed=0)
    renamed = replace(other, columns=(ObservedColumn("new", "numeric"), *COLUMNS[1:]))
    FOLDER.fold(other)
    with pytest.raises(InvalidData, match=r"\['a', 'new'\]"):
        FOLDER.fold(renamed)
    with pytest.raises(InvalidData, match="binary model cannot count rows of a regression"):
        FOLDER.fold(replace(other, task=Task.REGRESSION, n_classes=0))


def test_a_time_that_is_not_finite_is_refused_with_its_row():
    observed = rows_of(3, seed=0)
    observed.time[1] = np.nan
    with pytest.raises(InvalidData, match="row 1"):
        FOLDER.fold(observed)


def test_counts_of_other_bins_or_widths_are_refused():
    other = BinCounter(make_profile(rows_of(100, seed=10)))
    with pytest.raises(Conflict, match="cannot be merged"):
        merge(FOLDER.empty(), other.empty())
    with pytest.raises(Conflict, match="another profile"):
        FOLDER.fold_into(BinCounter(PROFILE, width_s=60.0).empty(), rows_of(5, seed=0))
    with pytest.raises(InvalidRequest, match="got 0"):
        BinCounter(PROFILE, width_s=0)


def test_a_million_rows_of_a_week_take_less_than_20_megabytes():
    """The state depends on buckets and bins only, so a few rows of each hour are as large as a million."""
    columns = tuple(ObservedColumn(f"c{index}", "numeric") for index in range(50))
    rng = np.random.default_rng(0)
    rows = 24 * 7 * 3
    week = ObservedRows(
        Task.REGRESSION,
        columns,
        rng.normal(size=(rows, 50)).astype(np.float32),
        rng.normal(size=rows),
        np.full(rows, np.nan),
        np.arange(rows) * 1200.0,
        np.full(rows, np.nan),
    )
    counts = BinCounter(make_profile(week)).fold(week)
    assert len(counts.buckets) == 168
    assert counts.nbytes < 20e6
