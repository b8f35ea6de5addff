"""Inputs of an analysis: the version, its reference, and the rows of the window and of those before it."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from optagent.analysis.label_maturity import MATURE, MaturityCurve, maturing_age
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.profile import Profile
from optagent.analysis.window_evidence import MOST_WINDOWS
from optagent.codec import decode, encode, shape_of
from optagent.domain.command import AnalyzeModel
from optagent.domain.concept_drift import ConceptDrift
from optagent.domain.diagnosis import Remedy
from optagent.domain.label_maturity import LabelMaturity
from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, Window
from optagent.domain.quality import DataQuality
from optagent.domain.time_range import parse_time_range
from optagent.errors import ModelNotFound, NotFound
from optagent.loop.observe.reference import LOGGED, Reference, decode_reference, encode_reference, make_reference
from optagent.loop.observe.window_rows import observe_predictions, observe_window
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import prepare
from optagent.ports import Datasets, Observations, Registry
from optagent.training.predictor import Predictor


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisInputs:
    """Everything an analysis reads: the rows of the window and of the one before, and the remedies that failed.

    `labels` are the ages at which labels came, None where they were not counted. `earlier` are the rows of the windows
    before these two, the latest first and without labels, where drift has a use for them. `concept` is the verdict of
    the running detector of concept drift, where the analysis is one of the monitor. With `findings_only`, the model
    itself, `predictor`, is None as well where it is known.
    """

    command: AnalyzeModel
    spec: ModelSpec
    monitoring: Monitoring
    reference: Reference
    predictor: Predictor | None
    window: Window
    now: float
    rows: ObservedRows
    before: ObservedRows
    quality: DataQuality
    notes: tuple[str, ...] = ()
    tried: tuple[Remedy, ...] = ()
    labels: LabelMaturity | None = None
    label_curve: MaturityCurve | None = None
    label_edges: tuple[float, ...] = ()
    earlier: tuple[ObservedRows, ...] = ()
    concept: ConceptDrift | None = None
    findings_only: bool = False

    @property
    def is_served_elsewhere(self) -> bool:
        """True for a model of which only the logged predictions are known."""
        return self.reference.version == LOGGED

    @property
    def key(self) -> str:
        """The key of the question, under which the report is stored."""
        question = f"{self.command.analysis_type}:{int(self.command.separability)}:{self.command.seed}"
        window = f"{self.window.start:.6f}:{self.window.end:.6f}"
        return f"{self.spec.model_id}:{self.reference.version}:{window}:{question}"

    @property
    def labels_due(self) -> int | None:
        """The number of rows that should have a label by now, their horizon having passed half a performance window
        ago."""
        if not isinstance(self.spec.label_horizon, str):
            return None
        return int(np.searchsorted(self.rows.time, self.now - self.spec.horizon - self.monitoring.window_s / 2))

    @property
    def is_closed(self) -> bool:
        """True once the window has passed, so that only a late row can change the report."""
        return self.window.end <= self.now

    @property
    def is_young(self) -> bool:
        """True while labels of the window still come: as long as the curve says, or without one the label delay."""
        delay_s = self.spec.label_delay_s if self.label_curve is None else self.label_curve.age_of(MATURE)
        return self.window.end + delay_s > self.now and delay_s > 0

    @property
    def matured_rows(self) -> ObservedRows:
        """The rows that the detectors judge: those old enough for their labels to have come."""
        age_s = maturing_age(self.label_curve, self.spec.label_delay_s)
        return self.rows.where(self.rows.time <= self.now - age_s) if age_s else self.rows

    def digest(self) -> str:
        """SHA-256 of everything that the report depends on."""
        digest = hashlib.sha256(
            shape_of(ModelReport) + encode(self.monitoring) + encode(self.spec) + encode(self.quality)
        )
        digest.update(f"{self.reference.digest}:{self.labels_due}".encode() + self.reference.profile)
        for part in (self.rows, self.before, *self.earlier):
            for values in (part.x, part.prediction, part.y, part.time, part.latency_ms, *part.outcome.values()):
                digest.update(np.ascontiguousarray(values).data)
        digest.update(",".join(self.tried).encode())
        if self.is_young:
            digest.update(f"{self.now}".encode())
        digest.update(b"" if self.concept is None else encode(self.concept))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Question:
    """An analysis that is asked for: the command, its model, and the time (POSIX seconds).

    With `findings_only` nothing is read that no finding depends on.
    """

    command: AnalyzeModel
    spec: ModelSpec
    monitoring: Monitoring
    now: float
    findings_only: bool = False


def gather_inputs(
    question: Question, registry: Registry, observations: Observations, datasets: Datasets
) -> AnalysisInputs:
    """Reads the version, its reference and the rows; blocks.

    A model without versions, served elsewhere, is compared with the reference that was set for it. Raises
    InvalidRequest for a bad time range, NotFound where there is neither a version nor a reference, and Unavailable.
    """
    command, spec, now = question.command, question.spec, question.now
    window = parse_time_range(command.time_range, now)
    version = _find_version(command, registry)
    needs_model = not question.findings_only or not _has_reference(version, spec, observations)
    predictor = None if version is None or not needs_model else load_version(version, registry)
    reference, notes = load_or_make_reference(version, predictor, spec, observations, datasets, command.seed)
    name, unversioned = reference.version, version is None or CHAMPION in version.aliases
    version_name = None if version is None else name
    read_rows = partial(
        observe_window, observations, spec.model_id, reference.schema, version=version_name, unversioned=unversioned
    )
    read_predictions = partial(
        observe_predictions, observations, spec.model_id, reference.schema, version_name, unversioned
    )
    earlier = window.length_s + spec.label_delay_s
    rows, quality = read_rows(window=window, earlier_s=earlier)
    before, _ = read_rows(window=window.before)
    if not quality.rows:
        newest = observations.latest_prediction_time(spec.model_id)
        newest_text = "none is recorded" if newest is None else f"the newest is of {_utc_text(newest)}"
        notes = (*notes, f"no predictions in the window; {newest_text}")
    return AnalysisInputs(
        command=command,
        spec=spec,
        monitoring=question.monitoring,
        reference=reference,
        predictor=predictor,
        window=window,
        now=now,
        rows=rows,
        before=before,
        quality=quality,
        notes=(*reference.notes, *notes),
        earlier=_read_earlier(reference, window, question.monitoring, read_predictions),
        findings_only=question.findings_only,
    )


def _has_reference(version: ModelVersion | None, spec: ModelSpec, observations: Observations) -> bool:
    """True where the reference of a version is stored, so that making it needs no model."""
    with suppress(NotFound):
        observations.reference(spec.model_id, LOGGED if version is None else version.version)
        return True
    return False


def _read_earlier(
    reference: Reference, window: Window, monitoring: Monitoring, read_predictions: Callable[[Window], ObservedRows]
) -> tuple[ObservedRows, ...]:
    """The rows of six windows before the one before, where drift compares whole windows."""
    if window.length_s >= 2 * monitoring.window_s or decode(Profile, reference.profile).series is None:
        return ()
    start = window.start - (MOST_WINDOWS - 1) * window.length_s
    parts = Window(start, window.before.start).parts(MOST_WINDOWS - 2)
    return tuple(read_predictions(part) for part in reversed(parts))


def _find_version(command: AnalyzeModel, registry: Registry) -> ModelVersion | None:
    try:
        return registry.version(command.model_id, command.version)
    except ModelNotFound:
        if command.version != CHAMPION or registry.versions(command.model_id):
            raise
        return None


def load_or_make_reference(
    version: ModelVersion | None,
    predictor: Predictor | None,
    spec: ModelSpec,
    observations: Observations,
    datasets: Datasets,
    seed: int,
) -> tuple[Reference, tuple[str, ...]]:
    """The stored reference of the version; where there is none, one is made of the holdout of the model's data, and
    stored.

    A refit, which has learned that holdout, takes the stored reference of the version by which it was measured.
    """
    name = LOGGED if version is None else version.version
    try:
        return decode_reference(observations.reference(spec.model_id, name)), ()
    except NotFound:
        if version is None or predictor is None:
            raise NotFound(
                f"model {spec.model_id!r} has no version and no reference: tune it (optagent tune"
                f" {spec.model_id}), import one (optagent import URI --as {spec.model_id}), or give the rows that it is"
                " to be compared with (set_reference)"
            ) from None
    measured = _measured_reference(spec.model_id, predictor, observations)
    if measured is not None:
        return replace(measured, version=name), ()
    prepared = prepare(spec, datasets, seed)
    reference = make_reference(
        prepared.holdout_rows, prepared.holdout_time, predictor, name, prepared.facts()["holdout_sha256"], seed
    )
    notes: tuple[str, ...] = ()
    if predictor.manifest.data.get("holdout_sha256") != reference.digest:
        notes = (f"the reference was made of today's data: version {name} may have been trained on some of its rows",)
    reference = replace(reference, notes=notes)
    observations.save_reference(spec.model_id, name, encode_reference(reference))
    return reference, ()


def _measured_reference(model_id: str, refit: Predictor, observations: Observations) -> Reference | None:
    """The stored reference of the version by which a refit was measured, None where it has other columns or codes."""
    number = refit.manifest.data.get("measured_as")
    if number is None:
        return None
    with suppress(NotFound):
        reference = decode_reference(observations.reference(model_id, str(number)))
        return reference if reference.schema.columns == refit.schema.columns else None
    return None


def _utc_text(instant: float) -> str:
    return str(np.datetime64(round(instant), "s")) + "Z"
