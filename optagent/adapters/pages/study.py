"""Study page: a study as one HTML page of plots, which needs nothing from the network."""

from collections.abc import Iterator, Mapping

import optuna
import plotly.graph_objects as go
from optuna.visualization import plot_optimization_history, plot_pareto_front, plot_slice

from optagent.adapters.pages.page import sections_page
from optagent.adapters.pages.plot import plot_of
from optagent.domain.study import TrialState
from optagent.domain.study_report import StudyReport


def study_page(report: StudyReport, study: optuna.Study) -> str:
    """History, importances, slices and the front, as far as the study has them; 5 MB, most of it plotly's script."""
    summary = report.summary
    counts = ", ".join(f"{count} {state}" for state, count in summary.counts.items())
    if report.selection:
        counts += f". Selection: {report.selection.words}"
    plots = [plot_of(figure, place, toolbar=True) for place, figure in enumerate(_figures(report, study))]
    return sections_page(f"{summary.model_id}: study {summary.study_id}", counts, plots)


def _figures(report: StudyReport, study: optuna.Study) -> Iterator[go.Figure]:
    if not report.summary.counts[TrialState.COMPLETE]:
        return
    objectives = report.summary.objectives
    name = objectives[0].name
    yield plot_optimization_history(study, target=_first, target_name=name).update_layout(title=f"History of {name}")
    if report.importances:
        yield _importances(report.importances)
    if any(trial.params for trial in report.trials):
        yield plot_slice(study, target=_first, target_name=name).update_layout(title=f"{name} by parameter")
    if len(objectives) in (2, 3):  # what can be drawn
        yield plot_pareto_front(study, target_names=[objective.name for objective in objectives])


def _first(trial: optuna.trial.FrozenTrial) -> float:
    return float(trial.values[0])


def _importances(importances: Mapping[str, float]) -> go.Figure:
    smallest_first = list(importances)[::-1]  # plotly draws from below
    bars = go.Bar(x=[importances[name] for name in smallest_first], y=smallest_first, orientation="h")
    layout = {"title": "Importance of parameters", "height": 200 + 24 * len(importances), "xaxis": {"title": "share"}}
    return go.Figure(bars, layout).update_yaxes(automargin=True)
