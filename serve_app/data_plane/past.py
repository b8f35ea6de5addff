"""Past of requests: the history of their rows is read before they are scored, and the rows are kept once answered."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from optagent.arrays import Matrix64
from optagent.errors import OptAgentError
from optagent.ports import Histories
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.state import Past, PastRow, past_row, served_history
from serve_app.data_plane.breaker import Breaker
from serve_app.data_plane.metrics import ModelMetrics
from serve_app.data_plane.mixture import FEW_ROWS, RunInThread
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.route import Route
from serve_app.data_plane.sent_rows import SentRows, add_columns, has_named_rows, read_numbers, read_sent_rows

AHEAD_S = 3_600.0
"""Seconds that the time of a row may be ahead of its arrival: a later one is no past of other rows."""

_MOST_WAITING = 100_000  # rows
_AT_ONCE = 500
_CLOSE_S = 2.0
_CELL_BYTES = 40

_log = logging.getLogger("optagent.gateway")


class _Waiting(NamedTuple):
    """Rows of one plan that are to be kept."""

    model_id: str
    plan: HistoryPlan
    rows: list[tuple[str, PastRow]]
    metrics: ModelMetrics


class RequestPasts:
    """Gives rows their history. All runs on one event loop but what takes long, which runs by `run_in_thread`.

    Where the histories do not answer in time, rows are answered without, which is counted; after a few such failures
    they are not asked for some seconds. Kept rows are written one after the other by a task of its own.
    """

    def __init__(self, histories: Histories | None, run_in_thread: RunInThread) -> None:
        self._histories = histories
        self._run_in_thread = run_in_thread
        self._breaker = Breaker()
        self._waiting: deque[_Waiting] = deque()
        self._rows_waiting = 0
        self._writing: asyncio.Task[None] | None = None

    async def extend(
        self, route: Route, request: PredictionRequest, arrival: float
    ) -> tuple[PredictionRequest, Sequence[SentRows]]:
        """The request with the columns of all plans of its route, and its rows as these read them.

        Raises InvalidData for a row whose key or time breaks a rule.
        """
        if not route.plans or not has_named_rows(request.rows):
            return request, ()
        arrival, sent = round(arrival * 1e6) / 1e6, []
        for plan in route.plans:
            rows = read_sent_rows(request.rows, request.size, plan, arrival, plan == route.champion_plan)
            pasts = await self._read(route, rows)
            if pasts is None:
                route.metrics.history_missing += request.size
            elif request.size <= FEW_ROWS:
                request = _with_history(request, rows, pasts)
            else:
                request = await self._run_in_thread(_with_history, request, rows, pasts)
            if pasts is None:
                request = _with_columns(request, plan, np.full((request.size, len(plan.names)), np.nan))
            sent.append(rows)
        return request, sent

    def keep(
        self, route: Route, request: PredictionRequest, sent: Sequence[SentRows], ids: Sequence[str], arrival: float
    ) -> None:
        """Queues rows that were answered, to be past of later ones; never waits."""
        for plan, series, times in sent:
            numbers = read_numbers(request.rows, request.size, plan).tolist()
            latest = float("inf") if plan.numeric_time else arrival + AHEAD_S
            rows = [
                (name, past_row(moment, values, row_id))
                for name, moment, values, row_id in zip(series, times, numbers, ids, strict=True)
                if name is not None and moment <= latest
            ]
            route.metrics.history_unkept += sum(name is not None for name in series) - len(rows)
            if rows:
                self._queue(_Waiting(route.model_id, plan, rows, route.metrics))

    async def close(self) -> None:
        """Writes the rows that wait, as far as that is possible within seconds."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=_CLOSE_S)
            self._writing.cancel()

    def _queue(self, waiting: _Waiting) -> None:
        if self._histories is None or self._rows_waiting + len(waiting.rows) > _MOST_WAITING:
            waiting.metrics.history_unkept += len(waiting.rows)
            return
        self._rows_waiting += len(waiting.rows)
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Writes until nothing waits; rows that are not taken are dropped and counted."""
        assert self._histories is not None
        while self._waiting:
            batch = [self._waiting.popleft()]
            while self._waiting and _is_alike(batch[0], self._waiting[0]) and len(batch) < _AT_ONCE:
                batch.append(self._waiting.popleft())
            rows = [row for waiting in batch for row in waiting.rows]
            try:
                await self._histories.keep(batch[0].model_id, batch[0].plan, rows)
            except OptAgentError as error:
                batch[0].metrics.history_unkept += len(rows)
                _log.warning("%s: %d rows are no past of later ones: %s", batch[0].model_id, len(rows), error)
            finally:
                self._rows_waiting -= len(rows)

    async def _read(self, route: Route, sent: SentRows) -> list[Past] | None:
        """The pasts of the rows that have a series; None where the histories do not answer."""
        now = time.monotonic()
        if self._histories is None or not self._breaker.allows(now):
            return None
        asked = [(name, moment) for name, moment in zip(sent.series, sent.time, strict=True) if name is not None]
        try:
            pasts = await self._histories.pasts(route.model_id, sent.plan, asked) if asked else []
        except OptAgentError as error:
            self._breaker.count(False, now)
            _log.warning("%s: answered without history: %s", route.model_id, error)
            return None
        self._breaker.count(True, now)
        return pasts


def _is_alike(one: _Waiting, other: _Waiting) -> bool:
    return one.model_id == other.model_id and one.plan == other.plan


def _with_history(request: PredictionRequest, sent: SentRows, pasts: Sequence[Past]) -> PredictionRequest:
    """The request with the history of its rows; `pasts` are of those that have a series."""
    matrix = np.full((request.size, len(sent.plan.names)), np.nan)
    remaining = iter(pasts)
    for row, (name, moment) in enumerate(zip(sent.series, sent.time, strict=True)):
        if name is not None:
            matrix[row] = served_history(sent.plan, next(remaining), moment)
    return _with_columns(request, sent.plan, matrix)


def _with_columns(request: PredictionRequest, plan: HistoryPlan, matrix: Matrix64) -> PredictionRequest:
    rows = add_columns(request.rows, plan.names, matrix)
    return request._replace(rows=rows, memory=request.memory + _CELL_BYTES * matrix.size)
