"""Scoring of a request: by the version of its arm, or by the backup where that version fails."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from optagent.arrays import Prediction
from optagent.errors import EngineFailed, InvalidData, OptAgentError
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import CANDIDATE
from optagent.serving.mixture_record import SaidRecord
from optagent.serving.served_mixture import MixedScores
from serve_app.data_plane.mixture import FEW_ROWS, MixtureRoute, score_mixture
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.route import ArmAssignment, Route
from serve_app.data_plane.version import Version

_log = logging.getLogger("optagent.gateway")


class ScoringResult(NamedTuple):
    """The version that answered, its scores, whether the version of the arm `failed`, and the time of that version.

    `said` is set where the mixture answered; then `version` is the one that stands for it, the champion.
    """

    version: Version
    scores: Prediction
    failed: bool
    drawn_ms: float
    said: SaidRecord | None = None


class Scorer:
    """Scores by versions on the event loop, or in threads where that would block it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2, "optagent-many-rows")

    async def score(self, route: Route, assignment: ArmAssignment, request: PredictionRequest) -> ScoringResult:
        """Raises InvalidData for rows that break a rule, and EngineFailed where no version answers."""
        started_at = time.perf_counter()
        if route.mixture is not None and assignment is route.champion:
            mixed = await self._mix(route, route.mixture, request)
            if mixed is not None:
                took_ms = (time.perf_counter() - started_at) * 1000
                return ScoringResult(route.mixture.reference, mixed.scores, False, took_ms, mixed.said)
        version, backup = assignment.version, assignment.backup
        error: Exception | None = None
        if version is not None:
            try:
                scores = await self._score_by(version, request, assignment.budget_s)
                return ScoringResult(version, scores, False, (time.perf_counter() - started_at) * 1000)
            except InvalidData as refused:
                if assignment.role != CANDIDATE or backup is None:
                    raise
                error = refused  # rows have the columns of the champion; a candidate that needs others fails
            except Exception as failure:
                error = failure
        drawn_ms = (time.perf_counter() - started_at) * 1000
        if backup is None:
            raise _engine_failure(route, version, error)
        try:
            return ScoringResult(backup, await self._score_by(backup, request, None), error is not None, drawn_ms)
        except InvalidData:
            raise
        except Exception as failure:
            raise _engine_failure(route, backup, failure) from error

    async def run_in_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a call of some milliseconds beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _mix(self, route: Route, mixture: MixtureRoute, request: PredictionRequest) -> MixedScores | None:
        """The answer of the mixture; None where it has none, so that the champion is asked alone."""
        budget_s = route.table.budget_ms / 1000
        try:
            return await score_mixture(mixture, request, budget_s, route.metrics, self.run_in_thread)
        except OptAgentError:
            raise
        except Exception:
            _log.exception("the mixture of %s fails, its champion is asked alone", route.model_id)
            return None

    async def _score_by(self, version: Version, request: PredictionRequest, budget_s: float | None) -> Prediction:
        model = version.model
        if request.small and request.size <= FEW_ROWS:
            x = model.reader.read(request.rows)
            if not version.blocks:
                return model.scores(x)
            call = partial(model.scores, x)
        else:
            call = partial(_read_and_score, model, request.rows)
        running = asyncio.get_running_loop().run_in_executor(version.pool or self._pool, call)
        return await (running if budget_s is None else asyncio.wait_for(running, budget_s))


def _read_and_score(model: ServedModel, rows: Any) -> Prediction:
    return model.scores(model.reader.read(rows))


def _engine_failure(route: Route, version: Version | None, error: Exception | None) -> EngineFailed:
    version_name = route.table.champion if version is None else version.model.version
    reason = "is not loaded" if error is None else f"does not answer: {str(error) or type(error).__name__}"
    return EngineFailed(f"{route.model_id} version {version_name} {reason}")
