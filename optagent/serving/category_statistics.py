"""Category statistics of CatBoost as tables: the answers to splits of categorical columns, for each of their levels.

CatBoost replaces categories, and pairs of columns, by statistics of the target, and trees split these. A statistic
takes few values, since it depends on codes and on the sides of a few thresholds: the model itself is asked for each.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from optagent.arrays import Matrix
from optagent.errors import InvalidRequest
from optagent.serving.trees import Truths
from optagent.training.families.catboost_model import CatBoostModel

MOST_CELLS = 1_000_000
"""Of all tables together: a byte each in the graph, and an answer of the model each when they are made."""

_AT_ONCE = 10_000

Levels = Sequence[int]
"""The number of levels of each encoded column; 0 for numbers."""


class Source(NamedTuple):
    """A column that a split depends on: by its code or, with `borders`, by the number of these that are below it."""

    column: int
    borders: tuple[float, ...] = ()

    def size(self, levels: Levels) -> int:
        """The number of cases, that of a missing code included; a missing number is below all borders."""
        return len(self.borders) + 1 if self.borders else levels[self.column] + 1

    def values(self, levels: Levels) -> Matrix:
        """A value of the column for each case."""
        if not self.borders:
            return np.array([*range(levels[self.column]), np.nan], dtype=np.float32)
        borders = np.array(self.borders, dtype=np.float32)
        return np.append(borders, np.nextafter(borders[-1], np.float32(np.inf)))


Sources = tuple[Source, ...]


class SplitPlace(NamedTuple):
    """A tree that asks a split, and the bit of its leaves' numbers that tells the answer."""

    tree: int
    bit: int


class StatisticTable(NamedTuple):
    """The number of a statistic's borders below it, for the cases of its sources, of which the last varies fastest.

    `owners` are the columns that it is a statistic of: those whose categories it counts.
    """

    sources: Sources
    ranks: npt.NDArray[np.uint8]
    owners: tuple[int, ...]


class ModelFeature(NamedTuple):
    """A feature that splits ask: its sources, its owners among their columns, and its borders.

    Borders that are not nested are categories, of which a code is one.
    """

    sources: Sources
    owners: tuple[int, ...]
    borders: Sequence[float]
    is_nested: bool


class AskedStatistic(NamedTuple):
    """A feature of categorical columns, with the places of the splits by its borders."""

    feature: ModelFeature
    places: Sequence[SplitPlace]


def list_features(features: Mapping[str, Any]) -> Iterator[ModelFeature]:
    """The features of a model, in the order in which splits are numbered."""
    categories = features.get("categorical_features", ())
    for feature in features.get("float_features", ()):
        column, numbers = feature["flat_feature_index"], feature["borders"]
        yield ModelFeature((Source(column, tuple(numbers)),), (column,), numbers, True)
    for feature in categories:
        column = feature["flat_feature_index"]
        yield ModelFeature((Source(column),), (column,), feature.get("values", ()), False)
    for statistic in features.get("ctrs", ()):
        codes = {element["cat_feature_index"] for element in statistic["elements"] if "cat_feature_index" in element}
        borders: dict[int, set[float]] = {}
        for element in statistic["elements"]:
            if "border" in element:
                column = features["float_features"][element["float_feature_index"]]["flat_feature_index"]
                borders.setdefault(column, set()).add(element["border"])
        sides = [Source(column, tuple(sorted(borders[column]))) for column in sorted(borders)]
        texts = [Source(categories[code]["flat_feature_index"]) for code in sorted(codes)]
        counted = [
            each["cat_feature_index"]
            for each in statistic["elements"]
            if each["combination_element"] == "cat_feature_value"
        ]
        owners = tuple(sorted({int(categories[code]["flat_feature_index"]) for code in counted}))
        yield ModelFeature((*texts, *sides), owners, statistic["borders"], True)


def fill_tables(
    model: CatBoostModel, statistics: Sequence[AskedStatistic], levels: Levels
) -> tuple[StatisticTable, ...]:
    """The tables of statistics; raises InvalidRequest for too many cells."""
    cells = sum(prod(source.size(levels) for source in each.feature.sources) for each in statistics)
    if cells > MOST_CELLS:
        raise InvalidRequest(
            f"the statistics of its categories have {cells:,} cells, the limit is {MOST_CELLS:,}; a smaller"
            " max_ctr_complexity makes fewer"
        )
    return tuple(
        StatisticTable(
            feature.sources,
            read_truths(model, feature.sources, places, levels).sum(axis=1).astype(np.uint8),
            feature.owners,
        )
        for feature, places in statistics
    )


def read_truths(model: CatBoostModel, sources: Sources, places: Sequence[SplitPlace], levels: Levels) -> Truths:
    """(cells, places) the model's answers to splits that depend on these sources alone."""
    sizes = [source.size(levels) for source in sources]
    values = [source.values(levels) for source in sources]
    trees, bits = (np.array(numbers, dtype=np.int64) for numbers in zip(*places, strict=True))
    first, last = int(trees.min()), int(trees.max()) + 1
    parts = []
    for start in range(0, prod(sizes), _AT_ONCE):
        cases = np.unravel_index(np.arange(start, min(start + _AT_ONCE, prod(sizes))), sizes)
        probe = np.zeros((len(cases[0]), model.columns), dtype=np.float32)
        for source, of_source, case in zip(sources, values, cases, strict=True):
            probe[:, source.column] = of_source[case]
        parts.append(model.leaf_numbers(probe, first, last)[:, trees - first] >> bits & 1 == 1)
    return np.concatenate(parts)


def list_cases(tables: Sequence[StatisticTable]) -> tuple[list[Source], list[tuple[int, float]]]:
    """The cases that cells of tables depend on: sources by their codes, and columns with a border each."""
    sources = sorted({source for table in tables for source in table.sources})
    codes = [source for source in sources if not source.borders]
    return codes, sorted({(source.column, border) for source in sources for border in source.borders})


def find_strides(
    tables: Sequence[StatisticTable], levels: Levels
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(most cases of a table, tables) the cases on which a table depends, and the cells by which each moves on."""
    codes, borders = list_cases(tables)
    place: dict[tuple[int, float | None], int] = {(source.column, None): at for at, source in enumerate(codes)}
    place |= {(column, border): at for at, (column, border) in enumerate(borders, len(codes))}
    moves: list[list[tuple[int, int]]] = []
    for table in tables:
        stride, of_table = 1, []
        for source in reversed(table.sources):
            of_table += [(place[source.column, border], stride) for border in source.borders or (None,)]
            stride *= source.size(levels)
        moves.append(of_table)
    most = max(map(len, moves))
    padded = np.array([of_table + [(0, 0)] * (most - len(of_table)) for of_table in moves])
    return padded[:, :, 0].T, padded[:, :, 1].T.astype(np.float32)
