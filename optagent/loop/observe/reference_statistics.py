"""Cached statistics of a reference, computed once since a monitor compares every window with the same few
references."""

from functools import lru_cache

from optagent.analysis.adaptive_estimation import fit_pape
from optagent.analysis.confidence import certainty
from optagent.analysis.direct_loss_estimation import fit_loss_model
from optagent.analysis.estimated_performance import Estimator
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import metric_values
from optagent.domain.model import Task
from optagent.domain.performance import Certainty, MetricValue
from optagent.training.metrics import METRICS, monitored_metrics

_CACHE_SIZE = 8  # references of models that are analyzed in turn; the cache compares them by identity


@lru_cache(maxsize=_CACHE_SIZE)
def reference_metrics(reference: ObservedRows, task: Task, metric: str = "") -> tuple[MetricValue, ...]:
    """The monitored metrics of the reference's rows, for a model of this metric."""
    return metric_values(reference, monitored_metrics(task, metric))


@lru_cache(maxsize=_CACHE_SIZE)
def reference_certainty(reference: ObservedRows, threshold: float) -> Certainty:
    """The certainty of a classifier on the reference's rows."""
    return certainty(reference, threshold, METRICS["calibration_error"])


@lru_cache(maxsize=_CACHE_SIZE)
def reference_estimator(reference: ObservedRows, seed: int) -> Estimator:
    """The estimator of performance without labels, fitted on the reference's rows; raises InvalidData for too few
    rows."""
    return fit_pape(reference, seed) if reference.task.classifies else fit_loss_model(reference, seed)
