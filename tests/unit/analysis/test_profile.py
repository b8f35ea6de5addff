import numpy as np
import pytest

from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile import Profile, make_profile
from optagent.codec import decode, encode
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest


def make_rows(columns, prediction=None, task=Task.REGRESSION, n_classes=0) -> ObservedRows:
    """`columns`: name to (kind, labels, values)."""
    rows = len(next(iter(columns.values()))[2])
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        task=task,
        columns=tuple(ObservedColumn(name, kind, labels) for name, (kind, labels, _) in columns.items()),
        x=np.column_stack([values for *_, values in columns.values()]).astype(np.float32),
        prediction=np.zeros(rows) if prediction is None else prediction,
        y=unknown,
        time=np.arange(rows, dtype=np.float64),
        latency_ms=unknown,
        n_classes=n_classes,
    )


def numeric(values, **options) -> Profile:
    return make_profile(make_rows({"a": ("numeric", (), np.asarray(values, dtype=np.float64))}, **options))


def test_bins_hold_equal_shares_and_every_row():
    rng = np.random.default_rng(0)
    column = numeric(rng.normal(size=10_000)).features[0]
    inner = np.array(column.counts[1:-1])
    assert (column.counts[0], column.counts[-1], sum(column.counts)) == (0, 0, 10_000)
    assert len(column.edges) <= 130
    assert 70 <= inner[1:-1].min() <= inner.max() <= 90


def test_a_value_that_is_frequent_has_a_bin_of_its_own():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5000)
    values[:2000] = 0.25
    column = numeric(rng.permutation(values)).features[0]
    place = column.edges.index(0.25)
    assert column.edges[place + 1] == float(np.nextafter(np.float32(0.25), np.float32(1)))
    assert column.counts[place + 1] == 2000


def test_few_values_have_a_bin_each():
    column = numeric([1, 2, 2, 7] * 10).features[0]
    filled = {edge: count for edge, count in zip(column.edges, column.counts[1:], strict=True) if count}
    assert filled == {1.0: 10, 2.0: 20, 7.0: 10}


@pytest.mark.parametrize(
    "values",
    [[3.5], [2.0] * 50, [np.nan] * 50, [np.nan], [np.inf, -np.inf, 1.0], [np.finfo(np.float32).max] * 3, [0.0, 1e-45]],
)
def test_unusual_columns_are_profiled_with_finite_unique_edges(values):
    profile = numeric(values)
    column = profile.features[0]
    assert np.isfinite(column.edges).all()
    assert len(set(column.edges)) == len(column.edges)
    assert sum(column.counts) == np.isfinite(values).sum()
    assert column.missing == (~np.isfinite(values)).sum()
    assert column.unit > 0
    assert decode(Profile, encode(profile)) == profile


def test_categories_and_booleans_are_counted_by_code_with_unseen_and_missing_ones_apart():
    profile = make_profile(
        make_rows(
            {
                "c": ("categorical", ("x", "y"), np.array([0, 1, 1, 2, np.nan])),
                "b": ("boolean", (), np.array([0, 1, 1, 1, np.nan])),
                "none": ("categorical", (), np.full(5, np.nan)),
            }
        )
    )
    c, b, none = profile.features
    assert (c.counts, c.missing) == ((1, 2, 1), 1)
    assert (b.counts, b.missing, b.labels) == ((1, 3, 0), 1, ("false", "true"))
    assert (none.counts, none.missing) == ((0,), 5)


def test_the_output_of_classifiers_is_profiled_with_the_predicted_classes():
    binary = numeric(np.zeros(4), prediction=np.array([0.1, 0.5, 0.9, np.nan]), task=Task.BINARY, n_classes=2)
    assert [column.name for column in binary.predictions] == ["prediction", "prediction:label"]
    assert binary.predictions[1].counts == (1, 2, 0)
    assert binary.predictions[1].missing == 1
    three = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    multiclass = numeric(np.zeros(2), prediction=three, task=Task.MULTICLASS, n_classes=3)
    names = ["prediction:0", "prediction:1", "prediction:2", "prediction:label"]
    assert [column.name for column in multiclass.predictions] == names
    assert multiclass.predictions[3].counts == (1, 0, 1, 0)


def test_a_profile_of_50_columns_survives_json_and_is_small():
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=(2000, 50))
    profile = make_profile(make_rows({f"c{index}": ("numeric", (), x[:, index]) for index in range(50)}))
    data = encode(profile)
    assert decode(Profile, data) == profile
    assert len(data) < 1_000_000


def test_repetition_in_the_reference_has_its_price():
    rng = np.random.default_rng(0)
    alone = rng.normal(size=5000)
    repeated = np.repeat(alone[:1250], 4)
    profile = make_profile(make_rows({"alone": ("numeric", (), alone), "repeated": ("numeric", (), repeated)}))
    assert profile.features[0].design[-1] < 1.5
    assert 3 < profile.features[1].design[-1] < 5.5


def test_a_reference_without_rows_is_refused():
    with pytest.raises(InvalidData, match="at least one row"):
        numeric([])


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(InvalidData, match=r"'a': unknown kind 'text'; one of \['numeric'"):
        make_profile(make_rows({"a": ("text", (), np.zeros(3))}))


def test_too_few_bins_are_refused():
    with pytest.raises(InvalidRequest, match="between 4 and 1000, got 1"):
        make_profile(make_rows({"a": ("numeric", (), np.zeros(3))}), bins=1)
