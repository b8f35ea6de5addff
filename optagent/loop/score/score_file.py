"""Batch scoring: the rows of files of any size to a file of answers, and to recorded predictions if that is asked."""

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from optagent.domain.dataset import DataSource
from optagent.domain.routing import Arm
from optagent.domain.scored_file import ScoredFile
from optagent.errors import Busy, Cancelled, OptAgentError, Unavailable
from optagent.loop.context import Ports
from optagent.loop.score.answering import LoadedScorer
from optagent.loop.score.columns import ID, VERSION, ColumnPlan, carry_columns, plan_columns, read_ids
from optagent.loop.score.past import FilePast
from optagent.loop.score.tables import ScoredTables, score_by_workers, score_in_threads
from optagent.ports import Observations, RecordKind, RowBatches, RowScratch
from optagent.serving.answer_interval import AskedInterval, interval_columns
from optagent.serving.batch_scorer import BatchScorer, BatchScores
from optagent.serving.prediction_record import PredictionRecord, predictions_table

MOST_ROWS = 10_000
"""Rows that are scored at once, unless a request may have fewer."""

_RECORDED_AT_ONCE = 5_000  # rows of a call, as gateways have it


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A file to score: the address of the rows, the path of the answers, and what becomes of them.

    `columns` are those to carry over, None for `id` where there is one. `source` has the model's own rows, which
    are the past of the file's where the model has a history. With an `interval`, each answer gets its range or set.
    """

    model_id: str
    data: str
    out: Path
    columns: tuple[str, ...] | None = None
    record: bool = False
    overwrite: bool = False
    source: DataSource | None = None
    interval: AskedInterval | None = None


def score_file(
    request: ScoreRequest,
    load: Callable[[], LoadedScorer],
    ports: Ports,
    cancelled: Callable[[], bool] = lambda: False,
) -> ScoredFile:
    """The account of the output; `load` makes the scorer, once the files can be read and written. Blocks.

    Raises InvalidData and InvalidRequest for what cannot be read, scored or written, EngineFailed, and Cancelled once
    `cancelled` answers True. Then there is no output, and nothing is recorded but where recording itself fails in the
    middle, which the message says.
    """
    files = ports.require("row_files")
    rows: RowBatches = files.open(request.data)
    room: AbstractContextManager[Any] = files.scratch(request.out) if request.record else nullcontext()
    with files.create(request.out, request.overwrite, rows.paths) as output, room as scratch:
        with closing(load()) as loaded:
            run = ScoringRun(request, rows, loaded.scorer, ports.clock.now())
            past = FilePast(loaded.scorer.schema, request.source, ports.datasets)
            most_rows = min(loaded.scorer.most_rows, MOST_ROWS)
            with (
                closing(past.extend(rows.read(run.plan.read, most_rows))) as tables,
                closing(_score_tables(loaded, tables, ports)) as scored_tables,
            ):
                for table, scores in scored_tables:
                    if cancelled():
                        raise Cancelled(f"{request.out}: scoring was stopped, there is no output")
                    output.write(run.answers(table, scores, scratch))
        recorded = record_tables(request.model_id, scratch, run.rows, ports) if scratch is not None else 0
    notes = (*loaded.notes, *run.plan.notes(), *run.notes(), *past.notes())
    return ScoredFile(request.model_id, run.version, run.rows, str(request.out), recorded, notes)


class ScoringRun:
    """One scoring under way: it makes the output's tables, and counts rows and slots that did not answer."""

    def __init__(self, request: ScoreRequest, rows: RowBatches, scorer: BatchScorer, now: float) -> None:
        empty = scorer.empty_scores()
        beside = {} if request.interval is None else interval_columns(scorer.alone, empty.scores, request.interval)
        answers = [*scorer.alone.format_table(empty.scores).schema.names, *beside, VERSION]
        self.plan: ColumnPlan = plan_columns(
            rows.names, scorer.schema, request.columns, answers, rows.where, request.record
        )
        model = scorer.alone if scorer.mixture is None else scorer.mixture.answer_model
        self.version, self.rows = model.version, 0
        self._scorer, self._where, self._now, self._interval = scorer, rows.where, now, request.interval
        self._missing: Counter[str] = Counter()
        self._alone = 0
        self._ids_begin = secrets.token_hex(8)

    def answers(self, table: pa.Table, scores: BatchScores, scratch: RowScratch | None) -> pa.Table:
        """The output for some rows: carried columns, the answers of a gateway, and the version that gave them."""
        self._missing.update(scores.missing)
        model, first = self._scorer.answer_model(scores), self.rows
        self._alone += table.num_rows if model.version != self.version else 0
        self.rows += table.num_rows
        answers = model.format_table(scores.scores)
        ids = self._record(table, scores, first, scratch) if scratch is not None and table.num_rows else None
        carried = carry_columns(table, self.plan.carried)
        columns = {name: carried[name] for name in carried.schema.names}
        if scratch is not None and not self.plan.has_ids:
            columns = {ID: pa.array(ids or [], pa.large_string()), **columns}
        columns |= {name: answers[name] for name in answers.schema.names}
        if self._interval is not None:
            columns |= interval_columns(model, scores.scores, self._interval)
        columns[VERSION] = pa.repeat(pa.scalar(model.version, pa.large_string()), table.num_rows)
        return pa.table(columns)

    def notes(self) -> Iterator[str]:
        """Sentences about what went otherwise than one might think."""
        if not self.rows:
            yield f"{self._where}: has no rows, so the output has none"
        for slot, count in self._missing.items():
            yield f"slot {slot!r} did not answer {count:,} of {self.rows:,} rows, and was left out of them"
        if self._alone:
            yield f"version {self._scorer.alone.version} answered {self._alone:,} rows alone, where no slot did"

    def _record(self, table: pa.Table, scores: BatchScores, first: int, scratch: RowScratch) -> Sequence[str]:
        """Keeps the rows as a gateway would record them; a row of a file has no latency, which is NaN."""
        ids = read_ids(table, first) if self.plan.has_ids else self._new_ids(first, table.num_rows)
        model, features = self._scorer.record_model(scores), table.select(list(self.plan.features))
        record = PredictionRecord(
            model, ids, self._now, features, scores.scores, float("nan"), Arm.CHAMPION, scores.said
        )
        scratch.write(predictions_table([record]))
        return ids

    def _new_ids(self, first: int, count: int) -> list[str]:
        return [f"{self._ids_begin}-{number}" for number in range(first, first + count)]


def record_tables(model_id: str, scratch: RowScratch, rows: int, ports: Ports) -> int:
    """Records what is kept, and returns the number of rows; where too many wait already, they are archived first."""
    observations, recorded = ports.require("observations"), 0
    for table in scratch.read():
        for start in range(0, table.num_rows, _RECORDED_AT_ONCE):
            part = table.slice(start, _RECORDED_AT_ONCE)
            try:
                _record_part(model_id, part, observations)
            except OptAgentError as error:
                raise Unavailable(
                    f"{recorded:,} of {rows:,} rows are recorded, and there is no output: {error}"
                ) from error
            recorded += part.num_rows
    return recorded


def _record_part(model_id: str, part: pa.Table, observations: Observations) -> None:
    try:
        observations.record(model_id, RecordKind.PREDICTIONS, part)
    except Busy:
        observations.drain(model_id)
        observations.record(model_id, RecordKind.PREDICTIONS, part)


def _score_tables(loaded: LoadedScorer, tables: Iterator[pa.Table], ports: Ports) -> ScoredTables:
    """By the workers of a cluster, where there is one and the versions can be sent; otherwise by threads."""
    if ports.scoring_workers is not None and loaded.recipe is not None:
        return score_by_workers(loaded.recipe, tables, ports.scoring_workers)
    return score_in_threads(loaded.scorer, tables, min(ports.threads, os.cpu_count() or 1))
