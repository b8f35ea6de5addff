"""Model report: the answer of an analysis, with quality, drift, performance and diagnosis of one window."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from optagent.domain.alert import Finding
from optagent.domain.answer import Answer
from optagent.domain.concept_drift import ConceptDrift
from optagent.domain.diagnosis import Diagnosis
from optagent.domain.drift import DriftReport, SeparabilityReport
from optagent.domain.label_maturity import LabelMaturity
from optagent.domain.monitoring import AnalysisType, Window
from optagent.domain.performance import (
    AttributionShift,
    Degradation,
    EstimatedPerformance,
    Latency,
    ModelConfidence,
    Performance,
    PerformancePoint,
)
from optagent.domain.quality import DataQuality


@dataclass(frozen=True, slots=True)
class ReferenceSummary:
    """The reference that the window was compared with; `window` is None for rows without a time."""

    rows: int
    labelled: int
    window: Window | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Business:
    """The user's own metrics, each as a mean per row: now, over time, and against the window before."""

    degradation: tuple[Degradation, ...] = ()
    over_time: tuple[PerformancePoint, ...] = ()


@dataclass(frozen=True)
class ModelReport(Answer):
    """The analysis of a model's rows in a window. Parts that were not requested, or cannot be computed, are None.

    `findings` are the problems; `notes` say what was left out and why. `created_at` is a POSIX time.
    """

    model_id: str | None = None
    version: str | None = None
    analysis_type: AnalysisType | None = None
    window: Window | None = None
    created_at: float | None = None
    diagnosis: Diagnosis | None = None
    findings: tuple[Finding, ...] = ()
    quality: DataQuality | None = None
    reference: ReferenceSummary | None = None
    drift: DriftReport | None = None
    separability: SeparabilityReport | None = None
    performance: Performance | None = None
    estimated: EstimatedPerformance | None = None
    concept_drift: ConceptDrift | None = None
    attribution: AttributionShift | None = None
    confidence: ModelConfidence | None = None
    latency: Latency | None = None
    business: Business | None = None
    labels: LabelMaturity | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
