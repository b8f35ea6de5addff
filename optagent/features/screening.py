"""Screening of the candidates of all searches: one pass over the columns, every block against every question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from optagent.arrays import Rows
from optagent.features.context import FeatureSearchContext
from optagent.features.generate import candidate_inputs
from optagent.features.quality import ColumnQuality
from optagent.features.screening_statistics import (
    Block,
    BlockStatistics,
    ChanceBar,
    Screen,
    ScreeningTarget,
    Spread,
    build_screen,
    chance_bar,
)
from optagent.features.searches import FeatureSearch, candidate_blocks, screening_sample, screening_targets, select_rows

_KINDS = 2  # of questions, see `screening_targets`
_DRAWS_PER_TAIL = 5  # draws beyond the bar: with fewer, its height is too noisy
_MOST_DRAWS = 2_000
_MOST_IN_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class ScreeningResult:
    """The questions, the statistics of every candidate, and a chance bar for each kind of question; no bars without a
    block."""

    screen: Screen
    blocks: tuple[BlockStatistics, ...]
    bars: tuple[ChanceBar, ...]
    searches: int

    @property
    def candidates(self) -> int:
        return sum(len(block.steps) for block in self.blocks)

    def questions_of_search(self, search: int) -> tuple[int, ...]:
        """The numbers of the questions of a search, one of each kind."""
        return tuple(search + kind * self.searches for kind in range(_KINDS))

    def question(self, number: int) -> ScreeningTarget:
        return self.screen.questions[number]


def screen_candidates(
    context: FeatureSearchContext,
    searches: Sequence[FeatureSearch],
    columns: Sequence[ColumnQuality],
    spread: Spread,
    notes: list[str],
) -> ScreeningResult:
    """Screens candidates until there are no more, or until the time is up; `notes` receives what was cut off."""
    count = len(searches)
    draws = -(-min(_MOST_DRAWS, int(_DRAWS_PER_TAIL * _KINDS / context.rules.alpha)) // count)
    rows = _screening_rows(context, searches, draws, notes)
    data, questions = select_rows(context.problem.data, rows), screening_targets(searches, rows)
    ordered = context.how.time_ordered
    screen = build_screen(data, questions, draws, context.seed, ordered=ordered, flexible=context.flexible)
    blocks = tuple(spread(screen, _screening_blocks(context, searches, columns, len(rows), notes)))
    alpha = context.rules.alpha / _KINDS
    kinds = [slice(kind * count, (kind + 1) * count) for kind in range(_KINDS)]
    return ScreeningResult(
        screen, blocks, tuple(chance_bar(blocks, alpha, kind) for kind in kinds) if blocks else (), count
    )


def _screening_rows(
    context: FeatureSearchContext, searches: Sequence[FeatureSearch], draws: int, notes: list[str]
) -> Rows:
    width = len(context.problem.data.names) + 3 * (1 + draws) * _KINDS * len(searches) * searches[0].left.shape[1]
    available = int(np.any([search.asked for search in searches], axis=0).sum())
    rows = screening_sample(searches, min(context.limits.rows, max(200, context.cells // 2 // width)))
    if len(rows) < available:
        notes.append(f"candidates were looked at on {len(rows):,} of {available:,} rows")
    return rows


def _screening_blocks(
    context: FeatureSearchContext,
    searches: Sequence[FeatureSearch],
    columns: Sequence[ColumnQuality],
    rows: int,
    notes: list[str],
) -> Iterator[Block]:
    left_out = frozenset(column.name for column in columns if not column.usable)
    inputs = candidate_inputs(context.problem.data, context.dates, left_out)
    size = max(1, min(_MOST_IN_BLOCK, context.cells // 64 // rows))  # values, ranks and curves on the way: a quarter
    blocks = candidate_blocks(searches, inputs, context.limits.candidates, size, context.flexible)
    if sum(int(block.admitted[:, 0].sum()) for block in blocks) >= context.limits.candidates:
        notes.append(f"only {context.limits.candidates:,} candidates, of the most promising columns, were looked at")
    for number, block in enumerate(blocks):
        if context.late():
            notes.append(f"the time was up after {number} of {len(blocks)} blocks of candidates")
            return
        yield block
