"""What a reference says by itself, worked out once: a monitor compares every window with the same few references."""

from functools import lru_cache

from optagent.analysis.confidence import certainty
from optagent.analysis.direct_loss_estimation import fit_loss_model
from optagent.analysis.estimated_performance import Estimator, fit_cbpe
from optagent.analysis.observed_rows import ObservedRows
from optagent.analysis.performance import metric_values
from optagent.domain.model import Task
from optagent.domain.performance import Certainty, MetricValue
from optagent.training.metrics import METRICS, monitored_metrics

_KEPT = 8  # references of models that are looked at in turn; they are told apart by identity


@lru_cache(maxsize=_KEPT)
def reference_metrics(reference: ObservedRows, task: Task) -> tuple[MetricValue, ...]:
    """The monitored metrics of its rows."""
    return metric_values(reference, monitored_metrics(task))


@lru_cache(maxsize=_KEPT)
def reference_certainty(reference: ObservedRows, threshold: float) -> Certainty:
    """How sure a classifier was of its rows."""
    return certainty(reference, threshold, METRICS["calibration_error"])


@lru_cache(maxsize=_KEPT)
def reference_estimator(reference: ObservedRows, seed: int) -> Estimator:
    """What estimates performance without labels, as its rows taught it; raises InvalidData for too few of them."""
    return fit_cbpe(reference, seed) if reference.task.classifies else fit_loss_model(reference, seed)
