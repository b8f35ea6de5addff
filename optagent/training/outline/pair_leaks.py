"""Leak search in pairs: two columns whose difference or sum tells the target, though neither does alone.

Such are a day of the end beside one of the start, or a sum that was paid beside one that was due. Numbers are paired
with numbers and dates with dates; a difference or a sum is judged as a column of its own is (`leaks`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from optagent.arrays import Vector
from optagent.domain.model import Task
from optagent.training.columns import Kind, kind_of
from optagent.training.outline.leaks import (
    LEAK,
    Codes,
    codes_score,
    column_codes,
    first_half,
    is_enough,
    metric_name,
    number_codes,
)
from optagent.training.outline.model_outline import Remark
from optagent.training.values import as_column

_MOST_COLUMNS = 24  # of each kind: 276 pairs
_MOST_NAMES = 500
_MOST_ROWS = 10_000
_LEFT = 0.25  # of what the better column alone leaves open: a strong feature and some luck are no leak


@dataclass(frozen=True, slots=True, eq=False)
class _ScoredColumn:
    name: str
    score: float
    values: Vector


def find_pair_leaks(sample: pa.Table, names: list[str], y: Vector, task: Task, classes: int) -> list[Remark]:
    """A remark for each column that tells `y` with a better one; the arguments are those of `find_leaks`.

    Of each kind the 24 columns that tell most alone are paired, on at most 10,000 rows. Files of more than 500 columns
    are not looked at.
    """
    if len(names) > _MOST_NAMES:
        return []
    chosen = np.random.default_rng(0).permutation(len(y))[:_MOST_ROWS]
    y, fit = y[chosen], first_half(len(chosen))
    if not is_enough(y, fit, task, classes):
        return []

    def score_of(codes: Codes) -> float:
        return codes_score(codes, y, fit, task, classes)

    leaks: dict[str, Remark] = {}
    for kind in (Kind.NUMERIC, Kind.DATETIME):
        columns = {name: sample.column(name).take(pa.array(chosen)) for name in names if _is_of(sample, name, kind)}
        for one, other in combinations(_best_columns(columns, kind, score_of), 2):
            for word, values in _together(one.values, other.values, kind):
                score = score_of(number_codes(values))
                if score >= LEAK and 1 - score <= _LEFT * (1 - one.score):
                    told = f"{metric_name(task)} {score:.3f}, alone {one.score:.3f} and {other.score:.3f}"
                    why = f"its {word} {one.name} tells the target almost alone ({told})"
                    leaks.setdefault(other.name, Remark(other.name, why))
    return list(leaks.values())


def _is_of(sample: pa.Table, name: str, kind: Kind) -> bool:
    return kind_of(sample.column(name).type) is kind


def _best_columns(
    columns: Mapping[str, pa.ChunkedArray], kind: Kind, score_of: Callable[[Codes], float]
) -> list[_ScoredColumn]:
    """The columns that tell most alone, the best first."""
    scored = [
        _ScoredColumn(name, score_of(column_codes(column)), as_column(column, kind).to_numpy().astype(np.float64))
        for name, column in columns.items()
    ]
    return sorted(scored, key=lambda each: (-each.score, each.name))[:_MOST_COLUMNS]


def _together(one: Vector, other: Vector, kind: Kind) -> Iterator[tuple[str, Vector]]:
    yield "difference to", one - other
    if kind is Kind.NUMERIC:
        yield "sum with", one + other
