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
    """The number of a statistic's borders below it, for the cases of its sources, of which the last varies fastest."""

    sources: Sources
    ranks: npt.NDArray[np.uint8]


def list_sources(features: Mapping[str, Any]) -> Iterator[tuple[Sources, Sequence[float], bool]]:
    """The sources and the borders of each feature of a model, in the order in which splits are numbered.

    Borders that are not nested are categories, of which a code is one.
    """
    categories = features.get("categorical_features", ())
    for feature in features.get("float_features", ()):
        yield (Source(feature["flat_feature_index"], tuple(feature["borders"])),), feature["borders"], True
    for feature in categories:
        yield (Source(feature["flat_feature_index"]),), feature.get("values", ()), False
    for statistic in features.get("ctrs", ()):
        codes = {element["cat_feature_index"] for element in statistic["elements"] if "cat_feature_index" in element}
        borders: dict[int, set[float]] = {}
        for element in statistic["elements"]:
            if "border" in element:
                column = features["float_features"][element["float_feature_index"]]["flat_feature_index"]
                borders.setdefault(column, set()).add(element["border"])
        numbers = [Source(column, tuple(sorted(borders[column]))) for column in sorted(borders)]
        texts = [Source(categories[code]["flat_feature_index"]) for code in sorted(codes)]
        yield (*texts, *numbers), statistic["borders"], True


def fill_tables(
    model: CatBoostModel, statistics: Sequence[tuple[Sources, Sequence[SplitPlace]]], levels: Levels
) -> tuple[StatisticTable, ...]:
    """The tables of statistics, each with the splits by its borders; raises InvalidRequest for too many cells."""
    cells = sum(prod(source.size(levels) for source in sources) for sources, _ in statistics)
    if cells > MOST_CELLS:
        raise InvalidRequest(
            f"the statistics of its categories have {cells:,} cells, the limit is {MOST_CELLS:,}; a smaller"
            " max_ctr_complexity makes fewer"
        )
    return tuple(
        StatisticTable(sources, read_truths(model, sources, places, levels).sum(axis=1).astype(np.uint8))
        for sources, places in statistics
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
