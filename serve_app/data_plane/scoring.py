"""Scores for a request: from the version that was drawn for it, or from the one behind it where that fails."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from optagent.arrays import Prediction
from optagent.errors import EngineFailed, InvalidData
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import CANDIDATE
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.route import ArmAssignment, Route, Version

FEW_ROWS = 256
"""So many are quicker answered than handed to a thread."""


class ScoringResult(NamedTuple):
    """Who answered, and what; whether the version that was drawn failed, and how long that one took."""

    version: Version
    scores: Prediction
    failed: bool
    drawn_ms: float


class Scorer:
    """Asks versions on the event loop, or in threads where that would hold it up."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2, "optagent-many-rows")

    async def scored(self, route: Route, draw: ArmAssignment, question: PredictionRequest) -> ScoringResult:
        """Raises InvalidData for rows that break a rule, and EngineFailed where nobody answers."""
        started_at = time.perf_counter()
        version, backup = draw.version, draw.backup
        error: Exception | None = None
        if version is not None:
            try:
                scores = await self._ask(version, question, draw.budget_s)
                return ScoringResult(version, scores, False, (time.perf_counter() - started_at) * 1000)
            except InvalidData as refused:
                if draw.role != CANDIDATE or backup is None:
                    raise
                error = refused  # rows are what the champion takes; a candidate that wants others fails
            except Exception as failure:
                error = failure
        drawn_ms = (time.perf_counter() - started_at) * 1000
        if backup is None:
            raise _failure(route, version, error)
        try:
            return ScoringResult(backup, await self._ask(backup, question, None), error is not None, drawn_ms)
        except InvalidData:
            raise
        except Exception as failure:
            raise _failure(route, backup, failure) from error

    async def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """For work of milliseconds."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, version: Version, question: PredictionRequest, budget_s: float | None) -> Prediction:
        model = version.model
        if question.size <= FEW_ROWS:
            x = model.reader.read(question.rows)
            if not version.blocks:
                return model.scores(x)
            call = partial(model.scores, x)
        else:
            call = partial(_read_and_scored, model, question.rows)
        running = asyncio.get_running_loop().run_in_executor(version.pool or self._pool, call)
        return await (running if budget_s is None else asyncio.wait_for(running, budget_s))


def _read_and_scored(model: ServedModel, rows: Any) -> Prediction:
    return model.scores(model.reader.read(rows))


def _failure(route: Route, version: Version | None, error: Exception | None) -> EngineFailed:
    named = route.table.champion if version is None else version.model.version
    why = "is not loaded" if error is None else f"does not answer: {str(error) or type(error).__name__}"
    return EngineFailed(f"{route.model_id} version {named} {why}")
