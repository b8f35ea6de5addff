from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData
from optagent.training.folds import MIN_HOLDOUT_ROWS, make_folds, newest_folds, split


def spec(task: Task = Task.REGRESSION, **fields: Any) -> ModelSpec:
    return ModelSpec("m", task, FileSource("rows.csv"), "y", **fields)


def ordered(task: Task = Task.REGRESSION, **fields: Any) -> ModelSpec:
    return spec(task, time_column="t", **fields)


@st.composite
def panels(draw: st.DrawFn) -> tuple[np.ndarray, ModelSpec]:
    """Rows with repeated, unsorted times, and a spec with some horizon."""
    distinct = draw(st.integers(8, 60))
    rows = draw(st.integers(60, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    time = rng.integers(0, distinct, rows).astype(np.float64)
    horizon = draw(st.sampled_from([0.0, 1.0, 2.5]))
    fraction = draw(st.sampled_from([0.2, 0.35, 0.5]))
    chosen = ordered(label_horizon=horizon, folds=draw(st.integers(2, 5)), holdout_fraction=fraction)
    return time, chosen


@settings(max_examples=150, deadline=None)
@given(panels())
def test_no_label_window_ever_reaches_into_the_rows_that_judge(panel: tuple[np.ndarray, ModelSpec]) -> None:
    time, chosen = panel
    y = np.arange(len(time), dtype=np.float64)
    try:
        parts = split(time, y, chosen)
        folds = make_folds(time, y, chosen, parts.dev)
    except InvalidData:  # too few distinct times for these folds, or nothing left after purging
        return
    gap = chosen.horizon
    judged = [(parts.dev, parts.holdout), *((fold.train, fold.valid) for fold in folds)]
    for before, after in judged:
        assert len(before)
        assert len(after)
        assert time[before].max() < time[after].min()  # also: none in common, no instant on both sides
        assert time[before].max() + gap < time[after].min() or not gap
        left_out = np.setdiff1d(parts.dev, np.concatenate([before, after]))
        between = left_out[time[left_out] < time[after].min()]
        assert (time[between] + gap >= time[after].min()).all()  # nothing is purged that need not be
    used = np.concatenate([fold.valid for fold in folds])
    assert len(np.unique(used)) == len(used)
    assert np.isin(used, parts.dev).all()
    assert not np.isin(parts.holdout, parts.dev).any()


def test_folds_expand_walk_forward_over_equal_parts() -> None:
    time = np.arange(100.0)
    parts = split(time, time, ordered())
    folds = make_folds(time, time, ordered(), parts.dev)
    assert parts.holdout.tolist() == list(range(80, 100))
    assert [(len(fold.train), fold.valid.tolist()[0], fold.valid.tolist()[-1]) for fold in folds] == [
        (16, 16, 31),
        (32, 32, 47),
        (48, 48, 63),
        (64, 64, 79),
    ]


def test_the_newest_rows_are_folded_walk_forward() -> None:
    folds = newest_folds(np.arange(100.0), ordered(), np.arange(100), 2, 10)
    assert [(fold.valid.min(), fold.valid.max(), len(fold.train)) for fold in folds] == [(90, 94, 90), (95, 99, 95)]
    late = ordered(label_horizon=3.0)
    assert [len(fold.train) for fold in newest_folds(np.arange(100.0), late, np.arange(100), 2, 10)] == [87, 92]


def test_rows_come_in_time_order_whatever_their_order_in_the_table() -> None:
    time = np.arange(100.0)[::-1].copy()
    parts = split(time, time, ordered())
    assert parts.holdout.tolist() == list(range(19, -1, -1))
    assert (np.diff(time[make_folds(time, time, ordered(), parts.dev)[0].train]) > 0).all()


def test_stocks_of_one_day_stay_together() -> None:
    day = np.repeat(np.arange(30.0), 5)
    chosen = ordered(holdout_fraction=0.22)
    parts = split(day, day, chosen)
    assert len(parts.holdout) % 5 == 0
    assert all(len(fold.valid) % 5 == 0 for fold in make_folds(day, day, chosen, parts.dev))


def test_rows_whose_label_window_reaches_the_holdout_are_purged_and_counted() -> None:
    time = np.arange(100.0)
    parts = split(time, time, ordered(label_horizon=5))
    assert parts.dev.max() == 74
    assert parts.notes == ("5 rows purged before the holdout (label horizon)",)


def test_a_holdout_that_ties_make_larger_says_so() -> None:
    time = np.repeat([0.0, 1.0], [50, 50])
    assert "50 rows instead of 20" in split(time, time, ordered(folds=2)).notes[0]


def test_unordered_classes_are_stratified() -> None:
    y = (np.arange(1000) % 10 == 0).astype(np.float64)
    chosen = spec(Task.BINARY)
    parts = split(None, y, chosen, seed=3)
    folds = make_folds(None, y, chosen, parts.dev, seed=3)
    assert len(parts.holdout) == 200
    for rows in (parts.holdout, *(fold.valid for fold in folds)):
        assert y[rows].mean() == pytest.approx(0.1, abs=0.005)
    assert np.array_equal(np.sort(np.concatenate([fold.valid for fold in folds])), parts.dev)
    assert all(not np.isin(fold.train, fold.valid).any() for fold in folds)


def test_the_seed_decides_a_random_split() -> None:
    y = np.arange(100.0)
    same, again, other = (split(None, y, spec(), seed=seed).holdout.tolist() for seed in (1, 1, 2))
    assert same == again != other


def test_a_class_of_one_row_does_not_stop_a_multiclass_split() -> None:
    y = np.array([0.0] * 50 + [1.0] * 49 + [2.0])
    chosen = spec(Task.MULTICLASS)
    parts = split(None, y, chosen)
    assert len(make_folds(None, y, chosen, parts.dev)) == 4


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (4, {}, "4 rows are too few for 4 folds and a holdout"),
        (40, {}, f"a holdout of 8 rows (0.2 of 40) is too small: at least {MIN_HOLDOUT_ROWS}"),
    ],
)
def test_too_few_rows_are_refused(rows: int, fields: Any, message: str) -> None:
    with pytest.raises(InvalidData) as caught:
        split(None, np.arange(float(rows)), spec(**fields))
    assert message in str(caught.value)


def test_fewer_development_rows_than_folds_are_refused() -> None:
    with pytest.raises(InvalidData, match="4 rows are too few for 4 folds"):
        make_folds(None, np.arange(100.0), spec(), np.arange(4))


def test_too_few_distinct_times_are_refused() -> None:
    same = np.zeros(100)
    with pytest.raises(InvalidData, match="1 distinct times are too few for a holdout"):
        split(same, np.arange(100.0), ordered())
    few = np.repeat(np.arange(3.0), 40)
    with pytest.raises(InvalidData, match="3 distinct times are too few for 4 folds"):
        make_folds(few, np.arange(120.0), ordered(), np.arange(120))


def test_a_fold_of_one_class_is_named() -> None:
    time = np.arange(100.0)
    late = (time % 2) * (time >= 40)
    with pytest.raises(InvalidData, match=r"fold 1 of 4 \(training rows\): all 20 rows are of one class; use fewer"):
        make_folds(time, late, ordered(Task.BINARY), np.arange(100))
    pause = (time % 2) * ~((time >= 40) & (time < 60))
    with pytest.raises(InvalidData, match=r"fold 2 of 4 \(validation rows\)"):
        make_folds(time, pause, ordered(Task.BINARY), np.arange(100))


def test_a_holdout_of_one_class_is_refused() -> None:
    time = np.arange(100.0)
    with pytest.raises(InvalidData, match="the holdout: all 20 rows are of one class"):
        split(time, (time % 2) * (time < 80), ordered(Task.BINARY))


def test_a_horizon_that_leaves_no_row_is_refused() -> None:
    time = np.arange(100.0)
    with pytest.raises(InvalidData, match="no row is left before the holdout after purging a label horizon of 90"):
        split(time, time, ordered(label_horizon=90))
    with pytest.raises(InvalidData, match="fold 1 of 4: no training row is left"):
        make_folds(time, time, ordered(label_horizon=30), np.arange(100))
