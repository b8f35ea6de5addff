"""Columns with nothing in them, nothing new in them, or the answer in them are named."""

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.features.quality import column_qualities


@pytest.fixture(scope="module")
def answer() -> np.ndarray:
    return (np.random.default_rng(9).random(800) < 0.2).astype(np.float64)


def columns(make_data, y: np.ndarray, task: Task = Task.BINARY, **values: np.ndarray):
    data = make_data(np.column_stack(list(values.values())), y, task, names=tuple(values))
    return {column.name: column for column in column_qualities(data)}


def test_a_column_that_knows_the_answer_is_named_and_a_strong_one_is_not(make_data, answer) -> None:
    rng = np.random.default_rng(0)
    qualities = columns(
        make_data,
        answer,
        leak=answer + 0.1 * rng.normal(size=800),
        bumps=np.cos(3 * answer * np.pi) + 0.1 * rng.normal(size=800),
        strong=answer + 0.5 * rng.normal(size=800),
        filled_in_later=np.where(answer == 1, rng.random(800), np.nan),
        dull=rng.normal(size=800),
    )
    assert [name for name, column in qualities.items() if column.leaks] == ["leak", "bumps", "filled_in_later"]
    assert 0.8 < qualities["strong"].alone < 0.99
    assert qualities["dull"].alone == pytest.approx(0.5, abs=0.08)
    assert qualities["filled_in_later"].missing == pytest.approx(1 - answer.mean())


def test_categories_of_a_row_each_do_not_pass_for_knowledge(make_data, answer) -> None:
    codes = np.arange(800.0)[:, None]
    data = make_data(codes, answer, Task.BINARY, names=("id",), categorical=(0,), levels=(800,))
    assert not column_qualities(data)[0].leaks


def test_a_regression_leaks_by_its_share_of_the_variance(make_data) -> None:
    y = np.exp(np.random.default_rng(0).normal(size=800))
    noise = np.random.default_rng(1).normal(size=(2, 800))
    qualities = columns(make_data, y, Task.REGRESSION, log=np.log(y), minus=-y + 0.01 * noise[0], half=y + 2 * noise[1])
    assert [name for name, column in qualities.items() if column.leaks] == ["log", "minus"]


def test_constants_and_copies_are_named_and_a_missing_value_makes_a_difference(make_data, answer) -> None:
    x = np.random.default_rng(0).normal(size=800)
    gaps = np.where(np.arange(800) % 5, x, np.nan)
    qualities = columns(
        make_data,
        answer,
        x=x,
        twice=2 * x + 1,
        cube=-(x**3),
        gaps=gaps,
        one=np.full(800, 3.0),
        none=np.full(800, np.nan),
    )
    assert {name: column.copy_of for name, column in qualities.items() if column.copy_of} == {"twice": "x", "cube": "x"}
    assert [name for name, column in qualities.items() if column.constant] == ["one", "none"]
    assert qualities["gaps"].missing == pytest.approx(0.2)
    assert [name for name, column in qualities.items() if column.usable] == ["x", "gaps"]


def test_rows_of_one_class_tell_nothing(make_data) -> None:
    qualities = columns(make_data, np.zeros(100), x=np.arange(100.0))
    assert qualities["x"].alone is None
    assert not qualities["x"].leaks
