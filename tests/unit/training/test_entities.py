from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.ensembles.row_split import split_rows
from optagent.errors import InvalidData, InvalidRequest
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.prepare import prepare_table
from optagent.training.encoding import columns_of
from optagent.training.entities import entities_of
from optagent.training.folds import make_folds, newest_folds, split
from optagent.training.metrics import METRICS

SPEC = ModelSpec("m", Task.BINARY, FileSource("rows.csv"), "y", entity="customer")


def customers(rows: int, count: int) -> np.ndarray:
    """Each customer has about as many rows, which do not follow one another."""
    return np.random.default_rng(0).integers(0, count, rows)


def passing(rows: int, at_once: int = 20, stay: int = 10) -> np.ndarray:
    """Customers that come for some rows in time and go: `at_once` of them at a time."""
    place = np.arange(rows)
    return (place // (at_once * stay)) * at_once + place % at_once


def labels(rows: int) -> np.ndarray:
    return (np.random.default_rng(1).random(rows) < 0.3).astype(np.float64)


def are_apart(entity: np.ndarray, *parts: np.ndarray) -> bool:
    sets = [set(entity[part].tolist()) for part in parts]
    return sum(map(len, sets)) == len(set.union(*sets))


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize(("rows", "count"), [(1_000, 60), (6_000, 3_000)])
def test_rows_of_a_customer_are_on_one_side_of_the_holdout_and_of_every_fold(task: Task, rows: int, count: int) -> None:
    entity, y, spec = customers(rows, count), labels(rows), replace(SPEC, task=task)
    parts = split(None, y, spec, entity=entity)
    assert are_apart(entity, parts.dev, parts.holdout)
    assert len(parts.dev) + len(parts.holdout) == rows
    assert len(parts.holdout) == pytest.approx(0.2 * rows, rel=0.3)
    folds = make_folds(None, y, spec, parts.dev, entity=entity)
    assert all(are_apart(entity, fold.train, fold.valid) for fold in folds)
    assert are_apart(entity, *(fold.valid for fold in folds), parts.holdout)
    assert (np.sort(np.concatenate([fold.valid for fold in folds])) == parts.dev).all()


def test_classes_are_spread_evenly_over_folds_of_whole_customers() -> None:
    entity, y = customers(2_000, 100), labels(2_000)
    for fold in make_folds(None, y, SPEC, np.arange(2_000), entity=entity):
        assert y[fold.valid].mean() == pytest.approx(y.mean(), abs=0.03)


def test_the_same_seed_gives_the_same_split() -> None:
    entity, y = customers(1_000, 60), labels(1_000)
    one, again, other = (split(None, y, SPEC, seed=seed, entity=entity).holdout.tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_one_customer_with_most_rows_is_learned_from() -> None:
    entity, y = np.where(np.arange(1_000) < 600, 0, np.arange(1_000)), labels(1_000)
    entity = np.unique(entity, return_inverse=True)[1]
    assert 0 not in entity[split(None, y, SPEC, entity=entity).holdout]


def test_in_time_order_earlier_rows_of_judged_customers_are_left_out_and_counted() -> None:
    entity, y, time = passing(2_000), labels(2_000), np.arange(2_000.0)
    spec = replace(SPEC, rows_in_time_order=True, holdout_fraction=0.25)
    parts = split(time, y, spec, entity=entity)
    assert (parts.holdout == np.arange(1_500, 2_000)).all()
    assert (parts.dev == np.arange(1_400)).all()
    assert parts.notes == ("100 of 1500 rows left out: their entity is in the holdout too",)
    for fold in (
        *make_folds(time, y, spec, parts.dev, entity=entity),
        *newest_folds(time, spec, parts.dev, 2, 150, entity),
    ):
        assert are_apart(entity, fold.train, fold.valid)
        assert fold.train.max() < fold.valid.min()


def test_customers_who_come_again_for_ever_leave_nothing_to_learn_from_and_the_remedy_is_named() -> None:
    time = np.arange(1_000.0)
    with pytest.raises(InvalidData, match=r"name no `entity`.*all 800 rows before the holdout are of its entities"):
        split(time, labels(1_000), replace(SPEC, rows_in_time_order=True), entity=customers(1_000, 20))


def test_too_few_customers_are_refused_with_their_number() -> None:
    with pytest.raises(InvalidData, match="3 entities are too few for 4 folds"):
        make_folds(None, labels(100), SPEC, np.arange(100), entity=customers(100, 3))
    with pytest.raises(InvalidData, match="no holdout of 20 rows can be made of whole entities, there are 2"):
        split(None, labels(100), SPEC, entity=customers(100, 2))


@pytest.mark.parametrize("ordered", [False, True])
def test_the_parts_of_an_ensemble_s_rows_share_no_customer(ordered: bool) -> None:
    rows = 4_000
    entity = passing(rows) if ordered else customers(rows, 200)
    spec = replace(SPEC, rows_in_time_order=ordered)
    parts = split_rows(spec, labels(rows), np.arange(float(rows)) if ordered else None, 0, entity)
    assert are_apart(entity, parts.fit, parts.pick, parts.verdict)
    assert are_apart(entity, parts.learn, parts.verdict)
    for rows_of, folds in ((parts.fit, parts.fit_folds), (parts.learn, parts.learn_folds)):
        assert all(are_apart(entity[rows_of], fold.train, fold.valid) for fold in folds)


def table(rows: int = 1_000) -> pa.Table:
    x = np.random.default_rng(2).normal(size=rows)
    customer = [f"c{number}" for number in customers(rows, 60)]
    return pa.table({"x": x, "customer": customer, "y": labels(rows).astype(int)})


def test_a_customer_is_no_feature_unless_it_is_named_as_one() -> None:
    assert prepare_table(table(), SPEC).schema.names == ("x",)
    assert prepare_table(table(), replace(SPEC, features=("x", "customer"))).schema.names == ("x", "customer")
    assert columns_of(replace(SPEC, features=("x",))) == ("x", "y", "customer")


def test_a_holdout_without_an_order_is_resampled_by_customer() -> None:
    prepared = prepare_table(table(), SPEC)
    assert prepared.holdout_entity is not None
    assert prepared.dev_entity is not None
    assert not set(prepared.dev_entity) & set(prepared.holdout_entity)
    test = HoldoutTest(prepared, METRICS["auc"], 0.05, 0)
    assert test.resampling.groups is prepared.holdout_entity
    ordered = prepare_table(
        table().set_column(1, "customer", pa.array(passing(1_000))), replace(SPEC, rows_in_time_order=True, folds=2)
    )
    assert replace(test, prepared=ordered).resampling.groups is ordered.holdout_time


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (pa.array(["b", "a", "b", None, None]), [0, 1, 0, 2, 3]),
        (pa.array([7, 7, 3, None]), [0, 0, 1, 2]),
        (pa.array([7.0, float("nan"), 7.0, float("nan")]), [0, 1, 0, 2]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), [0, 1, 0]),
        (pa.chunked_array([["a", "b"], ["b", "c"]]), [0, 1, 1, 2]),
    ],
)
def test_customers_are_numbered_and_a_row_without_one_stands_alone(values: Any, codes: list[int]) -> None:
    numbers = entities_of(pa.table({"customer": values}), SPEC)
    assert numbers is not None
    assert numbers.tolist() == codes
    assert entities_of(pa.table({"customer": values}), replace(SPEC, entity=None)) is None


def test_a_column_that_is_absent_or_names_nothing_is_refused() -> None:
    with pytest.raises(InvalidData, match="entity: no column 'customer'"):
        entities_of(pa.table({"customers": [1]}), SPEC)
    with pytest.raises(InvalidData, match="entity 'customer': type list"):
        entities_of(pa.table({"customer": [[1]]}), SPEC)


@pytest.mark.parametrize("column", ["", "y", "t"])
def test_target_and_time_are_no_entities(column: str) -> None:
    with pytest.raises(InvalidRequest, match=r"entity: '.?' must be a column beside the target and the time"):
        replace(SPEC, time_column="t", entity=column)
