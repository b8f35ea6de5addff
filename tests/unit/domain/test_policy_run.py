"""Policy runs: counts of optimizations whose candidates went through a rollout, and results of older versions."""

from typing import Any

from optagent.codec import decode, plain
from optagent.domain.policy_run import PolicyRun, ReplayedPath, ReplayedRun, RunCounts, count_runs

DAY_S = 86_400.0


def run(rollout: str | None = None, **more: Any) -> ReplayedRun:
    return ReplayedRun(
        0.0, "schedule", "it was time", "success", **{"verdict": "pass", "version": "2", **more}, rollout=rollout
    )


def count(*runs: ReplayedRun) -> RunCounts:
    return count_runs(runs, [], 0.8, True, 0.05, 0.0)


def test_what_passed_its_gates_is_counted_by_the_end_of_its_rollout() -> None:
    promoted = run("promoted", promoted=True, promoted_at=10 * DAY_S)
    counts = count(promoted, run("inconclusive"), run("rolled back"), run("ramp"), run("shadow"), run())
    assert (counts.retrains, counts.passed, counts.promoted, counts.rejected) == (6, 6, 1, 0)
    assert (counts.inconclusive, counts.rolled_back, counts.under_way) == (1, 1, 2)


def test_a_candidate_that_failed_its_gates_is_rejected_and_one_that_was_never_trained_is_not() -> None:
    counts = count(run(verdict="inconclusive"), run(verdict=None, version=None))
    assert (counts.optimizations, counts.retrains, counts.passed, counts.rejected) == (2, 1, 0, 1)


def test_the_days_to_promotion_are_the_median_of_those_that_were_promoted() -> None:
    times = [run("promoted", promoted=True, promoted_at=days * DAY_S) for days in (4.0, 8.0, 30.0)]
    assert count(*times, run("ramp")).days_to_promotion == 8.0
    assert count(run("ramp")).days_to_promotion is None


def test_a_result_of_an_older_version_is_read() -> None:
    old = {"optimizations": 3, "retrains": 2, "promoted": 1, "rejected": 1, "missed": 0, "bad_periods": 0, "trials": 0}
    counts = decode(RunCounts, {**old, "compute_s": 1.5})
    assert (counts.promoted, counts.passed, counts.days_to_promotion) == (1, None, None)
    older = plain(run())
    del older["rollout"], older["promoted_at"]
    assert not decode(ReplayedRun, older).is_under_way


def test_a_policy_replayed_with_one_seed_has_the_counts_of_that() -> None:
    one = PolicyRun("a", None, False, 0.5, 0.5, (), (), RunCounts(retrains=2))
    paths = tuple(ReplayedPath(seed, 0.5, RunCounts(retrains=seed)) for seed in (1, 2))
    several = PolicyRun("a", None, False, 0.5, 0.5, (), (), RunCounts(retrains=1), paths=paths)
    assert [each.retrains for each in one.counts_by_seed] == [2]
    assert [each.retrains for each in several.counts_by_seed] == [1, 2]
