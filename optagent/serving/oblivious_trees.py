"""Oblivious trees of CatBoost, whose nodes of one level all ask the same question, read from its plain JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.serving.boosted_trees import LINKS
from optagent.serving.category_statistics import (
    AskedStatistic,
    Levels,
    SplitPlace,
    StatisticTable,
    fill_tables,
    list_features,
)
from optagent.serving.trees import LinkFunction
from optagent.training.families.catboost_model import CatBoostModel

_NEVER = np.float32(np.inf)


@dataclass(frozen=True, slots=True)
class ObliviousForest:
    """Trees whose leaves are found by number: the sum of 2^d over the splits d of a tree that a row is above.

    `columns` and `thresholds` are (splits,), the last of which no row is above; a column behind those of the rows is
    that of a table. `splits` is (deepest, trees), `first_leaf` (trees,), `leaves` (leaves of all trees, outputs), and
    `start` (outputs,) is added to their sum.
    """

    columns: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float32]
    tables: tuple[StatisticTable, ...]
    splits: npt.NDArray[np.int64]
    first_leaf: npt.NDArray[np.int64]
    leaves: npt.NDArray[np.float64]
    start: Vector
    link: LinkFunction

    def thresholds_by_column(self, columns: int) -> dict[int, Vector]:
        """The distinct thresholds of each of the rows' `columns` that is split by one, by a tree or in a table."""
        sources = {source for table in self.tables for source in table.sources}
        column = np.concatenate([self.columns[:-1], *(np.full(len(borders), at) for at, borders in sources)])
        threshold = np.concatenate([self.thresholds[:-1].astype(np.float64), *(borders for _, borders in sources)])
        return {int(at): np.unique(threshold[column == at]) for at in np.unique(column[column < columns])}


def catboost_forest(model: CatBoostModel, task: Task, outputs: int, levels: Levels) -> ObliviousForest:
    """The trees of a CatBoost model on rows of these `levels`; they are summed in 64 bits.

    The answers to a split of categorical columns, by a category or by a statistic of the target, are read off the model
    itself for each of their levels. Raises InvalidRequest where these are too many.
    """
    trees = [[split["split_index"] for split in tree["splits"]] for tree in model.document["oblivious_trees"]]
    places: dict[int, SplitPlace] = {}
    for tree, numbers in enumerate(trees):
        for bit, number in enumerate(numbers):
            places.setdefault(number, SplitPlace(tree, bit))
    questions, tables = _read_questions(model, places, levels)
    order = {number: at for at, number in enumerate(questions)}
    splits = np.full((max(1, *map(len, trees)), len(trees)), len(questions))
    for tree, numbers in enumerate(trees):
        splits[: len(numbers), tree] = [order[number] for number in numbers]
    return ObliviousForest(
        columns=np.array([*(column for column, _ in questions.values()), 0]),
        thresholds=np.array([*(threshold for _, threshold in questions.values()), _NEVER], dtype=np.float32),
        tables=tables,
        splits=splits,
        first_leaf=np.cumsum([0, *(2 ** len(numbers) for numbers in trees[:-1])]),
        leaves=np.concatenate([tree["leaf_values"] for tree in model.document["oblivious_trees"]]).reshape(-1, outputs),
        start=np.array(model.document["scale_and_bias"][1], dtype=np.float64),
        link=LINKS[task],
    )


def _read_questions(
    model: CatBoostModel, places: Mapping[int, SplitPlace], levels: Levels
) -> tuple[dict[int, tuple[int, float]], tuple[StatisticTable, ...]]:
    """The column and the threshold of each split that a tree asks, and the tables of those that depend on codes.

    The borders of a statistic become ranks; each category of a column that is asked for has a table of its own.
    """
    questions: dict[int, tuple[int, float]] = {}
    statistics: list[AskedStatistic] = []
    first = 0
    for feature in list_features(model.document["features_info"]):
        asked = {first + at: border for at, border in enumerate(feature.borders) if first + at in places}
        first += len(feature.borders)
        column = feature.sources[0].column
        if asked and not levels[column]:
            questions |= {number: (column, border) for number, border in asked.items()}
            continue
        for numbers in [list(asked)] if feature.is_nested and asked else [[number] for number in asked]:
            column = len(levels) + len(statistics)
            questions |= {number: (column, rank + 0.5) for rank, number in enumerate(numbers)}
            statistics.append(AskedStatistic(feature, [places[number] for number in numbers]))
    return questions, fill_tables(model, statistics, levels)
