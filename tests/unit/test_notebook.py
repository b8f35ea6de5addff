"""Results in a notebook: they show what the command line prints, and become frames."""

import pytest

from optagent import ProgressView
from optagent.domain.ensemble_result import EnsembleResult
from optagent.domain.optimization import OptimizationResult
from optagent.domain.process import StageProgress
from optagent.domain.study import Interval, Objective, Progress, Trial, TrialState, TuningResult
from optagent.domain.study_report import StudyReport, summarize
from optagent.errors import InvalidRequest
from optagent.notebook import _progress_html

AUC = (Objective("auc", True),)


def study() -> StudyReport:
    trials = (
        Trial(0, "lightgbm", {"leaves": 31, "rate": 0.1}, TrialState.COMPLETE, 0.75),
        Trial(1, "linear", {"C": 1.0}, TrialState.FAILED, error="<b>no room</b>"),
    )
    return StudyReport(summarize("tune-1", "churn", AUC, trials), trials, {"lightgbm.rate": 1.0})


def tuned() -> TuningResult:
    return TuningResult(
        model_id="churn",
        metric="auc",
        best_params={"leaves": 31},
        best_score=0.75,
        holdout=Interval(0.74, 0.70, 0.78, 0.95),
        baseline_name="champion",
        baseline_holdout=Interval(0.70, 0.66, 0.74, 0.95),
        improvement=Interval(0.04, 0.01, 0.07, 0.95),
        verdict="pass",
        version="2",
        aliases=("challenger",),
    )


def test_a_search_is_a_frame_of_its_scores():
    frame = tuned().to_frame()
    assert frame["score"].tolist() == ["tuned", "champion", "improvement"]
    assert frame["estimate"].tolist() == [0.74, 0.70, 0.04]


def test_a_study_is_a_frame_of_trials_with_a_column_a_parameter():
    frame = study().to_frame()
    assert frame["state"].tolist() == ["complete", "failed"]
    assert frame["params.leaves"].tolist()[0] == 31
    assert "params.C" in frame.columns


def test_a_result_shows_in_a_notebook_what_the_command_line_prints():
    page = tuned()._repr_html_()
    assert "Best parameters" in page
    assert "Better than the champion" in page
    assert page.startswith("<pre")


def test_no_markup_of_a_result_reaches_the_page():
    page = study()._repr_html_()
    assert "<b>" not in page
    refused = OptimizationResult(error="model '<script>alert(1)</script>' is not registered")
    assert "<script>" not in refused._repr_html_()
    assert "not registered" in refused._repr_html_()


def test_weights_of_an_ensemble_are_a_frame():
    frame = EnsembleResult(weights={"churn@1": 0.75, "churn@2": 0.25}).to_frame()
    assert frame.to_dict("list") == {"model": ["churn@1", "churn@2"], "weight": [0.75, 0.25]}


def test_a_refused_request_has_no_table():
    with pytest.raises(InvalidRequest, match="a refused request has no table: no rows"):
        TuningResult(error="no rows").to_frame()


def test_a_result_reads_as_a_mapping_as_before():
    assert tuned()["best_params"] == {"leaves": 31}
    assert "error" not in tuned()


def test_outside_of_a_notebook_progress_is_a_line(capsys):
    view = ProgressView()
    view(
        Progress(
            trials_done=3, trials_total=10, best_score=0.75, pruned=1, failed=0, running=2, elapsed_s=4.0, eta_s=9.0
        )
    )
    assert "trials 3/10" in capsys.readouterr().err


def test_outside_of_a_notebook_a_stage_is_a_line_and_its_parts_do_not_flood_a_log(capsys):
    view = ProgressView()
    view(StageProgress("replay"))
    for done in range(50):
        view(StageProgress("replay", done, 50, "replays"))
    view(StageProgress("validate", elapsed_s=7.0))
    assert capsys.readouterr().err.splitlines() == ["replay  0 s gone", "validate  7 s gone"]


def test_in_a_notebook_a_stage_is_a_text_and_counted_parts_are_a_bar():
    assert _progress_html(StageProgress("prepare", elapsed_s=2.0)) == "prepare  2 s gone"
    bar = _progress_html(StageProgress("ensemble", 1, 3, "members"))
    assert bar == '<progress max="3" value="1"></progress> ensemble  1/3 members  0 s gone'
