"""Means of the target as features: found where a category tells, refused where it does not, and never a leak."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from optagent.analysis.bootstrap import Resampling
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.features.fit import fit_plan
from optagent.features.label_screening import label_statistics
from optagent.features.propose import propose_features
from optagent.features.quality import column_qualities
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from optagent.training.label_parts import parts_in_time
from optagent.training.metrics import metric_named
from optagent.training.problem import Data, Fold, Problem
from optagent.training.target_mean import TargetMean

LIGHTGBM = family_named("lightgbm")
SMALL = {"num_leaves": 7, "max_bin": 63, "min_data_in_leaf": 5}
ROWS, LEVELS = 900, 12

MakeProblem = Callable[..., Problem]


def fold_rows(rows: int, ordered: bool) -> tuple[Fold, ...]:
    if ordered:
        cuts = [rows * number // 4 for number in range(1, 5)]
        return tuple(Fold(np.arange(start), np.arange(start, end)) for start, end in itertools.pairwise(cuts))
    part = np.random.default_rng(0).permutation(rows) % 3
    return tuple(Fold(np.flatnonzero(part != each), np.flatnonzero(part == each)) for each in range(3))


@pytest.fixture(scope="module")
def shops() -> MakeProblem:
    """The mean of the target depends on the pair of shop and town alone; `code` is the shop by another name."""

    def make(seed: int = 0, told: bool = True, ordered: bool = False, noise: float = 0.5) -> Problem:
        rng = np.random.default_rng(seed)
        shop, town, kind = rng.integers(0, LEVELS, (3, ROWS))
        x = np.column_stack([shop, town, shop, kind, rng.normal(size=ROWS)]).astype(np.float32)
        y = rng.normal(size=(LEVELS, LEVELS))[shop, town] + noise * rng.normal(size=ROWS)
        y = (y if told else rng.permutation(y)) > 0
        parts = parts_in_time(np.arange(float(ROWS))) if ordered else None
        names = ("shop", "town", "code", "kind", "a")
        data = Data(x, y.astype(float), names, Task.BINARY, (0, 1, 2, 3), (LEVELS,) * 4, 2, parts=parts)
        return Problem(data, fold_rows(ROWS, ordered))

    return make


def propose(problem: Problem, ordered: bool = False):
    how = Resampling(200, time_ordered=ordered)
    metric = metric_named("", problem.data.task)
    return propose_features(problem, LIGHTGBM, metric, params=SMALL, rounds=25, how=how)


def test_a_pair_that_tells_is_found_and_proven_once_though_one_column_is_another_by_another_name(shops) -> None:
    answer = propose(shops())
    assert answer.accepted, answer.why
    assert [step.name for step in answer.plan.steps] == ["target mean of shop and town"]
    assert answer.score > answer.plain_score + 0.05
    assert next(column for column in answer.columns if column.name == "code").trouble == "ranks rows as 'shop' does"


@pytest.mark.parametrize("ordered", [False, True])
def test_a_shuffled_target_gives_no_gain(shops, ordered: bool) -> None:
    answers = [propose(shops(seed, told=False, ordered=ordered), ordered) for seed in range(8)]
    assert not any(answer.accepted for answer in answers)
    # At alpha .05, more than three of eight that find anything at all happen once in 2,700 times.
    assert sum(any(isinstance(each.step, TargetMean) for each in answer.features) for answer in answers) <= 3


@pytest.mark.parametrize("ordered", [False, True])
def test_an_encoding_of_noise_passes_the_bar_as_often_as_it_may(ordered: bool) -> None:
    runs, rows, draws, passes = 400, 200, 39, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 25, (rows, 1)).astype(np.float32)
        parts = parts_in_time(np.arange(float(rows))) if ordered else None
        data = Data(x, np.zeros(rows), ("shop",), Task.REGRESSION, (0,), (25,), parts=parts)
        residuals = np.stack([rng.normal(size=rows) for _ in range(1 + draws)], axis=1).astype(np.float32)[:, None]
        (own, *chance) = label_statistics(data, TargetMean(("shop",)), residuals, np.ones((rows, 1), np.float32))[0]
        passes += 1 + sum(own <= each for each in chance) <= 0.05 * (1 + draws)
    # 5 % of 400 are 20; 36 and more happen once in 2,000 times.
    assert passes < 36


def test_two_columns_that_tell_the_target_together_are_a_leak_and_no_feature(shops) -> None:
    problem = shops(noise=0.0)
    assert not any(column.leaks for column in column_qualities(problem.data))
    answer = propose(problem)
    report = {feature.name: feature.why for feature in answer.features}
    assert report["target mean of shop and town"] == "it tells the target by itself, as a leak does"


def test_categories_that_tell_nothing_and_those_of_one_value_become_no_feature(shops) -> None:
    problem = shops()
    x = problem.data.x.copy()
    x[:, :4] = 0
    answer = propose(Problem(replace(problem.data, x=x), problem.folds))
    assert not answer.accepted
    assert not answer.features


def test_a_category_of_a_million_values_is_a_table_of_the_frequent_ones() -> None:
    count = 1_000_000
    table = pa.table({"id": pa.array(np.arange(count)).cast(pa.string()), "y": np.arange(count) % 7 / 7})
    schema = fit_schema(table, ModelSpec("ids", Task.REGRESSION, FileSource("rows"), "y"))
    data = load_data(table.slice(0, 10_000), schema)
    (step,) = fit_plan(data, [TargetMean(("id",))]).steps
    assert step.levels == (255,)
    assert len(step.means) == 256
    assert "ids or free text" in schema.notes[0]
