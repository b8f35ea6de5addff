"""Explaining of answers: reasons by the version that answered, by tables that are made when first asked for."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from optagent.arrays import Prediction
from optagent.errors import Conflict, InvalidRequest
from optagent.serving.mixture_reasons import MixtureExplainer, check_explained
from optagent.serving.mixture_record import SaidRecord
from optagent.serving.reasons import Reasons, RowExplainer
from serve_app.data_plane.mixture import MixtureRoute
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.route import ArmAssignment, Route
from serve_app.data_plane.version import Version

_RETRY_S = 5.0
_QUICK_CELLS = 150_000  # some .7 ms


class AnswerExplainer:
    """Explains answers. A version costs nothing until it is asked, and its tables go with it.

    Its threads are its own: to load a version takes seconds, and a large forest half a second for a row. A row of a
    usual model is explained on the event loop.
    """

    def __init__(self) -> None:
        self._load_thread = ThreadPoolExecutor(1, "optagent-load-reasons")
        self._thread = ThreadPoolExecutor(1, "optagent-reasons")
        self._explainers: WeakKeyDictionary[Version, tuple[asyncio.Future[RowExplainer], float]] = WeakKeyDictionary()

    async def prepare(self, route: Route, assignment: ArmAssignment, request: PredictionRequest) -> float:
        """The seconds that it took to have the tables of the version that is to answer.

        Raises InvalidRequest for more features than there are, and Conflict where the answer has no reasons.
        """
        started_at = time.perf_counter()
        if route.mixture is not None and assignment is route.champion:
            _check_count(request, route.mixture.reference)
            await self._find_mixture_explainer(route.model_id, route.mixture)
            return time.perf_counter() - started_at
        version = assignment.version or assignment.backup
        if version is None:
            return 0.0
        _check_count(request, version)
        await self._find_explainer(version)
        return time.perf_counter() - started_at

    async def explain(self, version: Version, request: PredictionRequest, scores: Prediction) -> Sequence[Reasons]:
        """The reasons of the version's answer to each row."""
        explainer = await self._find_explainer(version)
        if request.size * explainer.cells <= _QUICK_CELLS:  # sooner than a thread takes over
            return _read_and_explain(explainer, version, request, scores)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _read_and_explain, explainer, version, request, scores)

    async def explain_mixture(
        self, model_id: str, mixture: MixtureRoute, request: PredictionRequest, said: SaidRecord
    ) -> Sequence[Reasons]:
        """The reasons of a mixture's answer to each row, of which `said` tells what the slots said.

        Raises Conflict where one of them did not answer: then another one's score stood in for its own.
        """
        explainer = await self._find_mixture_explainer(model_id, mixture)
        if np.isnan(said.said).any():
            raise Conflict(f"{model_id}: a slot of the mixture did not answer, so that its part has no reasons: retry")
        if request.size * explainer.cells <= _QUICK_CELLS:
            return _read_and_explain_mixture(explainer, mixture, request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, _read_and_explain_mixture, explainer, mixture, request)

    def close(self) -> None:
        for thread in (self._load_thread, self._thread):
            thread.shutdown(wait=False, cancel_futures=True)

    async def _find_mixture_explainer(self, model_id: str, mixture: MixtureRoute) -> MixtureExplainer:
        """The explainer of a mixture by those of its versions; raises Conflict where one of them has none."""
        try:
            check_explained(mixture.weights)
            answering = [member.name for member in mixture.members]
            missing = [name for name in mixture.weights.versions if name not in answering]
            if missing:
                raise Conflict(f"version {missing[0]} does not answer in it")
            explainers = {name: await self._find_explainer(mixture.versions[name]) for name in answering}
            return MixtureExplainer(mixture.answer_model.schema, mixture.weights, explainers)
        except Conflict as refusal:
            raise Conflict(
                f"{model_id} is answered by a mixture of versions, which gives no reasons: {refusal}; the champion"
                f" alone may: optagent mixture {model_id} --champion-only"
            ) from None

    async def _find_explainer(self, version: Version) -> RowExplainer:
        """The explainer of a version; requests that come while it is loaded wait for the same one."""
        future, since = self._explainers.get(version, (None, 0.0))
        now = time.monotonic()
        if future is None or (_may_succeed_later(future) and now - since > _RETRY_S):
            load = version.model.load_explainer
            if load is None:
                raise Conflict(f"version {version.model.version} gives no reasons: its loader has none")
            future = asyncio.get_running_loop().run_in_executor(self._load_thread, load)
            self._explainers[version] = future, now
        return await asyncio.shield(future)  # a caller that leaves must not end it for the others


def _may_succeed_later(future: asyncio.Future[RowExplainer]) -> bool:
    """True where the load failed by something that may pass; that a model gives no reasons does not."""
    if not future.done():
        return False
    return future.cancelled() or not isinstance(future.exception(), Conflict | None)


def _read_and_explain(
    explainer: RowExplainer, version: Version, request: PredictionRequest, scores: Prediction
) -> Sequence[Reasons]:
    rows: Any = request.rows
    return explainer.explain(version.model.reader.read(rows), scores, request.explain)


def _check_count(request: PredictionRequest, version: Version) -> None:
    features = len(version.model.schema.columns)
    if request.explain > features:
        raise InvalidRequest(
            f"explain: a whole number from 1 to {features} is needed, the number of features of version"
            f" {version.model.version}, got {request.explain}"
        )


def _read_and_explain_mixture(
    explainer: MixtureExplainer, mixture: MixtureRoute, request: PredictionRequest
) -> Sequence[Reasons]:
    by_reader = mixture.read(request.rows)
    matrices = {member.name: by_reader[member.reader] for member in mixture.members}
    if any(matrix is None for matrix in matrices.values()):
        raise Conflict("a version of the mixture does not read these rows, so that its part has no reasons")
    return explainer.explain({name: matrix for name, matrix in matrices.items() if matrix is not None}, request.explain)
