"""Data plane: predictions by the versions that this process has loaded, and late labels, without FastAPI.

`asgi.Application` calls it: it numbers requests, bounds their bodies and turns errors raised here into answers.
"""

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from optagent.domain.model import ModelSpec
from optagent.domain.token import Scope
from optagent.errors import Conflict, EngineFailed, InvalidRequest
from optagent.ports import Clock, Histories, Loader, Observations, RecordKind, Routes
from optagent.serving.prediction_record import PredictionRecord
from optagent.serving.reasons import Reasons
from serve_app.data_plane.body_limits import SMALL_BODY
from serve_app.data_plane.evidence import EvidenceRecorder
from serve_app.data_plane.explaining import AnswerExplainer
from serve_app.data_plane.interval_request import find_interval, read_header_level
from serve_app.data_plane.label_bodies import read_labels
from serve_app.data_plane.metrics import GatewayMetrics
from serve_app.data_plane.mixture import FEW_ROWS
from serve_app.data_plane.past import RequestPasts
from serve_app.data_plane.payloads import (
    ARROW,
    JSON,
    AnswerExtras,
    PredictionRequest,
    ask_reasons,
    encode_answer,
    encode_json,
    is_arrow,
    read_explain,
    read_key,
    read_predict_request,
)
from serve_app.data_plane.recorder import Recorder
from serve_app.data_plane.route import ArmAssignment, Route
from serve_app.data_plane.router import Router
from serve_app.data_plane.scoring import Scorer, ScoringResult

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_PREFIX = "/api/v1/models/"
_SCOPES = {"predict": Scope.PREDICT, "labels": Scope.LABEL}
"""The scope that each verb needs."""
_LABEL_THREADS = 2
_SPEC_KEPT_S = 60.0
_SWITCH_S = 0.0005
_SETTLING_POLL_S = 0.05


class RequestAuthenticator(Protocol):
    """Finds the token of a request; raises NotAuthenticated, NotPermitted, TooManyRequests and Unavailable."""

    async def principal(
        self, authorization: str | None, scope: Scope, request_id: str = "", model_id: str = ""
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class Backlogs:
    """The numbers of rows, and of bytes in memory, that may wait for a shadow, and to be recorded."""

    shadow: int = 10_000
    record: int = 100_000
    shadow_bytes: int = 32_000_000
    record_bytes: int = 128_000_000


class _Headers(NamedTuple):
    authorization: str | None
    content_type: bytes
    content_encoding: bytes
    key: str | None
    explain: int
    level: float | None


class DataPlane:
    """Answers POST .../predict and .../labels. `find_model` returns the spec of a model or raises ModelNotFound."""

    def __init__(
        self,
        routes: Routes,
        loader: Loader,
        observations: Observations,
        authenticator: RequestAuthenticator,
        clock: Clock,
        find_model: Callable[[str], Awaitable[ModelSpec]],
        gateway_id: str,
        backlogs: Backlogs | None = None,
        settling_s: float = 0.0,
        histories: Histories | None = None,
    ) -> None:
        backlogs = backlogs or Backlogs()
        self._settling_s = settling_s
        self._settled_at = 0.0
        self.metrics = GatewayMetrics()
        self._recorder = Recorder(observations, self.metrics, backlogs.record, backlogs.record_bytes)
        self._router = Router(routes, loader, clock, self.metrics, gateway_id)
        self._evidence_recorder = EvidenceRecorder(self._recorder, clock, backlogs.shadow, backlogs.shadow_bytes)
        self._scorer = Scorer()
        self._explainer = AnswerExplainer()
        self._pasts = RequestPasts(histories, self._scorer.run_in_thread)
        # Its own, since a store that does not answer holds a thread for seconds, and cannot be interrupted.
        self._label_threads = ThreadPoolExecutor(_LABEL_THREADS, "optagent-labels")
        self._observations = observations
        self._authenticator = authenticator
        self._clock = clock
        self._find_model = find_model
        self._specs: dict[str, tuple[ModelSpec, float]] = {}
        self._ids = count()
        self._ids_begin = secrets.token_hex(8)

    async def start(self) -> None:
        """Starts to load the versions that tables name; `ready` is True when that is done."""
        # The threads of recorder and shadows yield ten times sooner than by Python's default, or requests would wait.
        sys.setswitchinterval(_SWITCH_S)
        await asyncio.to_thread(_warm_up)
        self._recorder.start()
        self._router.start()
        self._settled_at = self._clock.now() + self._settling_s

    async def close(self) -> None:
        """Records the answered requests, as far as that is possible within seconds, and closes the versions."""
        await self._router.close()
        await asyncio.to_thread(self._recorder.close)
        await self._pasts.close()
        self._scorer.close()
        self._explainer.close()
        self._label_threads.shutdown(wait=False)

    @property
    def ready(self) -> bool:
        """True where each model that has a champion can be answered for, or is known not to load."""
        return self._router.ready

    def handles(self, scope: Any) -> bool:
        """True for the requests that this plane answers."""
        return scope["type"] == "http" and scope["method"] == "POST" and _parse_path(scope["path"]) is not None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        started_at, arrival = time.perf_counter(), self._clock.now()
        model_id, verb = _parse_path(scope["path"]) or ("", "predict")
        headers = _read_headers(scope["headers"])
        request_id = scope.get("state", {}).get("request_id", "")
        await self._authenticator.principal(headers.authorization, _SCOPES[verb], request_id, model_id)
        if verb == "labels":
            await self._take_labels(model_id, headers, receive, send)
            return
        route = self._router.find_route(model_id, arrival)
        if route is None:
            route = await self._await_route(model_id)
        try:
            await self._predict(route, headers, receive, send, started_at, arrival)
        except InvalidRequest:
            route.metrics.refused += 1
            raise
        except EngineFailed:
            route.metrics.failed += 1
            raise

    async def _predict(
        self, route: Route, headers: _Headers, receive: Receive, send: Send, started_at: float, arrival: float
    ) -> None:
        arrow = is_arrow(headers.content_type, headers.content_encoding)
        body = await _read_body(receive)
        if len(body) <= SMALL_BODY:
            request = read_predict_request(body, arrow, route.most_rows)
        else:
            request = await self._scorer.run_in_thread(read_predict_request, body, arrow, route.most_rows)
        request, sent_rows = await self._pasts.extend(route, request, arrival)
        ids = request.ids or self._new_ids(1)
        unit = headers.key or request.key or ids[0]
        level = headers.level if request.level is None else request.level
        interval = None if level is None else find_interval(route.table, level)
        assignment = route.assign_arm(unit)
        request = ask_reasons(request, headers.explain)
        if request.explain:  # what a version waits for once is no time of its own
            started_at += await self._explainer.prepare(route, assignment, request)
        result = await self._scorer.score(route, assignment, request)
        reasons = await self._explain(route, result, request) if request.explain else None
        if len(ids) < request.size:
            ids = [*ids, *self._new_ids(request.size - 1)]
        mixture = route.mixture if result.said is not None else None
        answering = result.version.model if mixture is None else mixture.answer_model
        extras = AnswerExtras(reasons, interval)
        encode = partial(encode_answer, route.model_id, answering, result.scores, ids, arrow, extras)
        answer = encode() if request.size <= FEW_ROWS else await self._scorer.run_in_thread(encode)
        latency_ms = (time.perf_counter() - started_at) * 1000
        await _send(send, answer, arrow, answering.version)
        _count_request(route, assignment, result, request.size, latency_ms)
        model = answering if mixture is None else mixture.record_model
        record = PredictionRecord(
            model, ids, arrival, request.rows, result.scores, latency_ms, assignment.arm, result.said
        )
        memory = request.memory if result.said is None else request.memory + result.said.said.nbytes
        self._recorder.record_predictions(route.model_id, record, memory)
        if route.table.rollout_id:
            self._evidence_recorder.record(route, assignment, result, request, ids, unit, arrival)
        if sent_rows:
            self._pasts.keep(route, request, sent_rows, ids, arrival)

    async def _explain(self, route: Route, result: ScoringResult, request: PredictionRequest) -> Sequence[Reasons]:
        if route.mixture is None or result.said is None:
            return await self._explainer.explain(result.version, request, result.scores)
        return await self._explainer.explain_mixture(route.model_id, route.mixture, request, result.said)

    async def _take_labels(self, model_id: str, headers: _Headers, receive: Receive, send: Send) -> None:
        arrow = is_arrow(headers.content_type, headers.content_encoding)
        spec = await self._find_spec(model_id)
        body = await _read_body(receive)
        loop = asyncio.get_running_loop()
        recorded = await loop.run_in_executor(self._label_threads, self._record_labels, spec, body, arrow)
        await _send(send, encode_json({"model_id": model_id, "recorded": recorded}))

    def _record_labels(self, spec: ModelSpec, body: bytes, arrow: bool) -> int:
        from optagent.loop.observe.record import check_sent_labels, checked_labels  # here, since it loads pandas

        now = self._clock.now()
        table = checked_labels(read_labels(body, arrow), spec, now)
        check_sent_labels(table, spec, now)
        self._observations.record(spec.model_id, RecordKind.LABELS, table)
        return int(table.num_rows)

    async def _find_spec(self, model_id: str) -> ModelSpec:
        entry = self._specs.get(model_id)
        if entry is None or time.monotonic() - entry[1] > _SPEC_KEPT_S:
            entry = self._specs[model_id] = (await self._find_model(model_id), time.monotonic())
        return entry[0]

    async def _await_route(self, model_id: str) -> Route:
        """The route of a model that has none yet: after a start, the tables of champions come within seconds.

        Raises the reason where there is none once the gateway has settled, or where its versions do not load.
        """
        if self._router.refusal(model_id) is None:
            await self._find_model(model_id)
        while self._clock.now() < self._settled_at and not self._router.has_failed(model_id):
            await asyncio.sleep(_SETTLING_POLL_S)
            route = self._router.find_route(model_id, self._clock.now())
            if route is not None:
                return route
        raise self._router.refusal(model_id) or Conflict(
            f"{model_id} has no champion yet: give a version the alias 'champion'"
        )

    def _new_ids(self, size: int) -> list[str]:
        begin, ids = self._ids_begin, self._ids
        return [f"{begin}{next(ids):08x}" for _ in range(size)]


def _warm_up() -> None:
    """Makes an array, since pyarrow loads pandas with its first one: better now than beside requests."""
    pa.array([0.0])


def _parse_path(path: str) -> tuple[str, str] | None:
    """The model and the verb in a path of this plane; None for other paths."""
    if not path.startswith(_PREFIX):
        return None
    model_id, _, verb = path[len(_PREFIX) :].partition("/")
    return (model_id, verb) if verb in _SCOPES and model_id else None


def _read_headers(headers: Sequence[tuple[bytes, bytes]]) -> _Headers:
    authorization = key = level = None
    content_type = content_encoding = b""
    explain = 0
    for name, value in headers:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"content-type":
            content_type = value
        elif name == b"content-encoding":
            content_encoding = value
        elif name == b"x-optagent-key":
            key = read_key(value)
        elif name == b"x-optagent-explain":
            explain = read_explain(value)
        elif name == b"x-optagent-interval":
            level = read_header_level(value)
    return _Headers(authorization, content_type, content_encoding, key, explain, level)


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    if not message.get("more_body", False):
        return bytes(message.get("body", b""))
    body = bytearray(message.get("body", b""))  # not a list of parts: each takes fifty bytes, and may have one
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return bytes(body)


async def _send(send: Send, answer: bytes, arrow: bool = False, version: str = "") -> None:
    headers = [(b"content-type", ARROW if arrow else JSON), (b"content-length", b"%d" % len(answer))]
    if arrow:
        headers.append((b"x-optagent-version", version.encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _count_request(
    route: Route, assignment: ArmAssignment, result: ScoringResult, size: int, latency_ms: float
) -> None:
    metrics = route.metrics
    if assignment is route.champion:
        metrics.champion += 1
    else:
        metrics.candidate += 1
    metrics.rows += size
    alone = assignment is route.champion and route.mixture is not None and result.said is None
    metrics.fallbacks += alone or result.version is not assignment.version
    metrics.add_latency(latency_ms)
