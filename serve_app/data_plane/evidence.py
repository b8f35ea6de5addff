"""Evidence of a rollout: who was asked for a request, and what each of the two versions said."""

from collections.abc import Sequence
from functools import partial

from optagent.arrays import Prediction
from optagent.domain.rollout_look import RolloutState
from optagent.ports import Clock
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import CANDIDATE, CHAMPION, EvidenceRecord, outputs_of
from serve_app.data_plane.payloads import PredictionRequest
from serve_app.data_plane.recorder import Recorder
from serve_app.data_plane.route import ArmAssignment, Route, Version
from serve_app.data_plane.scoring import ScoringResult
from serve_app.data_plane.shadow import Shadow, ShadowRequest


class EvidenceRecorder:
    """Has evidence recorded, after a shadow has been asked where there is one; at most `backlog` rows wait for each."""

    def __init__(self, recorder: Recorder, clock: Clock, backlog: int) -> None:
        self._recorder = recorder
        self._clock = clock
        self._backlog = backlog

    def compare(
        self,
        route: Route,
        draw: ArmAssignment,
        outcome: ScoringResult,
        question: PredictionRequest,
        ids: Sequence[str],
        unit: str,
        arrival: float,
    ) -> None:
        """Takes note of an answered request; never waits."""
        evidence = _evidence(route, draw, outcome, ids, unit, arrival)
        shadow = route.shadow
        if shadow is not None and shadow is not outcome.version:
            fill = partial(_with_shadow, evidence, route.role_of(shadow.model.version))
            self._shadow_of(shadow, route).offer(ShadowRequest(question.rows, question.size, arrival, fill))
        elif route.table.state != RolloutState.SHADOW:
            self._recorder.compared(route.model_id, _outputs(outcome.version.model), evidence)

    def _shadow_of(self, version: Version, route: Route) -> Shadow:
        """Its thread starts with the first request for it."""
        if version.shadow is None:
            tell = partial(self._recorder.compared, route.model_id, _outputs(version.model))
            version.shadow = Shadow(
                version.model, self._backlog, route.figures, self._clock, tell, route.table.budget_ms
            )
        return version.shadow


def _evidence(
    route: Route, draw: ArmAssignment, outcome: ScoringResult, ids: Sequence[str], unit: str, arrival: float
) -> EvidenceRecord:
    """Without what a shadow adds."""
    table, answered_by = route.table, outcome.version.model.version
    role = route.role_of(answered_by)
    asked = draw.role == CANDIDATE and draw.version is not None
    return EvidenceRecord(
        ids,
        arrival,
        table.rollout_id,
        table.state,
        table.step,
        draw.role or draw.arm,
        route.share,
        unit,
        answered_by,
        failed=asked and outcome.failed,
        latency_ms=outcome.drawn_ms if asked else None,
        champion=outcome.scores if role == CHAMPION else None,
        candidate=outcome.scores if role == CANDIDATE else None,
    )


def _with_shadow(evidence: EvidenceRecord, role: str, scores: Prediction | None, took_ms: float) -> EvidenceRecord:
    if role == CANDIDATE:
        return evidence._replace(candidate=scores, failed=scores is None, latency_ms=took_ms)
    return evidence._replace(champion=scores)


def _outputs(model: ServedModel) -> int:
    return outputs_of(model.task, model.classes)
