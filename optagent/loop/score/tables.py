"""Scored tables: rows and their scores in order, by threads of this process or by workers of a cluster."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import pyarrow as pa

from optagent.errors import InvalidData
from optagent.ports import Workers
from optagent.serving.batch_scorer import BatchScorer, BatchScores, ScorerRecipe

ScoredTables = Generator[tuple[pa.Table, BatchScores]]

_AHEAD = 2  # tables a thread, so that none waits for the reader or the writer
_WINDOW = 4  # tables a worker between two looks at the results


def score_in_threads(scorer: BatchScorer, tables: Iterator[pa.Table], threads: int) -> ScoredTables:
    """A few tables at once in threads, which engines and Arrow let run beside each other; a few are in memory."""
    waiting: deque[tuple[pa.Table, int, Future[BatchScores]]] = deque()
    pool, first = ThreadPoolExecutor(threads, "optagent-score"), 0
    try:
        for table in tables:
            waiting.append((table, first, pool.submit(_score_table, scorer, table, first)))
            first += table.num_rows
            if len(waiting) > _AHEAD * threads:
                done, _, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, _, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def score_by_workers(recipe: ScorerRecipe, tables: Iterator[pa.Table], workers: Workers) -> ScoredTables:
    """Some tables at once on the workers of a cluster, which get the recipe once."""
    with workers.share(recipe) as pool:
        first = 0
        while window := list(islice(tables, _WINDOW * pool.size)):
            places = [first + sum(table.num_rows for table in window[:at]) for at in range(len(window))]
            yield from zip(window, pool.map(_score_on_worker, list(zip(window, places, strict=True))), strict=True)
            first = places[-1] + window[-1].num_rows


def _score_on_worker(recipe: ScorerRecipe, item: tuple[pa.Table, int]) -> BatchScores:
    return _score_table(recipe.scorer, *item)


def _score_table(scorer: BatchScorer, table: pa.Table, first: int) -> BatchScores:
    """The scores of a table; an error about a row says where the rows of this table begin, from which it counts."""
    if not table.num_rows:
        return scorer.empty_scores()
    try:
        return scorer.score(table)
    except InvalidData as error:
        if not first:
            raise
        raise InvalidData(f"from row {first:,} on, which is row 0 here: {error}") from None
