"""Gates: conditions as users write them, and verdicts of results."""

import math

import pytest

from optagent.codec import decode, encode
from optagent.domain.gate import (
    GateReport,
    GateResult,
    Gates,
    Verdict,
    gates_from,
    judge_improvement,
    judge_limit,
    judge_number,
    verdict_of,
)
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

NAN = float("nan")


def result(verdict, name="accuracy_min"):
    return GateResult(name, verdict, None, None, "because")


def test_gates_read_as_users_write_them():
    gates = gates_from(
        {
            "accuracy_min": 0.7,
            "f1_min": 0.6,
            "min_validation_samples": 100,
            "enable_bias_check": True,
            "enable_security_scan": True,
            "max_latency_ms": 500,
        }
    )
    assert gates == Gates(
        metrics_min={"accuracy": 0.7, "f1": 0.6},
        min_validation_samples=100,
        enable_bias_check=True,
        enable_security_scan=True,
        max_latency_ms=500,
    )


def test_what_is_not_asked_for_has_its_default():
    gates = gates_from({})
    assert gates == Gates()
    assert (gates.min_validation_samples, gates.max_latency_ms, gates.max_bias) == (100, 500, 0.1)
    assert (gates.enable_bias_check, gates.enable_security_scan, gates.beats_champion) == (False, True, True)


def test_every_metric_may_have_a_lowest_and_a_highest_value():
    gates = gates_from({"log_loss_max": 0.6, "pinball_90_max": 2, "auc_min": 0.7, "auc_max": 0.99})
    assert gates.metrics_min == {"auc": 0.7}
    assert gates.metrics_max == {"log_loss": 0.6, "pinball_90": 2, "auc": 0.99}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"acuracy": 0.7}, "unknown gate 'acuracy'; one of .*<metric>_min"),
        ({"_min": 0.7}, "unknown gate '_min'"),
        ({3: 0.7}, "unknown gate 3"),
        ({"metrics_min": {"auc": 1}}, "metrics_min must be a finite number"),
        ({"accuracy_min": NAN}, "accuracy_min must be a finite number, got nan"),
        ({"accuracy_min": math.inf}, "accuracy_min must be a finite number, got inf"),
        ({"accuracy_min": "0.7"}, "accuracy_min must be a finite number, got '0.7'"),
        ({"accuracy_min": True}, "accuracy_min must be a finite number, got True"),
        ({"accuracy_min": None}, "accuracy_min must be a finite number, got None"),
        ({"auc_min": 0.8, "auc_max": 0.7}, "auc_min must not be above auc_max, got 0.8 and 0.7"),
        ({"min_validation_samples": 0}, "min_validation_samples must be a whole number of at least 1, got 0"),
        ({"min_validation_samples": 10.5}, "min_validation_samples must be a whole number"),
        ({"min_validation_samples": True}, "min_validation_samples must be a whole number"),
        ({"enable_bias_check": "yes"}, "enable_bias_check must be true or false, got 'yes'"),
        ({"enable_security_scan": 1}, "enable_security_scan must be true or false, got 1"),
        ({"strict": None}, "strict must be true or false, got None"),
        ({"max_bias": 1.5}, "max_bias must be between 0 and 1, got 1.5"),
        ({"max_bias": NAN}, "max_bias must be a finite number, got nan"),
        ({"max_latency_ms": 0}, "max_latency_ms must be above 0, got 0"),
        ({"max_latency_ms": NAN}, "max_latency_ms must be a finite number, got nan"),
        ({"beats_champion": "maybe"}, "beats_champion must be true, false or 'not_worse', got 'maybe'"),
        ({"beats_champion": 1.0}, "beats_champion must be true, false or 'not_worse', got 1.0"),
        ({"margin": -0.1}, "margin must be at least 0 and below 1, got -0.1"),
        ({"margin": NAN}, "margin must be a finite number, got nan"),
        ([], "gates are a mapping of names and limits, got list"),
    ],
)
def test_gates_that_make_no_sense_are_refused_by_name_and_rule(fields, message):
    with pytest.raises(InvalidRequest, match=message):
        gates_from(fields)


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["inconclusive", "fail", "pass"], "fail"),
        (["fail", "error", "inconclusive"], "error"),
        ([], "error"),
    ],
)
def test_the_worst_result_is_the_verdict(verdicts, whole):
    assert verdict_of([result(Verdict(verdict)) for verdict in verdicts]) is Verdict(whole)


def test_a_report_whose_verdict_is_not_that_of_its_results_is_refused():
    with pytest.raises(InvalidRequest, match="the verdict of these results is fail, not pass"):
        GateReport((result(Verdict.FAIL),), Verdict.PASS, 100, 0.05)


def test_a_report_reads_back_equal():
    results = (judge_number("latency", 3.5, 500.0, True, "quick", {"calls": 200}), result(Verdict.INCONCLUSIVE))
    report = GateReport(results, Verdict.INCONCLUSIVE, 400, 0.01, look=3)
    assert decode(GateReport, encode(report)) == report
    assert report.result("latency") == results[0]
    assert report.result("bias") is None


def test_a_result_holds_no_number_that_is_none():
    with pytest.raises(InvalidRequest, match="gate auc_min: measured must be a finite number or nothing, got nan"):
        GateResult("auc_min", Verdict.PASS, NAN, 0.7, "because")


@pytest.mark.parametrize(
    ("measured", "at_most", "verdict"),
    [
        (5.0, True, "pass"),
        (5.1, True, "fail"),
        (5.0, False, "pass"),
        (4.9, False, "fail"),
        (NAN, True, "error"),
        (math.inf, True, "error"),
        (math.inf, False, "error"),
    ],
)
def test_a_number_may_just_reach_its_limit_and_what_is_none_is_an_error(measured, at_most, verdict):
    assert judge_number("latency", measured, 5.0, at_most, "measured").verdict is Verdict(verdict)


@pytest.mark.parametrize(
    ("interval", "at_most", "strict", "verdict"),
    [
        (Interval(0.8, 0.75, 0.85, 0.05), False, False, "pass"),
        (Interval(0.8, 0.75, 0.85, 0.05), False, True, "pass"),
        (Interval(0.72, 0.68, 0.76, 0.05), False, False, "pass"),
        (Interval(0.72, 0.68, 0.76, 0.05), False, True, "inconclusive"),
        (Interval(0.69, 0.65, 0.73, 0.05), False, False, "fail"),
        (Interval(0.69, 0.65, 0.73, 0.05), True, True, "inconclusive"),
        (Interval(0.72, 0.68, 0.76, 0.05), True, False, "fail"),
        (Interval(0.6, 0.5, 0.69, 0.05), True, True, "pass"),
        (Interval(NAN, 0.5, 0.69, 0.05), True, False, "error"),
        (Interval(0.6, NAN, 0.69, 0.05), True, False, "error"),
    ],
)
def test_a_metric_is_judged_by_its_estimate_and_strictly_by_its_interval(interval, at_most, strict, verdict):
    outcome = judge_limit("auc", interval, 0.7, at_most, strict, rows=400)
    assert outcome.verdict is Verdict(verdict)
    within = interval.low < 0.7 < interval.high and outcome.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert ("the interval reaches beyond it" in outcome.reason) == within


@pytest.mark.parametrize(
    ("low", "high", "mode", "verdict"),
    [
        (0.01, 0.03, True, "pass"),
        (0.0, 0.03, True, "inconclusive"),
        (-0.01, 0.03, True, "inconclusive"),
        (-0.03, -0.01, True, "fail"),
        (-0.01, 0.03, "not_worse", "pass"),
        (-0.02, 0.03, "not_worse", "inconclusive"),
        (-0.05, -0.02, "not_worse", "fail"),
        (-0.015, -0.012, "not_worse", "pass"),
        (NAN, 0.1, True, "error"),
        (NAN, 0.1, "not_worse", "error"),
    ],
)
def test_a_candidate_has_to_be_better_than_the_champion_or_no_worse_within_the_margin(low, high, mode, verdict):
    gates = Gates(beats_champion=mode, margin=0.02)
    outcome = judge_improvement("champion", Interval(0.0, low, high, 0.05), 0.75, gates, "version 3", "auc", 400)
    assert outcome.verdict is Verdict(verdict)


def test_the_same_model_is_no_worse_though_not_better():
    same = Interval(0.0, 0.0, 0.0, 0.05)
    results = [
        judge_improvement("champion", same, 0.75, Gates(beats_champion=beats_champion), "3", "auc", 400)
        for beats_champion in (True, "not_worse")
    ]
    assert [each.verdict for each in results] == [Verdict.INCONCLUSIVE, Verdict.PASS]


def test_a_champion_without_a_score_is_an_error():
    judged = judge_improvement("champion", Interval(1.0, 1.0, 1.0, 0.05), NAN, Gates(), "3", "auc", 400)
    assert judged.verdict is Verdict.ERROR
