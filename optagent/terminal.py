"""Terminal output: the results of searches and of optimizations, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from optagent.secret_text import hide_secrets

if TYPE_CHECKING:
    from optagent.domain.ensemble_result import EnsembleResult
    from optagent.domain.feature_result import FeatureResult
    from optagent.domain.optimization import OptimizationResult
    from optagent.domain.study import Interval, Trial, TuningResult
    from optagent.domain.study_report import StudyReport, StudySummary

_FRONT_SHOWN = 10
_TRIALS_SHOWN = 20
_FEATURES_SHOWN = 20


def show_result(console: Console, result: TuningResult) -> None:
    """Prints the best parameters, the holdout score beside the baseline's, and the verdict in words."""
    params = Table(title="Best parameters", show_header=False, title_justify="left")
    for name, value in (result.best_params or {}).items():
        params.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    console.print(params)

    scores = Table(title=f"{result.metric} on the holdout, which no trial saw", title_justify="left")
    for heading in ("", "score", "interval"):
        scores.add_column(heading)
    for name, interval in (
        ("tuned", result.holdout),
        (result.baseline_name or "baseline", result.baseline_holdout),
        ("improvement", result.improvement),
    ):
        if interval is not None:
            scores.add_row(name, f"{interval.estimate:.5f}", _bounds(interval))
    console.print(scores)
    if result.front:
        show_front(console, result)
    console.print(verdict_in_words(result), highlight=False)
    if result.selection:
        console.print(f"selection: {result.selection.words}", highlight=False)
    for note in result.notes:
        console.print(f"[yellow]note:[/yellow] {note}", highlight=False)
    console.print(
        f"{result.trials} trials in {result.duration_s:.0f} s, {result.pruned} stopped early, {result.failed} failed"
        f"{', ended by the time limit' if result.timed_out else ''}; "
        f"score over the folds {result.best_score:.5f}; process {result.process_id}",
        highlight=False,
    )


def show_front(console: Console, result: TuningResult) -> None:
    """Prints the trials that no other beats in every objective, the best by the metric first."""
    names = [name for name in result.front[0] if name not in ("trial", "params")]
    rows = [[str(item["trial"]), *(f"{item[name]:.5g}" for name in names)] for item in result.front[:_FRONT_SHOWN]]
    console.print(f"Pareto front over the folds, {len(result.front)} trials", highlight=False)
    show_table(console, ["trial", *names], rows)


def verdict_in_words(result: TuningResult | EnsembleResult | FeatureResult) -> str:
    """The verdict of the comparison as a sentence, and the version that was registered."""
    against = result.baseline_name
    sentence = {
        "pass": f"[green]Better than the {against}: the whole interval of the improvement is above 0.[/green]",
        "fail": f"[red]Worse than the {against}: the whole interval of the improvement is below 0.[/red]",
        "inconclusive": f"[yellow]Not shown to be better than the {against}: the interval holds 0.[/yellow]",
    }[result.verdict or "inconclusive"]
    if result.corrected_improvement is not None:
        sentence += f" Corrected for having passed, the improvement is {result.corrected_improvement:.5f}."
    alias = f" as {', '.join(result.aliases)}" if result.aliases else " without an alias"
    return f"{sentence} Registered version {result.version}{alias}."


def show_ensemble(console: Console, result: EnsembleResult) -> None:
    """Prints the weights, the scores beside the best single model's, and the outcome."""
    rows = [[name, f"{share:.3f}"] for name, share in sorted((result.weights or {}).items(), key=lambda item: -item[1])]
    if rows:
        show_table(console, [f"by {result.search}", "weight"], rows)
    scores = [
        [name, f"{value:.5f}", _number((result.single_metrics or {}).get(name)), _improvement_text(result, name)]
        for name, value in (result.metrics or {}).items()
    ]
    if scores:
        show_table(console, [f"on {result.judged_rows:,} rows", "together", result.single or "single", ""], scores)
    console.print(f"diversity {result.diversity_score:.3f}. {result.reason}.", highlight=False)
    _show_end(console, result)


def show_features(console: Console, result: FeatureResult) -> None:
    """Prints the candidate features with the evidence for each, and the outcome."""
    rows = [
        [str(feature["name"]), "yes" if feature["kept"] else "no", f"{feature['p_value']:.2g}", str(feature["why"])]
        for feature in result.features[:_FEATURES_SHOWN]
    ]
    if rows:
        show_table(console, ["feature", "kept", "p", "why"], rows)
    console.print(f"{result.candidates:,} candidates. {result.reason}.", highlight=False)
    _show_end(console, result)


def show_optimization(console: Console, result: OptimizationResult) -> None:
    """Prints the notes, the candidate's verdict at each gate, the scores beside the champion's, and the outcome."""
    from optagent.domain.optimization import SUCCESS

    for note in result.notes:
        console.print(f"[dim]{note}[/dim]", highlight=False)
    if result.gates:
        rows = [[str(gate["name"]), str(gate["verdict"]), str(gate["reason"])] for gate in result.gates]
        show_table(console, ["gate", "verdict", "why"], rows)
    if result.new_metrics:
        old = result.old_metrics or {}
        scores = [[name, _number(old.get(name)), f"{score:.5g}"] for name, score in result.new_metrics.items()]
        show_table(console, ["on the holdout", result.baseline_name or "before", "candidate"], scores)
    durations = ", ".join(f"{stage['stage']} {stage['seconds']:.1f} s" for stage in result.stages)
    if result.status == SUCCESS:
        better = result.improvement_percentage
        success = f"{result.metric} better by {better:.2f} %" if better else "it passed every gate"
        success += _corrected_text(result)
        console.print(
            f"[green]success: {success}[/green], version {result.version} is {', '.join(result.aliases)}"
            f"{f', measured as version {result.measured_as}' if result.measured_as else ''}"
            f"{f', rollout {result.rollout_id}' if result.rollout_id else ''}.",
            highlight=False,
        )
    else:
        console.print(f"[yellow]{result.status}:[/yellow] {result.error_message}", highlight=False)
    console.print(f"{durations}; process {result.process_id}", highlight=False)


def _corrected_text(result: OptimizationResult) -> str:
    """The improvement without the luck of having passed, in percent of the champion's score."""
    corrected, before = result.corrected_improvement, (result.old_metrics or {}).get(result.metric or "")
    return f" ({100 * corrected / abs(before):.2f} % corrected for having passed)" if corrected and before else ""


def _improvement_text(result: EnsembleResult, metric: str) -> str:
    interval = (result.improvements or {}).get(metric)
    return "" if interval is None else f"{interval.estimate:+.5f}, {_bounds(interval)}"


def _show_end(console: Console, result: EnsembleResult | FeatureResult) -> None:
    if result.version is not None:
        console.print(verdict_in_words(result), highlight=False)
    for note in result.notes:
        console.print(f"[yellow]note:[/yellow] {note}", highlight=False)
    console.print(f"{result.duration_s:.0f} s; process {result.process_id}", highlight=False)


def show_warning(console: Console, text: str) -> None:
    """Prints a warning on one line."""
    console.print(f"[yellow]warning:[/yellow] {escape(text)}", highlight=False, soft_wrap=True)


def show_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a plain table."""
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(hide_secrets, row))
    console.print(table)


def show_studies(console: Console, summaries: Sequence[StudySummary]) -> None:
    """Prints searches, one a line."""
    from optagent.domain.study import TrialState

    rows = [
        [
            summary.study_id,
            summary.model_id,
            ", ".join(f"{objective.name} {'↑' if objective.maximize else '↓'}" for objective in summary.objectives),
            str(summary.counts[TrialState.COMPLETE]),
            str(summary.counts[TrialState.PRUNED]),
            str(summary.counts[TrialState.FAILED] + summary.counts[TrialState.INFEASIBLE]),
            _number(summary.best_score),
        ]
        for summary in summaries
    ]
    show_table(console, ["study", "model", "objectives", "complete", "stopped early", "failed", "best"], rows)


def show_study(console: Console, report: StudyReport) -> None:
    """Prints a search: its best trials, the importance of its parameters, and its front."""
    show_studies(console, [report.summary])
    console.print(f"Best {min(_TRIALS_SHOWN, len(report.trials))} of {len(report.trials)} trials", highlight=False)
    _show_trials(console, report.summary, report.ranked_trials()[:_TRIALS_SHOWN])
    if report.selection:
        console.print(f"Selection: {report.selection.words}", highlight=False)
    if report.importances:
        console.print("Importance of parameters: what sets the best trials apart", highlight=False)
        rows = [[name, f"{share:.1%}", "━" * round(30 * share)] for name, share in report.importances.items()]
        show_table(console, ["parameter", "share", ""], rows)
    if report.front:
        console.print("Pareto front: no trial is better in every objective", highlight=False)
        _show_trials(console, report.summary, report.front)


def _show_trials(console: Console, summary: StudySummary, trials: Sequence[Trial]) -> None:
    names = [objective.name for objective in summary.objectives]
    rows = [
        [
            str(trial.number),
            str(trial.state),
            *(_number(value) for value in (trial.score, *(trial.others.get(name) for name in names[1:]))),
            trial.family,
            "  ".join(f"{name}={_short(value)}" for name, value in trial.params.items()),
        ]
        for trial in trials
    ]
    show_table(console, ["trial", "state", *names, "family", "parameters"], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bounds(interval: Interval) -> str:
    return f"{interval.low:.5f} to {interval.high:.5f} ({1 - interval.alpha:.0%})"
