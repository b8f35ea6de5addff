"""Realised performance of an analysis: corrected while labels still come, and judged on matured rows only."""

from collections.abc import Sequence

from optagent.analysis.maturity_weights import WeightedRows, corrected_metric_values, corrected_over_time, weigh_rows
from optagent.analysis.performance import LEAST_ROWS, metric_values, metrics_by_slice, metrics_over_time, scorable_rows
from optagent.domain.label_maturity import WindowMaturity
from optagent.domain.monitoring import Window
from optagent.domain.performance import Degradation, MetricValue, Performance, PerformancePoint
from optagent.loop.observe.falls import falls_since_reference, may_have_fallen
from optagent.loop.observe.inputs import AnalysisInputs
from optagent.training.metrics import metric_named, monitored_metrics


def realised_performance(inputs: AnalysisInputs, points: Sequence[Window], slices: Sequence[str]) -> Performance:
    """The metrics of the window and of its `points`, its `slices`, and the fall of the matured rows' metrics."""
    if inputs.findings_only:
        return _judged_performance(inputs)
    rows, measures = inputs.rows, monitored_metrics(inputs.spec.task, inputs.spec.metric)
    main = metric_named(inputs.spec.metric, inputs.spec.task)
    maturity, metrics, over_time = _corrected_metrics(inputs, points)
    uncorrected = metrics if maturity is None or not maturity.corrected else None
    matured = inputs.matured_rows
    if uncorrected is None or len(matured) < len(rows):
        uncorrected = metric_values(matured, measures)
    return Performance(
        rows=len(rows),
        labelled=int(rows.has_label.sum()),
        metrics=metrics,
        over_time=over_time,
        slices=metrics_by_slice(rows, main, slices),
        degradation=falls_since_reference(matured, uncorrected, inputs.reference, inputs.spec, inputs.monitoring),
        maturity=maturity,
    )


def _judged_performance(inputs: AnalysisInputs) -> Performance:
    """The maturity of the window, and its falls; none of these where too few rows have matured, nor where nothing can
    have fallen, since intervals take most of the time of an analysis."""
    spec, monitoring, matured = inputs.spec, inputs.monitoring, inputs.matured_rows
    _, maturity = _weigh(inputs)
    falls: tuple[Degradation, ...] = ()
    is_provisional = maturity is not None and maturity.provisional  # whether its labels were compared is told by falls
    if int(scorable_rows(matured).sum()) >= LEAST_ROWS and (
        is_provisional or may_have_fallen(matured, inputs.reference, spec, monitoring)
    ):
        values = metric_values(matured, monitored_metrics(spec.task, spec.metric))
        falls = falls_since_reference(matured, values, inputs.reference, spec, monitoring)
    return Performance(len(inputs.rows), int(inputs.rows.has_label.sum()), degradation=falls, maturity=maturity)


def _corrected_metrics(
    inputs: AnalysisInputs, points: Sequence[Window]
) -> tuple[WindowMaturity | None, tuple[MetricValue, ...], tuple[PerformancePoint, ...]]:
    """The maturity of the window, None where nothing is known of it, with the metrics of the window and of its parts,
    corrected where that can be done."""
    rows, measures = inputs.rows, monitored_metrics(inputs.spec.task, inputs.spec.metric)
    main = metric_named(inputs.spec.metric, inputs.spec.task)
    weighted, maturity = _weigh(inputs)
    if weighted is not None and maturity is not None and maturity.corrected:
        corrected = corrected_over_time(weighted, rows, points, (main,))
        return maturity, corrected_metric_values(weighted, measures), corrected
    return maturity, metric_values(rows, measures), metrics_over_time(rows, points, (main,))


def _weigh(inputs: AnalysisInputs) -> tuple[WeightedRows | None, WindowMaturity | None]:
    """The weighted rows of a young window, where a curve tells their weights, and the maturity of any window."""
    rows, curve = inputs.rows, inputs.label_curve
    if inputs.is_young and curve is not None and len(rows):
        return weigh_rows(rows, curve, inputs.label_edges, inputs.now)
    if inputs.is_young:
        note = "the label delay has not passed since, and how labels mature is not known: the metrics are uncorrected"
        matures_at = inputs.window.end + inputs.spec.label_delay_s
        return None, WindowMaturity(provisional=True, matures_at=matures_at, note=note)
    return None, None if curve is None else WindowMaturity(provisional=False)
