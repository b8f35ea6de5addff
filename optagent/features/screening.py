"""The look at all candidates of all searches: one pass over the columns, every question asked of every block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Rows
from optagent.features.context import FeatureSearchContext
from optagent.features.generate import inputs_of
from optagent.features.quality import ColumnQuality
from optagent.features.screening_statistics import (
    Block,
    BlockStatistics,
    ChanceBar,
    Screen,
    ScreeningTarget,
    Spread,
    bar_of,
    screen_of,
)
from optagent.features.searches import FeatureSearch, blocks_of, looked_at, questions_of, some_rows

_KINDS = 2  # of questions, see `questions_of`
_DRAWS_A_TAIL = 5  # of chance beyond the bar: fewer would leave its height to luck
_MOST_DRAWS = 2_000
_MOST_IN_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class ScreeningResult:
    """What was asked, what every candidate answered, and a bar for each kind of question; none without a block."""

    screen: Screen
    blocks: tuple[BlockStatistics, ...]
    bars: tuple[ChanceBar, ...]
    searches: int

    @property
    def candidates(self) -> int:
        return sum(len(block.steps) for block in self.blocks)

    def own(self, search: int) -> tuple[int, ...]:
        """The questions of a search, one of each kind."""
        return tuple(search + kind * self.searches for kind in range(_KINDS))

    def question(self, number: int) -> ScreeningTarget:
        return self.screen.questions[number]


def look(
    work: FeatureSearchContext,
    searches: Sequence[FeatureSearch],
    columns: Sequence[ColumnQuality],
    spread: Spread,
    notes: list[str],
) -> ScreeningResult:
    """Screens candidates until there are no more, or until the time is up; `notes` says what was cut off."""
    count = len(searches)
    draws = -(-min(_MOST_DRAWS, int(_DRAWS_A_TAIL * _KINDS / work.rules.alpha)) // count)
    rows = _rows(work, searches, draws, notes)
    data, questions = some_rows(work.problem.data, rows), questions_of(searches, rows)
    ordered = work.how.time_ordered
    screen = screen_of(data, questions, draws, work.seed, ordered=ordered, flexible=work.flexible)
    blocks = tuple(spread(screen, _blocks(work, searches, columns, len(rows), notes)))
    alpha = work.rules.alpha / _KINDS
    kinds = [slice(kind * count, (kind + 1) * count) for kind in range(_KINDS)]
    return ScreeningResult(
        screen, blocks, tuple(bar_of(blocks, alpha, kind) for kind in kinds) if blocks else (), count
    )


def _rows(work: FeatureSearchContext, searches: Sequence[FeatureSearch], draws: int, notes: list[str]) -> Rows:
    width = len(work.problem.data.names) + 3 * (1 + draws) * _KINDS * len(searches) * searches[0].left.shape[1]
    asked = int(np.any([search.asked for search in searches], axis=0).sum())
    rows = looked_at(searches, min(work.limits.rows, max(200, work.cells // 2 // width)))
    if len(rows) < asked:
        notes.append(f"candidates were looked at on {len(rows):,} of {asked:,} rows")
    return rows


def _blocks(
    work: FeatureSearchContext,
    searches: Sequence[FeatureSearch],
    columns: Sequence[ColumnQuality],
    rows: int,
    notes: list[str],
) -> Iterator[Block]:
    left_out = frozenset(column.name for column in columns if not column.usable)
    inputs = inputs_of(work.problem.data, work.dates, left_out)
    size = max(1, min(_MOST_IN_BLOCK, work.cells // 64 // rows))  # values, ranks and curves on the way: a quarter
    blocks = blocks_of(searches, inputs, work.limits.candidates, size, work.flexible)
    if sum(int(block.admitted[:, 0].sum()) for block in blocks) >= work.limits.candidates:
        notes.append(f"only {work.limits.candidates:,} candidates, of the most promising columns, were looked at")
    for number, block in enumerate(blocks):
        if work.late():
            notes.append(f"the time was up after {number} of {len(blocks)} blocks of candidates")
            return
        yield block
