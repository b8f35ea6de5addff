"""A rollout of the default policy, suited to the model's traffic, ends in time at every rate of labelled requests."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from optagent.analysis.rollout_evidence import GuardedRequests, PairedLosses, SplitLosses, look_at
from optagent.domain.rollout import Rollout, advance, begin
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy, Traffic, policy_of, suit_policy
from optagent.domain.strategy import strategy_named

DAY_S = 86_400.0
LOSS, SPREAD = 0.173, 0.052
"""The champion's mean Brier score, and the spread of paired differences: that of a retuned model on realistic rows."""

SUPERIOR = replace(strategy_named("balanced"), margin=0.0)


def start_rollout(rows_a_day: float, strategy=SUPERIOR, **changes) -> Rollout:
    policy = replace(policy_of(strategy, LOSS), label_delay_s=DAY_S, **changes)
    return begin("r1", "m", "1", "2", suit_policy(policy, Traffic(rows_a_day), ()), 0.0, "ana")


class Stream:
    """The rows of a model with labels a day late; the candidate is better by `gain` of the champion's loss."""

    def __init__(self, seed: int, rows_a_day: float, gain: float, day_spread: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.rows_a_day, self.gain, self.day_spread = rows_a_day, gain, day_spread
        self.start_state(0.0)

    def start_state(self, now: float) -> None:
        self.begin = now
        self.times, self.difference, self.champion = np.zeros(0), np.zeros(0), np.zeros(0)
        self.drawn, self.share = np.zeros(0, bool), np.zeros(0)

    def extend(self, since: float, until: float, share: float) -> None:
        rows = self.rng.poisson(self.rows_a_day * (until - since) / DAY_S)
        times = np.sort(self.rng.uniform(since, until, rows))
        days = np.floor(times / DAY_S).astype(int)
        effects = {day: self.rng.normal(0, self.day_spread) for day in np.unique(days)}
        level = np.array([effects[day] for day in days]) if rows else np.zeros(0)
        better = self.gain * LOSS + SPREAD * (self.rng.normal(size=rows) + level)
        self.times = np.append(self.times, times)
        self.difference = np.append(self.difference, better)
        self.champion = np.append(self.champion, LOSS + 0.2 * self.rng.normal(size=rows))
        self.drawn = np.append(self.drawn, self.rng.random(rows) < share)
        self.share = np.append(self.share, np.full(rows, share))

    def losses(self, rollout: Rollout, now: float):
        matured = self.times + DAY_S <= now
        candidate = self.champion - self.difference
        if rollout.state is RolloutState.RAMP:
            loss = np.where(matured, np.where(self.drawn, candidate, self.champion), np.nan)
            return SplitLosses(self.drawn, self.share, loss, matured)
        champion, candidate = (np.where(matured, each, np.nan) for each in (self.champion, candidate))
        return PairedLosses(champion, candidate, matured, self.times)


def run_rollout(stream: Stream, rollout: Rollout, every_s: float) -> tuple[Rollout, float]:
    """The rollout at its end, and the days that it took."""
    now, state = 0.0, rollout.state
    guarded = {name: np.zeros(2_000) for name in rollout.policy.guardrails}
    while rollout.state.is_active:
        share = rollout.policy.ramp[rollout.step] if rollout.state is RolloutState.RAMP else 0.0
        stream.extend(now, now + every_s, share)
        now += every_s
        sound = GuardedRequests(np.linspace(0, now, 2_000), guarded)
        look = look_at(rollout, f"look-{now}", now, stream.losses(rollout, now), sound)
        rollout = advance(rollout, look, now)
        if rollout.state is not state:
            state = rollout.state
            stream.start_state(now)
    return rollout, now / DAY_S


def promoted_days(rows_a_day: float, gain: float, runs: int, strategy=SUPERIOR, day_spread: float = 0.0) -> list[float]:
    """The days of each rollout that promoted its candidate."""
    every_s = max(DAY_S / 4, 30 / rows_a_day * DAY_S)
    ends = [
        run_rollout(Stream(seed, rows_a_day, gain, day_spread), start_rollout(rows_a_day, strategy), every_s)
        for seed in range(runs)
    ]
    return [days for rollout, days in ends if rollout.state is RolloutState.PROMOTED]


def allowed_days(rows_a_day: float) -> float:
    return max(14.0, 3_000 / rows_a_day)


RATES = [5, 48, 300, 1_000, 5_000]


@pytest.mark.parametrize("rows_a_day", RATES)
def test_a_candidate_3_percent_better_is_promoted_in_time(rows_a_day: float) -> None:
    runs = 20
    in_time = [days for days in promoted_days(rows_a_day, 0.03, runs) if days <= allowed_days(rows_a_day)]

    assert len(in_time) >= binom.ppf(0.01, runs, 0.9)


@pytest.mark.parametrize("rows_a_day", RATES)
def test_a_candidate_10_percent_better_is_promoted_in_a_third_of_that(rows_a_day: float) -> None:
    runs = 20
    in_time = [days for days in promoted_days(rows_a_day, 0.1, runs) if days <= allowed_days(rows_a_day) / 3]

    assert len(in_time) >= binom.ppf(0.01, runs, 0.9)


@pytest.mark.parametrize("rows_a_day", [48, 1_000])
def test_an_equal_candidate_is_promoted_no_more_often_than_alpha_where_superiority_is_asked(rows_a_day: float) -> None:
    runs = 40

    assert len(promoted_days(rows_a_day, 0.0, runs)) <= binom.ppf(0.999, runs, SUPERIOR.alpha)


@pytest.mark.parametrize("day_spread", [0.1, 0.3])
def test_days_on_which_the_candidate_is_lucky_promote_no_more_often_than_twice_alpha(day_spread: float) -> None:
    runs = 40
    promoted = promoted_days(1_000, 0.0, runs, day_spread=day_spread)

    assert len(promoted) <= binom.ppf(0.999, runs, 2 * SUPERIOR.alpha)


def test_the_demands_of_a_policy_that_somebody_chose_stay() -> None:
    chosen = {"min_rows": 500}
    policy = suit_policy(RolloutPolicy(min_rows=500), Traffic(48), chosen)

    assert policy.min_rows == 500
