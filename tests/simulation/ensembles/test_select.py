from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from optagent.codec import plain
from optagent.domain.model import ModelSpec, Task
from optagent.domain.study import Interval
from optagent.ensembles.budget import EnsembleBudget
from optagent.ensembles.choice import EnsembleChoice
from optagent.ensembles.holdout_test import decide_on_improvements
from optagent.ensembles.members import Members, members_of
from optagent.ensembles.row_split import split_rows
from optagent.ensembles.select import EnsembleGoal, MemberData, choose_ensemble
from optagent.ensembles.stack_loss import StackFeatures
from optagent.ensembles.target import Target, gains
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.combined import combine
from optagent.training.metrics import METRICS

Library = Callable[..., Members]
Specs = Callable[..., ModelSpec]


def ask(*names: str, **fields) -> EnsembleGoal:  # type: ignore[no-untyped-def]
    return EnsembleGoal(tuple(METRICS[name] for name in names), **fields)


@pytest.mark.parametrize(
    ("task", "method", "names"),
    [
        (Task.BINARY, "auto", ("log_loss",)),
        (Task.BINARY, "weighted", ("auc", "brier")),
        (Task.MULTICLASS, "stacking", ("log_loss",)),
        (Task.REGRESSION, "auto", ("rmse",)),
        (Task.REGRESSION, "weighted", ("mae",)),
    ],
)
def test_models_that_see_different_causes_are_accepted_together(
    library: Library, spec: Specs, task: Task, method: str, names: tuple[str, ...]
) -> None:
    members = library(task, models=4, rows=3000, seed=8)
    choice = choose_ensemble(MemberData(members, spec(task)), ask(*names, method=method))
    assert choice.accepted, choice.reason
    assert all(interval.low > 0 for interval in choice.improvements.values())
    assert f"on {choice.judged_rows:,} rows that no search saw: better" in choice.reason
    assert 0 < choice.diversity.score < 1
    assert {one.search for one in choice.options} >= {choice.search}
    assert combine(choice.ensemble, members.by_member()).shape == members.predictions.shape[1:]
    assert plain(choice)["accepted"] is True


def test_a_vote_of_equals_is_accepted(spec: Specs) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=1500)
    members = members_of(Task.REGRESSION, {f"n{index}": y + rng.normal(size=1500) for index in range(4)}, y)
    choice = choose_ensemble(MemberData(members, spec(Task.REGRESSION)), ask("rmse", method="voting"))
    assert (choice.accepted, choice.search) == (True, "soft_vote")
    assert choice.metrics["rmse"] == pytest.approx(0.5, abs=0.05)


def test_an_ensemble_that_is_no_better_is_accepted_no_more_often_than_alpha_allows(spec: Specs) -> None:
    # The first member knows the true probability, so that nothing can be better; a two-sided alpha of .2 lets .1 pass.
    worlds, accepted = 25, 0
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        truth = rng.beta(2, 2, 1400)
        y = (rng.random(1400) < truth).astype(np.float64)
        predictions = {
            "truth": truth,
            **{f"n{i}": np.clip(truth + 0.1 * rng.normal(size=1400), 0.01, 0.99) for i in range(2)},
        }
        data = MemberData(members_of(Task.BINARY, predictions, y), spec())
        accepted += choose_ensemble(data, ask("brier", method="weighted", alpha=0.2, seed=seed)).accepted
    assert binom.sf(accepted - 1, worlds, 0.1) > 0.01


def test_few_rows_keep_the_best_single(library: Library, spec: Specs) -> None:
    members = library(rows=1100, seed=8)  # 880 of them to learn from
    choice = choose_ensemble(MemberData(members, spec()), ask("log_loss"))
    assert not choice.accepted
    assert choice.ensemble is None
    assert (
        choice.reason == "weights learned on 880 rows would not last, 1,000 are needed: " + choice.single + " is kept"
    )
    assert choose_ensemble(MemberData(library(rows=8), spec()), ask("log_loss")).reason.startswith(
        "there are no rows to judge"
    )


def test_identical_members_keep_one_of_them_and_say_so(library: Library, spec: Specs) -> None:
    one = library(rows=2000)
    members = members_of(Task.BINARY, {"b": one.predictions[0], "a": one.predictions[0]}, one.y)
    choice = choose_ensemble(MemberData(members, spec()), ask("log_loss", method="weighted"))
    assert (choice.accepted, choice.single) == (False, "a")
    assert choice.reason == "the search itself gave all weight to a: it is kept"
    assert "b says exactly what a says" in choice.notes


def test_a_constant_member_does_no_harm(library: Library, spec: Specs) -> None:
    one = library(models=3, rows=2500, seed=8)
    members = members_of(Task.BINARY, {"flat": np.full(2500, 0.5), **one.by_member()}, one.y)
    choice = choose_ensemble(MemberData(members, spec()), ask("log_loss", method="weighted"))
    assert "flat says the same of every row" in choice.notes
    assert choice.single != "flat"


def test_an_ensemble_that_breaks_the_latency_budget_is_never_chosen(library: Library, spec: Specs) -> None:
    latency = {f"m{index:02d}": float(1 + index) for index in range(5)}
    members = library(models=5, rows=1500, seed=8, latency_ms=latency)
    choice = choose_ensemble(MemberData(members, spec()), ask("log_loss", budget=EnsembleBudget(max_latency_ms=6.0)))
    assert choice.options
    assert all(one.latency_ms <= 6 for one in choice.options)
    assert choice.latency_ms <= 6
    assert any(one.on_front for one in choice.options)
    alone = choose_ensemble(MemberData(members, spec()), ask("log_loss", budget=EnsembleBudget(max_latency_ms=1.5)))
    assert (alone.accepted, alone.single) == (False, "m00")
    assert "no two models that meet the budget" in alone.reason


def test_the_order_of_models_does_not_matter(library: Library, spec: Specs) -> None:
    members = library(models=4, rows=1500)
    one, other = (
        choose_ensemble(MemberData(each, spec()), ask("brier", method="weighted"))
        for each in (members, members.select_models([2, 0, 3, 1]))
    )
    assert (one.accepted, one.single, one.search) == (other.accepted, other.single, other.search)
    assert one.metrics == pytest.approx(other.metrics, abs=1e-4)


def test_a_search_that_cannot_be_made_is_left_out_with_its_reason(library: Library, spec: Specs) -> None:
    members = library(models=30, rows=1500)
    choice = choose_ensemble(MemberData(members, spec()), ask("brier", method="weighted"))
    assert [one.search for one in choice.options] == ["greedy", "slsqp"]
    assert any("simplex was left out: 30 models" in note for note in choice.notes)


def test_features_are_one_more_way_where_they_are_given(library: Library, spec: Specs) -> None:
    members = library(models=3, rows=2500, seed=8)
    x = (members.y + np.random.default_rng(0).normal(size=2500)).astype(np.float32)[:, None]
    choice = choose_ensemble(
        MemberData(members, spec(), features=StackFeatures(x, (0,))), ask("log_loss", method="stacking")
    )
    assert choice.accepted
    assert choice.search == "stack_with_features"


def test_gains_can_be_found_elsewhere(library: Library, spec: Specs) -> None:
    members, counts_asked = library(models=3, rows=1500), []

    def elsewhere(all_members: Members, target: Target) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def ask_them(counts: np.ndarray, candidates: np.ndarray) -> np.ndarray:
            counts_asked.append(len(candidates))
            return gains(all_members, target, counts, candidates)

        return ask_them

    here, there = (
        choose_ensemble(MemberData(members, spec()), ask("brier", method="weighted"), *each)
        for each in ((), (elsewhere,))
    )
    assert here == there
    assert sum(counts_asked) >= 60 * 3


def test_the_parts_share_no_row_and_no_label_reaches_from_one_into_the_next(spec: Specs) -> None:
    time = np.arange(2000.0)
    y = np.tile([0.0, 1.0], 1000)
    for one in (spec(), spec(time_column="t", label_horizon=25.0)):
        parts = split_rows(one, y, None if one.time_column is None else time)
        rows = [set(each.tolist()) for each in (parts.fit, parts.pick, parts.verdict)]
        assert not rows[0] & rows[1]
        assert not set(parts.learn.tolist()) & rows[2]
        assert rows[0] | rows[1] <= set(parts.learn.tolist())
        if one.time_column:
            assert parts.fit.max() + 25 < parts.pick.min()
            assert parts.learn.max() + 25 < parts.verdict.min()


def test_a_metric_that_becomes_worse_keeps_the_single() -> None:
    better, worse = Interval(0.02, 0.01, 0.03, 0.05), Interval(-0.1, -0.2, -0.05, 0.05)
    choice = EnsembleChoice(
        False, "a", "", metrics={"auc": 0.8, "brier": 0.2}, single_metrics={"auc": 0.78, "brier": 0.1}, judged_rows=1500
    )
    assert decide_on_improvements(choice, {"auc": better})[0]
    accepted, reason = decide_on_improvements(choice, {"auc": better, "brier": worse})
    assert not accepted
    assert "but brier becomes worse (improvement -0.1, between -0.2 and -0.05 at 95% confidence)" in reason
    assert "worse" in decide_on_improvements(choice, {"auc": worse})[1]
    assert "not shown to be better" in decide_on_improvements(choice, {"auc": replace(better, low=-0.01)})[1]


def test_nonsense_is_refused(library: Library, spec: Specs) -> None:
    data = MemberData(library(), spec())
    with pytest.raises(InvalidRequest, match="unknown ensemble method 'boosting'; one of"):
        choose_ensemble(data, ask("auc", method="boosting"))
    with pytest.raises(InvalidRequest, match="rmse: not a metric of a binary model"):
        choose_ensemble(data, ask("rmse"))
    with pytest.raises(InvalidRequest, match="needs the latency_ms"):
        choose_ensemble(data, ask("auc", budget=EnsembleBudget(max_latency_ms=1)))
    one_class = members_of(Task.BINARY, library().by_member(), np.zeros(400))
    with pytest.raises(InvalidData, match="auc: all rows are of one class"):
        choose_ensemble(MemberData(one_class, spec()), ask("auc"))
