"""A version in use that is worse than its baseline, or than one answer for every row, says so."""

from typing import Any

import pytest

from optagent.domain.model import ModelVersion
from optagent.training.version_warnings import version_warnings


def version(metrics: dict[str, float], aliases: tuple[str, ...] = ("champion",), **tags: Any) -> ModelVersion:
    return ModelVersion("churn", "1", "", 0.0, aliases, metrics, tags)


def test_a_champion_below_its_baseline_names_both_scores_and_the_next_command():
    scores = {"holdout_auc": 0.7, "baseline_auc": 0.72, "improvement": -0.02, "cv_auc": 0.8}
    (warning,) = version_warnings(version(scores, baseline="default parameters"))
    assert "auc on the holdout, 0.7, is worse than the 0.72 of the default parameters" in warning
    assert "optagent tune --trials" in warning


def test_an_error_is_worse_where_it_is_larger():
    assert version_warnings(version({"holdout_rmse": 2.0, "baseline_rmse": 3.0, "constant_rmse": 4.0})) == ()
    assert len(version_warnings(version({"holdout_rmse": 5.0, "baseline_rmse": 3.0, "constant_rmse": 4.0}))) == 2


@pytest.mark.parametrize(
    "quiet",
    [
        version({"holdout_auc": 0.7, "baseline_auc": 0.7, "constant_auc": 0.5}),
        version({"holdout_auc": 0.6, "baseline_auc": 0.7}, aliases=()),
        version({}),
        version({"holdout_unknown": 0.1, "baseline_unknown": 0.2}),
    ],
    ids=["no worse", "not in use", "without metrics", "a metric of another version of optagent"],
)
def test_a_version_is_quiet_where_nothing_is_worse_or_known(quiet: ModelVersion):
    assert version_warnings(quiet) == ()
