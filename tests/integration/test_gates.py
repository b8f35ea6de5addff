"""Gate evaluation: every gate passes, fails, is inconclusive and in error, on small trained models."""

import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.command import OptimizeModel
from optagent.domain.dataset import FileSource
from optagent.domain.gate import Criterion, Gates, Verdict
from optagent.domain.model import ModelSpec, Task
from optagent.errors import EngineFailed, InvalidRequest, Unavailable
from optagent.loop.gates.bundle import CandidateBundle
from optagent.loop.gates.evaluate import (
    check_gates,
    criterion_of,
    gates_for,
    holdout_gates,
    judge_gates,
    spend_look_and_judge,
)
from optagent.loop.train.holdout import Baseline, HoldoutTest, compare_on_holdout
from optagent.loop.train.holdout_looks import degrees_of_freedom, holdout_digest, look_at
from optagent.loop.train.prepare import prepare
from optagent.sequential.holdout_ledger import alpha_of_look, widen_interval
from optagent.serving.engine import ServedModel
from optagent.serving.native_engine import NativeEngine
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.families.registry import family_named
from optagent.training.metrics import metric_named
from tests.fakes.loader import InMemoryLoader

CHURN = ModelSpec(
    "churn",
    Task.BINARY,
    FileSource("rows"),
    "label",
    ignore=("value",),
    sensitive_columns=("sex",),
    time_column="day",
    label_horizon="1d",
    folds=3,
)
REGION = replace(CHURN, task=Task.MULTICLASS, target="region", ignore=("label", "value"))
VALUE = replace(CHURN, task=Task.REGRESSION, target="value", ignore=("label",), sensitive_columns=())
OPEN = Gates(min_validation_samples=1, enable_security_scan=False, beats_champion=False)
NAMES = ["servable", "serving parity", "latency", "validation samples"]


def prepared_rows(make_rows, spec, count=2_000):
    return prepare(spec, InMemoryDatasets({"rows": make_rows(count)}))


def build_candidate(prepared, folder, family="lightgbm", rounds=30):
    """A candidate and the model behind it, trained on all rows but the holdout."""
    data = prepared.problem.data
    fit = family_named(family).start({}, data, np.arange(len(data)))
    fit.advance(rounds)
    facts = {"model_id": prepared.spec.model_id, "task": prepared.spec.task, "params": {}, "rounds": rounds}
    digest = save_bundle(folder, fit.model(), family, prepared.schema, {**facts, "created_at": 1.0})
    return CandidateBundle(folder, digest, fit.model().predict(prepared.holdout.x))


@pytest.fixture(scope="module")
def prepared(make_rows):
    return prepared_rows(make_rows, CHURN)


@pytest.fixture(scope="module")
def candidate(prepared, tmp_path_factory):
    return build_candidate(prepared, tmp_path_factory.mktemp("gates") / "bundle")


@pytest.fixture
def judge(prepared, candidate):
    """The gates that are asked for, on the candidate, or on what a test makes of it."""

    def judged_by(gates=OPEN, candidate=candidate, champion=None, prepared=prepared, alpha=0.05, metric=None, **more):
        test = HoldoutTest(prepared, metric_named(metric or "", prepared.spec.task), alpha, 0)
        return judge_gates(gates, candidate, champion, test, **more)

    return judged_by


def verdicts(report):
    return {each.name: str(each.verdict) for each in report.results}


def champion(prepared, quality):
    """A champion whose scores go with the truth as much as `quality` says."""
    noise = np.random.default_rng(5).normal(size=len(prepared.holdout.y))
    return Baseline("champion (version 3)", 1 / (1 + np.exp(-quality * (prepared.holdout.y - 0.5) - noise)))


def test_a_good_candidate_passes_every_gate(judge, prepared):
    limits = {"accuracy_min": 0.7, "f1_min": 0.6, "enable_bias_check": True, "enable_security_scan": True}
    limits["beats_constant"] = True
    gates = gates_for({**limits, "min_validation_samples": 100, "max_latency_ms": 500, "max_bias": 0.3}, CHURN)
    report = judge(gates, champion=champion(prepared, 0.5), look=1)
    assert verdicts(report) == {
        "security": "pass",
        "servable": "pass",
        "serving parity": "pass",
        "latency": "pass",
        "validation samples": "pass",
        "accuracy_min": "pass",
        "f1_min": "pass",
        "bias by sex: demographic parity": "pass",
        "bias by sex: equalized odds": "pass",
        "constant": "pass",
        "champion": "pass",
    }
    assert (report.verdict, report.rows, report.alpha, report.look) == (Verdict.PASS, 400, 0.05, 1)


@pytest.mark.parametrize("family", ["lightgbm", "linear"])
@pytest.mark.parametrize("spec", [CHURN, REGION, VALUE], ids=["binary", "multiclass", "regression"])
def test_models_of_every_task_are_served_as_they_were_built(judge, make_rows, tmp_path, spec, family):
    rows = prepared_rows(make_rows, spec, 400)
    report = judge(candidate=build_candidate(rows, tmp_path / "bundle", family), prepared=rows)
    assert verdicts(report) == dict.fromkeys(NAMES, "pass")
    assert report.result("servable").measured == 0
    assert report.result("serving parity").measured < 1e-6


def test_what_is_not_asked_for_is_not_judged(judge):
    assert list(verdicts(judge())) == NAMES
    assert list(verdicts(judge(replace(OPEN, enable_security_scan=True)))) == ["security", *NAMES]


def test_the_coverage_of_intervals_is_judged_where_the_model_has_them(judge, prepared):
    with_intervals = replace(prepared, spec=replace(CHURN, intervals=True))
    assert list(verdicts(judge(prepared=with_intervals))) == [*NAMES, "coverage"]
    assert judge(prepared=with_intervals).result("coverage").measured >= 0.85


def test_too_few_rows_of_holdout_fail(judge):
    result = judge(replace(OPEN, min_validation_samples=401)).result("validation samples")
    assert (result.verdict, result.measured, result.required) == (Verdict.FAIL, 400, 401)
    assert "400 rows" in result.reason
    assert judge(replace(OPEN, min_validation_samples=400)).verdict is Verdict.PASS


@pytest.mark.parametrize("strict", [False, True])
def test_a_metric_within_its_interval_of_the_limit_passes_with_that_said_and_strictly_does_not(judge, strict):
    estimate = judge(replace(OPEN, metrics_min={"accuracy": 0.5})).result("accuracy_min").measured
    near = judge(replace(OPEN, metrics_min={"accuracy": estimate - 0.005}, strict=strict)).result("accuracy_min")
    assert near.verdict is (Verdict.INCONCLUSIVE if strict else Verdict.PASS)
    assert near.evidence["low"] < estimate - 0.005
    assert "the interval reaches beyond it" in near.reason
    assert "at 95 % confidence" in near.reason


def test_a_metric_on_the_wrong_side_of_its_limit_fails(judge):
    report = judge(replace(OPEN, metrics_min={"auc": 0.999}, metrics_max={"log_loss": 0.01, "auc": 0.9999}))
    assert verdicts(report) == {
        **dict.fromkeys(NAMES, "pass"),
        "auc_min": "fail",
        "auc_max": "pass",
        "log_loss_max": "fail",
    }
    assert report.verdict is Verdict.FAIL


def test_the_part_of_a_later_look_makes_the_interval_wider(judge):
    gates = replace(OPEN, metrics_min={"accuracy": 0.5})
    first, late = (judge(gates, alpha=alpha_of_look(0.05, k)).result("accuracy_min").evidence for k in (1, 100))
    assert late["low"] < first["low"]
    assert late["high"] > first["high"]
    assert late["alpha"] == alpha_of_look(0.05, 100)


def test_a_metric_that_is_undefined_on_the_holdout_is_an_error(judge, prepared, candidate):
    odd = replace(prepared, holdout=replace(prepared.holdout, y=np.ones(400)))
    report = judge(replace(OPEN, metrics_min={"auc": 0.7, "accuracy": 0.0}), prepared=odd)
    assert report.result("auc_min").verdict is Verdict.ERROR
    assert "all rows are of one class" in report.result("auc_min").reason
    assert report.result("accuracy_min").verdict is Verdict.PASS
    assert report.verdict is Verdict.ERROR


def test_predictions_that_are_no_numbers_are_errors_and_promote_nothing(judge, prepared, candidate):
    broken = replace(candidate, prediction=np.where(np.arange(400) == 7, np.nan, candidate.prediction))
    gates = replace(OPEN, metrics_min={"accuracy": 0.1}, beats_champion="not_worse", enable_bias_check=True)
    report = judge(gates, candidate=broken, champion=champion(prepared, 0.1))
    assert report.verdict is Verdict.ERROR
    for name in ("accuracy_min", "champion", "bias by sex"):
        assert report.result(name).verdict is Verdict.ERROR
        assert "not finite" in report.result(name).reason
    assert report.result("servable").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("quality", "requirement", "verdict"),
    [
        (0.5, True, "pass"),
        (12.0, True, "fail"),
        (12.0, "not_worse", "fail"),
        (None, True, "inconclusive"),
        (None, "not_worse", "pass"),
    ],
)
def test_the_champion_has_to_be_beaten(judge, prepared, candidate, quality, requirement, verdict):
    against = Baseline("champion", candidate.prediction) if quality is None else champion(prepared, quality)
    result = judge(replace(OPEN, beats_champion=requirement), champion=against).result("champion")
    assert result.verdict is Verdict(verdict)
    assert against.name in result.reason


@pytest.mark.parametrize("spec", [CHURN, REGION, VALUE], ids=["binary", "multiclass", "regression"])
def test_one_that_knows_nothing_is_not_let_past_a_champion_that_knows_less(make_rows, judge, spec):
    prepared = prepared_rows(make_rows, spec)
    shape = {"region": (400, 3)}.get(spec.target, (400,))
    noise = np.random.default_rng(4).normal(scale=2.0, size=shape)
    if spec.task is Task.MULTICLASS:
        guess = np.exp(noise) / np.exp(noise).sum(axis=1, keepdims=True)
    else:
        guess = noise if spec.task is Task.REGRESSION else 1 / (1 + np.exp(-noise))
    metric = {"region": "log_loss", "value": "rmse"}.get(spec.target, "log_loss")
    y = prepared.holdout.y.astype(int)
    worse = guess + 5.0 if spec.task is Task.REGRESSION else np.full(shape, 0.001)
    if spec.task is Task.MULTICLASS:
        worse[np.arange(400), (y + 1) % 3] = 0.998
    elif spec.task is Task.BINARY:
        worse = np.where(y == 1, 0.001, 0.999)
    results = holdout_gates(
        Gates(min_validation_samples=1, beats_constant=True),
        guess,
        Baseline("champion", worse),
        HoldoutTest(prepared, metric_named(metric, spec.task), 0.05, 0),
    )
    assert {result.name: str(result.verdict) for result in results}["champion"] == "pass"
    assert {result.name: str(result.verdict) for result in results}["constant"] in ("fail", "inconclusive")


def test_weights_of_classes_do_not_count_against_skill(make_rows, tmp_path):
    weighted_rows = prepared_rows(make_rows, replace(CHURN, class_weight="balanced"))
    prediction = build_candidate(weighted_rows, tmp_path / "bundle").prediction
    test = HoldoutTest(weighted_rows, metric_named("auc", Task.BINARY), 0.05, 0)
    results = holdout_gates(Gates(beats_constant=True), prediction, None, test)
    (result,) = (result for result in results if result.name == "constant")
    assert result.verdict is Verdict.PASS
    assert "(auc)" in result.reason


def test_a_look_that_resamples_can_tell_is_judged_as_the_loop_compares(judge, prepared, candidate):
    against = champion(prepared, 3.0)
    result = judge(replace(OPEN, beats_champion=True), champion=against, alpha=0.03).result("champion")
    test = HoldoutTest(prepared, metric_named("auc", Task.BINARY), 0.1, 0)  # .05 on each side
    same = compare_on_holdout(candidate.prediction, against, test)
    wider = widen_interval(same.improvement, 0.06, degrees_of_freedom(prepared, len(prepared.holdout)))
    assert (result.evidence["low"], result.evidence["high"]) == (wider.low, wider.high)
    assert (result.evidence["least"], result.evidence["least_alpha"]) == (wider.low, 0.03)


def judge_slight_gain(prepared, candidate, criterion, alpha=0.05, **gates):
    """The champion gate for a candidate that is a little better than a champion of much the same scores."""
    scores = np.random.default_rng(1).normal(0, 0.02, len(prepared.holdout)) + candidate.prediction
    against = Baseline("champion (version 3)", np.clip(scores, 0, 1))
    test = HoldoutTest(prepared, metric_named("auc", Task.BINARY), alpha, 0, criterion=criterion)
    return holdout_gates(Gates(**gates), candidate.prediction, against, test)[-1]


def test_a_filter_lets_past_what_a_proof_does_not_yet_and_says_that_shadow_decides(prepared, candidate):
    filtered = judge_slight_gain(prepared, candidate, Criterion.FILTER)
    proved = judge_slight_gain(prepared, candidate, Criterion.PROOF, alpha=1e-6)
    assert (filtered.verdict, proved.verdict) == (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert filtered.reason.startswith("filter, shadow decides: better than champion (version 3) by ")
    assert "at 80 % confidence" in filtered.reason
    assert filtered.evidence["least"] > filtered.evidence["low"]
    assert 0 <= filtered.evidence["corrected"] < filtered.measured
    assert "corrected" not in proved.evidence


@pytest.mark.parametrize("criterion", [Criterion.FILTER, Criterion.PROOF])
def test_a_candidate_that_is_worse_with_confidence_fails(prepared, candidate, criterion):
    test = HoldoutTest(prepared, metric_named("auc", Task.BINARY), 0.05, 0, criterion=criterion)
    result = holdout_gates(Gates(), np.full(len(prepared.holdout), 0.5), champion(prepared, 3.0), test)[-1]
    assert result.verdict is Verdict.FAIL
    assert "at most -" in result.reason


def test_a_gate_of_no_worse_keeps_its_margin_with_one_side(prepared, candidate):
    gates = {"beats_champion": "not_worse", "margin": 0.02}
    result = judge_slight_gain(prepared, candidate, Criterion.PROOF, alpha=0.005, **gates)
    assert (result.verdict, result.required) == (Verdict.PASS, pytest.approx(-0.02 * result.evidence["champion"]))
    assert "it had to be at least -0.0" in result.reason


@pytest.mark.parametrize(
    ("command", "criterion"),
    [
        ({"action": "full"}, Criterion.FILTER),
        ({"action": "shadow"}, Criterion.FILTER),
        ({"action": "candidate"}, Criterion.PROOF),
        ({"action": "full", "refit": False}, Criterion.FILTER),
        ({"action": "full", "rollout": {"shadow": False, "ramp": [0.5]}}, Criterion.PROOF),
    ],
)
def test_a_gate_is_a_filter_where_shadow_judges_after_it(command, criterion):
    assert criterion_of(OptimizeModel("churn", **command)) is criterion


def test_the_first_model_has_no_champion_to_beat_but_one_that_cannot_be_compared_with_is_not_passed_by(judge):
    gates = replace(OPEN, beats_champion=True)
    assert judge(gates).result("champion").verdict is Verdict.PASS
    result = judge(gates, why_no_champion="champion version 3 knows other classes").result("champion")
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "champion version 3 knows other classes")


def test_a_champion_whose_scores_do_not_fit_is_an_error(judge):
    short = Baseline("champion", np.full(399, 0.5))
    assert judge(replace(OPEN, beats_champion=True), champion=short).result("champion").verdict is Verdict.ERROR


def test_a_candidate_that_is_too_slow_fails_on_its_99th_percentile(judge):
    result = judge(replace(OPEN, max_latency_ms=1e-6)).result("latency")
    assert (result.verdict, result.required) == (Verdict.FAIL, 1e-6)
    assert 0 < result.evidence["median_ms"] <= result.measured
    assert result.evidence["calls"] == 200


@pytest.mark.parametrize("scan", [True, False])
def test_a_bundle_that_was_altered_fails_and_nothing_of_it_is_loaded(judge, candidate, tmp_path, scan):
    folder = tmp_path / "bundle"
    shutil.copytree(candidate.folder, folder)
    (folder / "model" / "evil.pkl").write_bytes(b"\x80\x04N.")
    report = judge(replace(OPEN, enable_security_scan=scan), candidate=replace(candidate, folder=folder))
    result = report.result("security" if scan else "servable")
    assert result.verdict is Verdict.FAIL
    assert "evil.pkl" in result.reason
    assert report.verdict is Verdict.FAIL
    assert report.result("latency").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("change", "message"),
    [({"digest": "0" * 64}, "was registered"), ({"folder": None}, "no such folder")],
)
def test_a_bundle_of_another_digest_or_none_fails(judge, candidate, tmp_path, change, message):
    other = replace(candidate, **{name: value or tmp_path / "none" for name, value in change.items()})
    result = judge(replace(OPEN, enable_security_scan=True), candidate=other).result("security")
    assert result.verdict is Verdict.FAIL
    assert message in result.reason


def test_the_bundle_of_another_model_fails(judge, prepared):
    other = replace(prepared, spec=replace(CHURN, model_id="fraud"))
    result = judge(replace(OPEN, enable_security_scan=True), prepared=other).result("security")
    assert result.verdict is Verdict.FAIL
    assert "'churn'" in result.reason


def test_a_scan_without_a_loader_says_that_nothing_was_isolated(judge):
    result = judge(replace(OPEN, enable_security_scan=True)).result("security")
    assert result.verdict is Verdict.PASS
    assert "not loaded in a process of its own" in result.reason
    assert result.evidence["isolated"] is False
    assert "schema.json" in result.evidence["files"]


def test_a_bundle_that_answers_otherwise_than_the_built_model_is_not_servable(judge, candidate):
    other = candidate.prediction.copy()
    other[3] = np.nextafter(other[3], 1.0)
    report = judge(candidate=replace(candidate, prediction=other))
    assert (report.result("servable").verdict, report.result("servable").measured) == (Verdict.FAIL, 1.0)
    assert report.result("serving parity").verdict is Verdict.PASS


@pytest.fixture
def registered_candidate(candidate):
    registry = InMemoryRegistry(ManualClock(1000.0))
    version = registry.register("churn", candidate.folder, {}, {})
    return registry, replace(candidate, version=version.version)


def test_with_a_loader_the_engine_that_it_brings_up_is_what_is_judged_and_closed(judge, registered_candidate):
    registry, candidate = registered_candidate
    loader = InMemoryLoader(registry, most_rows=50)
    report = judge(replace(OPEN, enable_security_scan=True), candidate=candidate, loader=loader)
    assert report.verdict is Verdict.PASS
    assert report.result("security").evidence["isolated"] is True
    assert report.result("serving parity").evidence["engine"] == "onnx"


class Broken:
    """A loader that does not bring a version up."""

    def __init__(self, error):
        self._error = error

    def load(self, model_id, version, digest):
        raise self._error

    def close(self):
        pass


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (EngineFailed("its process ended"), "fail"),
        (Unavailable("the registry is away"), "error"),
        (OSError("x"), "error"),
    ],
    ids=["crashed", "away", "broken"],
)
def test_what_does_not_come_up_in_its_own_process_is_not_loaded_here(judge, registered_candidate, error, verdict):
    report = judge(replace(OPEN, enable_security_scan=True), candidate=registered_candidate[1], loader=Broken(error))
    assert str(error) in report.result("security").reason
    assert str(report.verdict) == verdict
    assert report.result("servable").verdict is Verdict.INCONCLUSIVE


class Off(NativeEngine):
    """An engine that is wrong by a little, or late."""

    def __init__(self, predictor, by=0.0, wait_s=0.0):
        super().__init__(predictor)
        self._by, self._wait_s = by, wait_s

    def scores(self, x):
        time.sleep(self._wait_s if len(x) == 1 else 0.0)
        return super().scores(x) + self._by


class Serving:
    def __init__(self, candidate, **off):
        predictor = load_bundle(candidate.folder)
        self._served = ServedModel(predictor.schema, Off(predictor, **off), "1")

    def load(self, model_id, version, digest):
        return self._served

    def close(self):
        pass


def test_an_engine_that_disagrees_with_the_model_fails_parity(judge, registered_candidate):
    report = judge(candidate=registered_candidate[1], loader=Serving(registered_candidate[1], by=2e-6))
    assert report.result("serving parity").verdict is Verdict.FAIL
    assert report.result("serving parity").measured == pytest.approx(2e-6)
    assert report.result("servable").verdict is Verdict.PASS


def test_an_engine_that_answers_no_numbers_promotes_nothing(judge, registered_candidate):
    report = judge(candidate=registered_candidate[1], loader=Serving(registered_candidate[1], by=float("nan")))
    assert report.result("serving parity").verdict is Verdict.ERROR
    assert report.verdict is Verdict.ERROR


def test_an_engine_that_is_late_fails_on_latency_alone(judge, registered_candidate):
    late = Serving(registered_candidate[1], wait_s=0.002)
    assert verdicts(judge(replace(OPEN, max_latency_ms=1.9), candidate=registered_candidate[1], loader=late)) == {
        **dict.fromkeys(NAMES, "pass"),
        "latency": "fail",
    }


def by_sex(prepared, candidate, low=0.5):
    """A candidate that says "yes" of all of one sex only."""
    of_one = np.array(prepared.holdout_rows["sex"].to_pylist()) == "f"
    return replace(candidate, prediction=np.where(of_one, 0.9, np.minimum(candidate.prediction, low)))


def test_a_candidate_that_treats_groups_unlike_fails(judge, prepared, candidate):
    report = judge(replace(OPEN, enable_bias_check=True), candidate=by_sex(prepared, candidate, 0.4))
    for measure in ("demographic parity", "equalized odds"):
        result = report.result(f"bias by sex: {measure}")
        assert (result.verdict, result.measured, result.required) == (Verdict.FAIL, 1.0, 0.1)
        assert set(result.evidence["groups"]) == {"f", "m"}


def test_without_sensitive_columns_the_check_is_inconclusive_and_says_what_to_declare(judge, prepared):
    without_columns = replace(prepared, spec=replace(CHURN, sensitive_columns=()))
    result = judge(replace(OPEN, enable_bias_check=True), prepared=without_columns).result("bias")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "declare sensitive_columns" in result.reason


def with_groups(prepared, groups):
    rows = prepared.holdout_rows
    at = rows.schema.get_field_index("sex")
    return replace(prepared, holdout_rows=rows.set_column(at, "sex", [groups]))


def test_groups_of_too_few_rows_are_left_out_and_named(judge, prepared):
    groups = ["f"] * 200 + ["m"] * 171 + ["x"] * 29
    gates = replace(OPEN, enable_bias_check=True, max_bias=1.0)
    result = judge(gates, prepared=with_groups(prepared, groups)).result("bias by sex: demographic parity")
    assert result.verdict is Verdict.PASS
    assert result.evidence["left_out"] == {"x": 29}
    assert "left out, since too small: x 29" in result.reason


def test_fewer_than_two_groups_are_inconclusive_and_rows_without_a_value_are_a_group(judge, prepared):
    gates = replace(OPEN, enable_bias_check=True, max_bias=1.0)
    alone = judge(gates, prepared=with_groups(prepared, ["f"] * 399 + ["m"]))
    assert alone.result("bias by sex: equalized odds").verdict is Verdict.INCONCLUSIVE
    missing = judge(gates, prepared=with_groups(prepared, ["f"] * 200 + [None] * 200))
    assert set(missing.result("bias by sex: equalized odds").evidence["groups"]) == {"f", "no value"}


def test_of_several_classes_the_worst_is_judged(judge, make_rows, tmp_path):
    rows = prepared_rows(make_rows, REGION)
    fair = build_candidate(rows, tmp_path / "bundle", rounds=5)
    of_one = np.array(rows.holdout_rows["sex"].to_pylist()) == "f"
    unfair = replace(fair, prediction=np.where(of_one[:, None], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]))
    result = judge(replace(OPEN, enable_bias_check=True), candidate=unfair, prepared=rows)
    parity = result.result("bias by sex: demographic parity")
    assert (parity.verdict, parity.measured) == (Verdict.FAIL, 1.0)
    assert parity.evidence["class"] in ("east", "north")


def test_a_sensitive_column_that_is_not_there_is_an_error(judge, prepared):
    without_sex = replace(prepared, holdout_rows=prepared.holdout_rows.drop_columns(["sex"]))
    result = judge(replace(OPEN, enable_bias_check=True), prepared=without_sex).result("bias by sex")
    assert result.verdict is Verdict.ERROR
    assert "no column 'sex'" in result.reason


@pytest.mark.parametrize("features", [(), ("a", "b")], ids=["all", "named"])
def test_the_holdout_holds_the_sensitive_columns_as_they_were_read(make_rows, features):
    rows = prepared_rows(make_rows, replace(CHURN, features=features), 400)
    assert set(rows.holdout_rows["sex"].to_pylist()) == {"f", "m"}
    assert "sex" not in rows.schema.names


@pytest.mark.parametrize(
    ("spec", "gates", "message"),
    [
        (CHURN, {"rmse_max": 1.0}, "rmse_max: unknown metric 'rmse' for a binary model; one of"),
        (VALUE, {"accuracy_min": 0.7}, "accuracy_min: unknown metric 'accuracy' for a regression model"),
        (CHURN, {"accurcy_min": 0.7}, "accurcy_min: unknown metric 'accurcy'"),
        (CHURN, {"accuracy_min": 70}, "accuracy_min must be between 0 and 1, got 70"),
        (CHURN, {"log_loss_max": -1}, "log_loss_max must be between 0 and inf, got -1"),
        (VALUE, {"r2_min": 1.5}, "r2_min must be between -inf and 1, got 1.5"),
        (VALUE, {"enable_bias_check": True}, "enable_bias_check is for classifiers, churn is a regression"),
    ],
)
def test_gates_that_do_not_fit_the_model_are_refused_at_the_door(spec, gates, message):
    with pytest.raises(InvalidRequest, match=message):
        gates_for(gates, spec)


def test_gates_that_fit_are_let_in():
    check_gates(Gates(metrics_min={"r2": -3.0}, metrics_max={"rmse": 1e6}), VALUE)


def test_a_holdout_is_the_same_for_other_features_and_another_for_other_rows(make_rows, prepared):
    same = prepared_rows(make_rows, replace(CHURN, features=("b",)))
    assert holdout_digest(same) == holdout_digest(prepared)
    others = [replace(CHURN, model_id="fraud"), replace(CHURN, holdout_fraction=0.3)]
    digests = {holdout_digest(prepared_rows(make_rows, spec)) for spec in others}
    assert len({*digests, holdout_digest(prepared)}) == 3


async def test_a_look_is_counted_before_it_is_made_and_settled_after(judge, prepared, candidate):
    store = InMemoryStore(ManualClock(1000.0))
    look = look_at(prepared, candidate.digest, "p1", 1000.0, 0.05)
    calls = []

    def judge_it(alpha, number):
        calls.append((alpha, number, len(store._looks["churn"])))
        return judge(alpha=alpha, look=number)

    look = replace(look, compares=False)
    report = await spend_look_and_judge(store, look, Criterion.PROOF, judge_it)
    await spend_look_and_judge(store, replace(look, process_id="p2"), Criterion.PROOF, judge_it)
    await spend_look_and_judge(store, replace(look, process_id="p3"), Criterion.FILTER, judge_it)
    assert calls == [(pytest.approx(0.05 * 0.1), 1, 1), (pytest.approx(0.05 * 0.9 / 11), 2, 2), (0.05, 3, 3)]
    assert report.look == 1
    assert [each.verdict for each in await store.looks("churn")] == 3 * [Verdict.PASS]
    assert [each.share > 0 for each in await store.looks("churn")] == [True, True, False]


async def test_a_look_that_ends_in_a_crash_is_counted(prepared, candidate):
    store = InMemoryStore(ManualClock(1000.0))
    look = look_at(prepared, candidate.digest, "p1", 1000.0, 0.05)

    def crash(alpha, number):
        raise MemoryError

    with pytest.raises(MemoryError):
        await spend_look_and_judge(store, look, Criterion.PROOF, crash)
    assert [(each.number, each.verdict) for each in await store.looks("churn")] == [(1, None)]
