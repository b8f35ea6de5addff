"""A proposal is proven on rows that no search saw, or refused in words; nothing that it is given makes it fail."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from optagent.analysis.bootstrap import Resampling
from optagent.codec import decode, encode
from optagent.domain.model import Task
from optagent.errors import InvalidData, InvalidRequest
from optagent.features.proposal import FeatureProposal, ProposalLimits, ProposalRules
from optagent.features.propose import propose_features
from optagent.features.refits import PlainFits, inner_folds, learner_for
from optagent.features.screening_statistics import screen_block
from optagent.features.searches import prepare_search
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS, Metric, metric_named
from optagent.training.problem import Fold, Problem

LIGHTGBM = family_named("lightgbm")
SMALL = {"num_leaves": 7, "max_bin": 63, "min_data_in_leaf": 5}
ORDERED = Resampling(time_ordered=True)


def propose(problem: Problem, metric: str = "", **options) -> FeatureProposal:
    options = {"params": SMALL, "rounds": 25, "how": Resampling(200), **options}
    return propose_features(problem, LIGHTGBM, metric_named(metric, problem.data.task), **options)


@pytest.fixture(scope="module")
def proposal(planted) -> FeatureProposal:
    return propose(planted())


def test_a_hidden_product_and_ratio_are_found_proven_and_nothing_else(proposal: FeatureProposal) -> None:
    assert proposal.accepted
    assert proposal.improvement.low > 0
    assert {step.name for step in proposal.plan.steps} == {"x0 * x1", "x2 / x3"}
    assert proposal.score < proposal.plain_score
    assert "rows that no search saw" in proposal.why


def test_every_feature_and_column_has_its_scores(proposal: FeatureProposal) -> None:
    kept = {feature.name: feature for feature in proposal.features if feature.kept}
    assert set(kept) == {"x0 * x1", "x2 / x3"}
    for feature in kept.values():
        assert feature.p_value <= 0.05
        assert feature.found_again >= 0.5
        assert feature.importance > 0
        assert feature.inflation >= 1
    assert [column.name for column in proposal.columns] == list(proposal.plan.columns)
    assert decode(FeatureProposal, encode(proposal)) == proposal


def test_a_classifier_of_three_classes_finds_the_product_too(planted) -> None:
    answer = propose(planted(Task.MULTICLASS, rows=600), "log_loss", rounds=15)
    assert answer.accepted
    assert "x0 * x1" in answer.plan.names


def test_on_pure_noise_nothing_is_accepted(noise) -> None:
    answers = [propose(noise(seed), rounds=10) for seed in range(10)]
    assert not any(answer.accepted for answer in answers)
    # At alpha .05, more than three of ten that find anything at all happen once in 970 times.
    assert sum(bool(answer.features) for answer in answers) <= 3
    assert "explains more of the residual than chance" in answers[0].why


def test_rows_in_time_order_are_judged_only_where_earlier_rows_could_be_searched(planted) -> None:
    problem = planted(ordered=True)
    answer = propose(problem, how=replace(ORDERED, resamples=200))
    assert answer.accepted
    assert answer.judged_rows == sum(len(fold.valid) for fold in problem.folds[1:])


@pytest.mark.parametrize("ordered", [False, True])
def test_no_search_sees_a_row_of_the_fold_that_judges_it(noise, ordered: bool) -> None:
    problem = noise(rows=900, ordered=ordered)
    learner = learner_for(problem, LIGHTGBM, METRICS["auc"], SMALL, 5)
    y, judging = problem.data.y, problem.folds[-1].valid
    turned = y.copy()
    turned[judging] = 1 - turned[judging]
    other = Problem(replace(problem.data, y=turned), problem.folds)
    one, two = (prepare_search(each, PlainFits(learner, each), 2) for each in (problem, other))
    assert not one.asked[judging].any()
    assert (one.left == two.left).all()
    assert (one.target == two.target).all()
    assert (one.importances == two.importances).all()
    for fold in inner_folds(problem, problem.folds[-1].train):
        assert not set(judging) & {*fold.train, *fold.valid}


def test_blocks_may_be_run_elsewhere_and_in_any_order(planted, proposal: FeatureProposal) -> None:
    def backwards(screen, blocks):
        return [screen_block(screen, block) for block in list(blocks)[::-1]]

    assert propose(planted(), spread=backwards, limits=ProposalLimits(memory_mb=4)).plan == proposal.plan


def test_ten_thousand_candidates_on_a_small_budget_are_cut_by_promise_and_said(make_data) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 80))
    folds = tuple(
        Fold(np.flatnonzero(np.arange(240) % 3 != k), np.flatnonzero(np.arange(240) % 3 == k)) for k in range(3)
    )
    problem = Problem(make_data(x, x[:, 0] * x[:, 1] + 0.1 * rng.normal(size=240)), folds)
    answer = propose(problem, limits=ProposalLimits(candidates=500, rows=200, features=1), rounds=10)
    assert answer.candidates < 2_000
    assert any("only 500 candidates" in note for note in answer.notes)
    assert any("200 of 240 rows" in note for note in answer.notes)
    assert answer.plan is None or len(answer.plan.steps) == 1


def test_when_the_time_is_up_it_says_how_far_it_came(planted) -> None:
    problem = planted()
    answer = propose(problem, limits=ProposalLimits(seconds=0))
    assert not answer.accepted
    assert "0 s were up before the plain model" in answer.why
    ticks = count()
    answer = propose(problem, limits=ProposalLimits(seconds=5), clock=lambda: float(next(ticks)))
    assert not answer.accepted
    assert "no candidate was looked at: 5 s were up" in answer.why


def test_a_memory_that_holds_nothing_more_is_an_explained_refusal(planted) -> None:
    problem = planted(rows=300)
    cells = 300 * 8 * 4 / 2**20
    answer = propose(problem, limits=ProposalLimits(memory_mb=cells), rounds=5)
    assert answer.why.endswith("MB do not hold the rows with one column more")
    answer = propose(problem, limits=ProposalLimits(memory_mb=cells * 1.2), rounds=5)
    assert any("no more than 1 features" in note for note in answer.notes)


def test_a_leak_is_named_and_nothing_is_made_of_it(planted) -> None:
    problem = planted(Task.BINARY, rows=400)
    x = problem.data.x.copy()
    x[:, 7] = problem.data.y + 0.01 * x[:, 7]
    answer = propose(Problem(replace(problem.data, x=x), problem.folds))
    assert any("x7: has AUC" in note and "is it known when a row is served" in note for note in answer.notes)
    assert not any("x7" in feature.step.columns for feature in answer.features)


def test_columns_without_a_value_or_a_partner_are_an_explained_refusal(noise) -> None:
    problem = noise()
    x = np.full_like(problem.data.x, np.nan)
    x[:, 0] = problem.data.x[:, 0]
    answer = propose(Problem(replace(problem.data, x=x), problem.folds))
    assert not answer.accepted
    assert "no two columns can be combined" in answer.why
    assert [column.trouble for column in answer.columns[1:]] == ["holds one value only"] * 4


def test_a_metric_that_is_undefined_on_the_rows_is_said_not_raised(planted) -> None:
    def undefined(*_):
        raise InvalidData("all rows are of one class")

    metric = Metric("odd", True, (Task.REGRESSION,), undefined)
    answer = propose_features(planted(rows=300), LIGHTGBM, metric, params=SMALL, rounds=10)
    assert not answer.accepted
    assert answer.why == "it cannot be told: all rows are of one class"


def test_idle_columns_are_dropped_where_asked_and_still_read(planted) -> None:
    answer = propose(planted(rows=300), rules=ProposalRules(drop_idle=True), rounds=8)
    assert {"x4", "x5", "x6", "x7"} & set(answer.plan.dropped)
    assert set(answer.plan.columns) == {f"x{index}" for index in range(8)}


def test_a_linear_family_finds_the_bend_that_it_cannot_follow(make_data) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 3))
    folds = tuple(
        Fold(np.flatnonzero(np.arange(240) % 3 != k), np.flatnonzero(np.arange(240) % 3 == k)) for k in range(3)
    )
    problem = Problem(make_data(x, x[:, 0] + x[:, 1] ** 2 + 0.5 * rng.normal(size=240)), folds)
    answer = propose_features(problem, family_named("linear"), METRICS["rmse"], rounds=81)
    assert answer.accepted
    assert "x1 ^ 2" in answer.plan.names


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ProposalLimits(features=0), "features must be a number of at least 1, got 0"),
        (lambda: ProposalLimits(seconds=float("nan")), "seconds must be"),
        (lambda: ProposalRules(alpha=1.0), "alpha must be at least 0.001 and below 1, got 1.0"),
        (lambda: ProposalRules(agreement=2), "agreement must be between 0 and 1, got 2"),
    ],
)
def test_limits_and_rules_refuse_nonsense(make, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        make()
