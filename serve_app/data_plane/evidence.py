"""Evidence of a rollout: the arm of a request, and the scores of the two versions that compete."""

from collections.abc import Sequence
from functools import partial

from optagent.arrays import Prediction
from optagent.domain.rollout_look import RolloutState
from optagent.ports import Clock
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import CANDIDATE, CHAMPION, EvidenceRecord, count_outputs
from serve_app.data_plane.backlog_room import BacklogRoom
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.recorder import Recorder
from serve_app.data_plane.route import ArmAssignment, Route
from serve_app.data_plane.scoring import ScoringResult
from serve_app.data_plane.shadow import Shadow, ShadowRequest
from serve_app.data_plane.version import Version


class EvidenceRecorder:
    """Records evidence, after the shadow has scored where there is one.

    At most `backlog` rows wait for a shadow, in at most `backlog_bytes` of memory.
    """

    def __init__(self, recorder: Recorder, clock: Clock, backlog: int, backlog_bytes: int) -> None:
        self._recorder = recorder
        self._clock = clock
        self._backlog = backlog
        self._backlog_bytes = backlog_bytes

    def record(
        self,
        route: Route,
        assignment: ArmAssignment,
        result: ScoringResult,
        request: PredictionRequest,
        ids: Sequence[str],
        unit: str,
        arrival: float,
    ) -> None:
        """Queues the evidence of an answered request; never waits."""
        evidence = _answered_evidence(route, assignment, result, ids, unit, arrival)
        fell_back = route.is_split and result.version is not assignment.version
        beside = None if fell_back else route.version_beside(result.version)
        if beside is None:
            if route.table.state != RolloutState.SHADOW:
                self._recorder.record_evidence(route.model_id, _outputs(result.version.model), evidence)
            return
        add_shadow = partial(_add_shadow, evidence, route.role_of(beside.model.version))
        alone = evidence if route.is_split else None  # without its arm, a request would be missing in the sample ratio
        shadow_request = ShadowRequest(request.rows, request.size, arrival, add_shadow, request.memory, alone)
        if not self._find_or_start_shadow(beside, route).offer(shadow_request) and alone is not None:
            self._recorder.record_evidence(route.model_id, _outputs(result.version.model), alone)

    def _find_or_start_shadow(self, version: Version, route: Route) -> Shadow:
        """The shadow of a version; its thread starts with the first request for it."""
        if version.shadow is None:
            record_evidence = partial(self._recorder.record_evidence, route.model_id, _outputs(version.model))
            room = BacklogRoom(self._backlog, self._backlog_bytes)
            version.shadow = Shadow(
                version.model, room, route.metrics, self._clock, record_evidence, route.table.budget_ms
            )
        return version.shadow


def _answered_evidence(
    route: Route, assignment: ArmAssignment, result: ScoringResult, ids: Sequence[str], unit: str, arrival: float
) -> EvidenceRecord:
    """The evidence of a request without the part of a shadow."""
    table, answering_version = route.table, result.version.model.version
    role = route.role_of(answering_version)
    candidate_asked = assignment.role == CANDIDATE and assignment.version is not None
    return EvidenceRecord(
        ids,
        arrival,
        table.rollout_id,
        table.state,
        table.step,
        assignment.role or assignment.arm,
        route.share,
        unit,
        answering_version,
        failed=candidate_asked and result.failed,
        latency_ms=result.drawn_ms if candidate_asked else None,
        champion=result.scores if role == CHAMPION else None,
        candidate=result.scores if role == CANDIDATE else None,
        champion_ms=None if candidate_asked else result.drawn_ms,
    )


def _add_shadow(evidence: EvidenceRecord, role: str, scores: Prediction | None, took_ms: float) -> EvidenceRecord:
    if role == CANDIDATE:
        return evidence._replace(candidate=scores, failed=scores is None, latency_ms=took_ms)
    return evidence._replace(champion=scores, champion_ms=took_ms)


def _outputs(model: ServedModel) -> int:
    return count_outputs(model.task, model.classes)
