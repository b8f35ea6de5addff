"""Target encodings: a model sees the mean labels of categories, and never the label of the row that it learns from."""

from dataclasses import replace

import numpy as np
import pytest

from optagent.codec import decode, encode
from optagent.domain.model import Task
from optagent.domain.study import Budget
from optagent.errors import InvalidRequest
from optagent.features.fit import fit_plan
from optagent.training.crossfit import Crossfit
from optagent.training.families.registry import family_named
from optagent.training.label_encoding import encode_for_fold, fit_label_steps
from optagent.training.label_parts import label_parts, parts_in_time, parts_of_entities
from optagent.training.metrics import metric_named
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data, Fold, Problem
from optagent.training.recipe import Recipe, train_recipe
from optagent.training.target_mean import TargetMean
from optagent.training.transform import Transformer, transform_data

ROWS = 300
STEPS = (TargetMean(("shop",)), TargetMean(("shop", "town")))
TIME = np.repeat(np.arange(ROWS / 3), 3)  # three rows an instant


def make_rows(task: Task = Task.REGRESSION, **fields) -> Data:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 6, ROWS), rng.integers(0, 4, ROWS), rng.normal(size=ROWS)]).astype(np.float32)
    x[rng.random(ROWS) < 0.1, 0] = np.nan
    y = np.nan_to_num(x[:, 0]) + rng.normal(size=ROWS)
    y = (y > np.median(y)).astype(float) if task is Task.BINARY else y
    return Data(x, y, ("shop", "town", "a"), task, (0, 1), (6, 4), 2 if task is Task.BINARY else 0, **fields)


def encodings_of(data: Data, train: np.ndarray | None = None) -> np.ndarray:
    """(rows, steps) the encodings that a model of these rows sees."""
    plan = fit_plan(data, STEPS, train)
    planned = transform_data(plan, data)
    return encode_for_fold(planned, np.arange(len(data)) if train is None else train).x[:, 3:]


def with_label(data: Data, row: int, label: float) -> Data:
    y = data.y.copy()
    y[row] = label
    return replace(data, y=y)


@pytest.mark.parametrize("time", [None, TIME], ids=["random", "in time order"])
@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_a_rows_own_label_leaves_its_own_training_encoding_as_it_is_to_the_bit(task: Task, time) -> None:
    data = make_rows(task, parts=label_parts(time))
    before, changed = encodings_of(data), 0
    for row in range(0, ROWS, 7):
        after = encodings_of(with_label(data, row, 1 - data.y[row] if task is Task.BINARY else 1e6 / 3))
        assert after[row].tobytes() == before[row].tobytes()
        changed += (after != before).any()
    assert changed > 30, "the label is one of the means of other rows"


def test_what_is_stored_beside_the_other_columns_is_out_of_fold_too() -> None:
    data = make_rows()
    stored = transform_data(fit_plan(data, STEPS), data)
    assert stored.x[:, 3:].tobytes() == encodings_of(data).tobytes()


@pytest.mark.parametrize("time", [None, TIME], ids=["random", "in time order"])
def test_no_label_of_a_validation_row_reaches_its_fold(time) -> None:
    data, train = make_rows(parts=label_parts(time)), np.arange(200)
    other = replace(data, y=np.where(np.arange(ROWS) < 200, data.y, -1e3))
    planned = transform_data(fit_plan(data, STEPS), other)  # the plan knows all labels, the fold does not
    assert encode_for_fold(planned, train).x[:, 3:].tobytes() == encodings_of(data, train).tobytes()


def test_validation_rows_get_the_very_bits_that_served_rows_get() -> None:
    data, train, valid = make_rows(), np.arange(0, 200), np.arange(200, ROWS)
    served = Transformer(decode(FeaturePlan, encode(fit_plan(data, STEPS, train))))(data.x)
    assert encodings_of(data, train)[valid].tobytes() == np.ascontiguousarray(served[valid][:, 3:]).tobytes()


def test_in_time_order_later_rows_change_nothing() -> None:
    data = make_rows(parts=parts_in_time(TIME))
    x, y = data.x.copy(), data.y.copy()
    later = np.arange(ROWS) >= 150
    x[later, 0], y[later] = 5, 1e6
    after = encodings_of(replace(data, x=x, y=y))
    assert after[~later].tobytes() == encodings_of(data)[~later].tobytes()


def test_labels_that_were_not_known_yet_and_those_of_the_same_instant_are_not_read() -> None:
    data = make_rows(parts=parts_in_time(TIME, horizon=10.0))
    row = 150
    recent = np.flatnonzero((TIME[row] <= TIME + 10.0) & (TIME[row] >= TIME))
    y = data.y.copy()
    y[recent] = 1e6
    assert len(recent) > 30
    assert encodings_of(replace(data, y=y))[row].tobytes() == encodings_of(data)[row].tobytes()
    old = int(np.flatnonzero((TIME[row] > TIME + 15.0) & (data.x[:, 0] == data.x[row, 0]))[-1])
    assert (encodings_of(with_label(data, old, 1e6))[row] != encodings_of(data)[row]).any()


def test_the_first_rows_in_time_have_no_mean() -> None:
    values = encodings_of(make_rows(parts=parts_in_time(TIME)))
    assert np.isnan(values[:3]).all()
    assert not np.isnan(values[9:]).any()


def test_rows_of_one_entity_do_not_see_each_others_labels() -> None:
    entity = np.arange(ROWS) % 40
    data = make_rows(parts=parts_of_entities(entity))
    mine = entity == 7
    after = encodings_of(replace(data, y=np.where(mine, 1e6, data.y)))
    assert after[mine].tobytes() == encodings_of(data)[mine].tobytes()


def test_missing_and_unknown_categories_get_the_mean_of_all_rows_and_small_ones_lean_on_it() -> None:
    x = np.array([[0, 0], [0, 0], [1, 0], [np.nan, 0], [5, 0]], dtype=np.float32)
    data = Data(x, np.array([1.0, 1.0, 0.0, 0.0, 0.0]), ("shop", "town"), Task.BINARY, (0, 1), (6, 1), 2)
    (step,) = fit_plan(data, [TargetMean(("shop",))], np.arange(4)).steps
    assert step.means == pytest.approx([(2 + 20 * 0.5) / 22, (0 + 20 * 0.5) / 21, *[0.5] * 5])
    values = Transformer(FeaturePlan(data.names, (replace(step, means=(0.9, 0.1, 0.5), levels=(2,)),)))(x)[:, 2]
    np.testing.assert_array_equal(values, np.array([0.9, 0.9, 0.1, 0.5, 0.5], dtype=np.float32))


def test_folds_of_a_search_are_encoded_one_by_one_and_once() -> None:
    data = make_rows(Task.BINARY)
    part = np.random.default_rng(1).permutation(ROWS) % 3
    folds = tuple(Fold(np.flatnonzero(part != each), np.flatnonzero(part == each)) for each in range(3))
    metric, family = metric_named("log_loss", Task.BINARY), family_named("lightgbm")

    def train(data: Data, cache: dict | None = None) -> tuple[np.ndarray, ...]:
        crossfit = Crossfit(family, {}, Problem(data, folds), metric.score, False, Budget(1, 1), cache=cache)
        crossfit.advance(1)
        return crossfit.best_predictions

    planned, cache = transform_data(fit_plan(data, STEPS), data), {}
    plain = train(planned)
    for _ in range(2):
        assert all(np.array_equal(a, b) for a, b in zip(train(planned, cache), plain, strict=True))
    turned = replace(data, y=np.where(part == 0, 1 - data.y, data.y))
    assert np.array_equal(train(transform_data(fit_plan(data, STEPS), turned))[0], plain[0]), "labels that only judge"


def test_a_recipe_of_other_rows_forgets_their_labels() -> None:
    data = make_rows(Task.BINARY)
    earlier = fit_plan(replace(data, y=1 - data.y), STEPS)
    recipe = Recipe("r", "lightgbm", family_named("lightgbm").defaults(Task.BINARY), 3, earlier)
    assert train_recipe(Problem(data, ()), recipe).plan == fit_plan(data, STEPS)  # type: ignore[attr-defined]
    assert fit_label_steps(earlier, data) == fit_plan(data, STEPS)


def test_parts_that_are_merged_learn_from_whole_parts_before_them() -> None:
    merged = parts_in_time(np.arange(256.0), horizon=3.0).merge(16)
    assert merged.count == 16
    assert merged.known is not None
    assert merged.known.tolist() == [0, *range(15)]


def test_a_mean_of_several_classes_is_refused_and_so_are_tables_that_do_not_fit() -> None:
    data = replace(make_rows(), task=Task.MULTICLASS, n_classes=3)
    with pytest.raises(InvalidRequest, match="3 classes has no mean"):
        fit_plan(data, STEPS)
    with pytest.raises(InvalidRequest, match="need 3 means, got 2"):
        TargetMean(("shop",), (0.5, 0.5), (2,))
    with pytest.raises(InvalidRequest, match="1 or 2 different columns"):
        TargetMean(("shop", "shop"))
    with pytest.raises(InvalidRequest, match="must be finite"):
        TargetMean(("shop",), (0.5, float("inf")), (1,))
    with pytest.raises(InvalidRequest, match="has no means"):
        FeaturePlan(("shop",), (TargetMean(("shop",)),))
