"""The command line prints studies."""

from io import StringIO

from rich.console import Console

from optagent import terminal
from optagent.domain.study import Objective, Trial, TrialState
from optagent.domain.study_report import StudyReport, summarize

OBJECTIVES = (Objective("auc", True), Objective("latency_p99_ms", False))


def report(count: int = 30) -> StudyReport:
    trials = tuple(
        Trial(
            number,
            "lightgbm",
            {"learning_rate": 0.123456789, "bins": None},
            TrialState.COMPLETE,
            number / 100,
            others={"latency_p99_ms": 2.5},
        )
        for number in range(count)
    )
    failed = Trial(count, "lightgbm", {}, TrialState.FAILED, error="no room")
    summary = summarize("tune-1", "churn", OBJECTIVES, (*trials, failed))
    return StudyReport(summary, (*trials, failed), {"lightgbm.learning_rate": 0.75, "family": 0.25}, trials[-1:])


def render(show, what) -> str:
    out = StringIO()
    show(Console(file=out, width=160), what)
    return out.getvalue()


def test_a_list_of_studies_counts_their_trials_and_names_the_best_score():
    text = render(terminal.show_studies, [report().summary])
    (line,) = [line for line in text.splitlines() if "tune-1" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "tune-1",
        "churn",
        "auc ↑, latency_p99_ms ↓",
        "30",
        "0",
        "1",
        "0.29",
    ]


def test_a_study_shows_its_twenty_best_trials_importances_and_front():
    text = render(terminal.show_study, report())
    assert "Best 20 of 31 trials" in text
    assert "0.29" in text
    assert "0.095" not in text
    assert "learning_rate=0.1235  bins=None" in text
    assert "75.0%" in text
    assert "Pareto front" in text


def test_a_study_in_which_every_trial_failed_is_shown():
    trial = Trial(0, "lightgbm", {}, TrialState.FAILED, error="no room")
    summary = summarize("tune-2", "churn", OBJECTIVES[:1], [trial])
    text = render(terminal.show_study, StudyReport(summary, (trial,), {}))
    assert summary.best_score is None
    assert "Best 1 of 1 trials" in text
    assert "Importance" not in text
