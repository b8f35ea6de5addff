"""The coverage gate: what it refuses, what it lets pass, and what it says."""

from types import SimpleNamespace

import numpy as np
import pytest

from optagent.domain.dataset import FileSource
from optagent.domain.gate import Gates, Verdict, gates_from
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidRequest
from optagent.loop.gates.coverage import judge_coverage
from optagent.training.problem import Data

DAY_S = 86_400.0
RENT = ModelSpec(
    "rent", Task.REGRESSION, FileSource("rows"), "price", time_column="at", label_horizon="60d", intervals=True
)
CHURN = ModelSpec("churn", Task.BINARY, FileSource("rows"), "left", rows_in_time_order=True, intervals=True)


def judge(jump=1.0, rows=1_000, gates=None, shuffle=False):
    """The result of a regression whose errors grow so many times in the newer half, with labels that come too late."""
    rng = np.random.default_rng(5)
    errors = rng.standard_normal(rows)
    errors[rows // 2 :] *= jump
    times = np.arange(rows) * DAY_S / 100
    if shuffle:
        order = rng.permutation(rows)
        errors, times = errors[order], times[order]
    return judge_coverage(gates or Gates(), 100 + errors, prepared(RENT, np.full(rows, 100.0), times))


def prepared(spec, y, times):
    """As much of prepared rows as the gate reads."""
    holdout = Data(np.zeros((len(y), 1), dtype=np.float32), y, ("size",), spec.task)
    return SimpleNamespace(spec=spec, holdout=holdout, holdout_time=times)


def test_a_candidate_whose_intervals_cover_their_level_passes():
    result = judge()
    assert (result.name, result.verdict, result.required) == ("coverage", Verdict.PASS, 0.05)
    assert abs(result.measured - 0.9) < 0.05
    assert "it had to be 0.85 to 0.95" in result.reason


def test_a_candidate_whose_intervals_cover_too_little_is_refused():
    result = judge(jump=3.0)
    assert result.verdict is Verdict.FAIL
    assert result.measured < 0.6
    assert result.evidence["p_value"] < 0.005
    assert result.evidence["started_from"] == result.evidence["rows"] == 500


def test_a_candidate_whose_intervals_cover_too_much_is_refused():
    assert judge(jump=0.3).verdict is Verdict.FAIL


def test_a_wider_tolerance_lets_it_pass():
    assert judge(jump=3.0, gates=gates_from({"max_coverage_gap": 0.6})).verdict is Verdict.PASS


def test_rows_are_taken_in_the_order_of_their_time():
    assert judge(jump=3.0, shuffle=True).measured == pytest.approx(judge(jump=3.0).measured, abs=0.05)


def test_a_gap_that_chance_explains_passes_and_says_so():
    result = judge(rows=200, gates=Gates(max_coverage_gap=1e-6))
    assert result.verdict is Verdict.PASS
    assert "which chance explains" in result.reason


def test_a_strict_gate_does_not_pass_what_the_rows_do_not_tell():
    result = judge(rows=200, gates=Gates(max_coverage_gap=0.01, strict=True))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.endswith("and the interval reaches beyond it")


def test_sets_of_labels_may_cover_more_than_their_level():
    y = np.tile([0.0, 1.0], 500)
    result = judge_coverage(Gates(), np.abs(y - 0.05), prepared(CHURN, y, np.arange(1_000.0)))
    assert (result.verdict, result.measured) == (Verdict.PASS, 1.0)
    assert "it had to be at least 0.85" in result.reason


def test_few_rows_are_not_judged_and_too_few_to_start_from_never_promote():
    assert judge(rows=150).verdict is Verdict.PASS
    assert "200 rows of holdout are needed" in judge(rows=150).reason
    assert judge(rows=90).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("gap", [0, -0.1, 1.1, float("nan"), "wide", True])
def test_a_tolerance_that_is_none_is_refused(gap):
    with pytest.raises(InvalidRequest, match="max_coverage_gap"):
        Gates(max_coverage_gap=gap)
