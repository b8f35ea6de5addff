"""Rollouts of the default policy, suited to traffic: promotions in time, and false ones where rows have days.

A candidate's Brier score is compared with that of a champion of .173, on pairs whose differences have the spread of a
retuned model's on realistic rows (.30 of the loss). Labels come a day late.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from optagent.analysis.rollout_evidence import GuardedRequests, PairedLosses, SplitLosses, look_at, sum_gate_rows
from optagent.domain.gate_evidence import GateEvidence
from optagent.domain.rollout import Rollout, advance, begin
from optagent.domain.rollout_look import RolloutState
from optagent.domain.rollout_policy import RolloutPolicy, Traffic, policy_of, suit_policy
from optagent.domain.strategy import Strategy, strategy_named
from optagent.sequential.anytime_t import have_block_effects
from tests.performance.decisions.case import Case
from tests.simulation.streams import DAY_S, Series, autoregressive, weekly_cycle

LOSS, SPREAD = 0.173, 0.052

SUPERIOR = replace(strategy_named("balanced"), margin=0.0)
"""The balanced strategy where a candidate has to be better, not only no worse."""

Dependence = Callable[[np.random.Generator, Series], Series]


def independent(rng: np.random.Generator, times: Series) -> Series:
    return rng.standard_normal(len(times))


def days_alike(spread: float, phi: float = 0.0) -> Dependence:
    """Rows of one day share an advantage of that many row spreads; days are `phi` times the day before, plus noise."""

    def differences(rng: np.random.Generator, times: Series) -> Series:
        days = np.floor(times / DAY_S).astype(np.int64)
        effects = autoregressive(np.random.default_rng(rng.integers(2**32)), 4_000, phi)
        return rng.standard_normal(len(times)) + spread * effects[days]

    return differences


def rows_alike(phi: float) -> Dependence:
    return lambda rng, times: autoregressive(rng, len(times), phi)


def weeks_alike(spread: float) -> Dependence:
    """The candidate is better on weekends and worse on other days, by so many row spreads, and equal in the mean."""
    return lambda rng, times: rng.standard_normal(len(times)) + spread * weekly_cycle(times)


class Stream:
    """All rows of a model from the start of a rollout on; the candidate is better by `gain` of the champion's loss."""

    def __init__(self, seed: int, rows_a_day: float, gain: float, dependence: Dependence, days: float) -> None:
        rng = np.random.default_rng([seed, 7])
        rows = rng.poisson(rows_a_day * days)
        self.times = np.sort(rng.uniform(0.0, days * DAY_S, rows))
        self.difference = gain * LOSS + SPREAD * dependence(rng, self.times)
        self.champion = LOSS + 0.2 * rng.standard_normal(rows)
        self.luck = rng.random(rows)

    def losses(self, since: float, now: float, steps: list[tuple[float, float]]) -> PairedLosses | SplitLosses:
        """The losses of the rows between two times; `steps` are the times and shares of the ramp, none for no split."""
        rows = slice(*np.searchsorted(self.times, [since, now]))
        times, champion = self.times[rows], self.champion[rows]
        matured, candidate = times + DAY_S <= now, champion - self.difference[rows]
        paired = PairedLosses(np.where(matured, champion, np.nan), np.where(matured, candidate, np.nan), matured, times)
        if not steps:
            return paired
        starts, shares = zip(*steps, strict=True)
        share = np.array(shares)[np.searchsorted(starts, times, side="right") - 1]
        drawn = self.luck[rows] < share
        loss = np.where(matured, np.where(drawn, candidate, champion), np.nan)
        return SplitLosses(drawn, share, loss, matured, paired=paired)


def start_rollout(
    rows_a_day: float, strategy: Strategy = SUPERIOR, day_effects: bool = False, gate: GateEvidence | None = None
) -> Rollout:
    policy = replace(policy_of(strategy, LOSS), label_delay_s=DAY_S)
    suited = suit_policy(policy, Traffic(rows_a_day, day_effects), ())
    return begin("r1", "m", "1", "2", suited, 0.0, "ana", gate=gate)


def run_rollout(stream: Stream, rollout: Rollout, every_s: float) -> tuple[Rollout, float]:
    """The rollout at its end, and the days that it took."""
    now, since, steps, state = 0.0, 0.0, [], rollout.state
    guarded = {name: np.zeros(2_000) for name in rollout.policy.guardrails}
    while rollout.state.is_active:
        now += every_s
        sound = GuardedRequests(np.linspace(0, now, 2_000), guarded)
        losses = stream.losses(since, now, steps)
        rollout = advance(rollout, look_at(rollout, f"look-{now}", now, losses, sound), now)
        if rollout.state is not state:
            state, since, steps = rollout.state, now, []
        if state is RolloutState.RAMP and rollout.changed_at == now:
            steps.append((now, rollout.policy.ramp[rollout.step]))
    return rollout, now / DAY_S


def promoted_days(
    rows_a_day: float, gain: float, runs: int, dependence: Dependence = independent, strategy: Strategy = SUPERIOR
) -> list[float]:
    """The days of each rollout that promoted its candidate; whether days matter is told from rows of the same kind."""
    every_s = max(DAY_S / (24 if gain else 8), 20 / rows_a_day * DAY_S)  # equal ones take long
    days = []
    for seed in range(runs):
        rollout = start_rollout(rows_a_day, strategy, _seen_day_effects(seed, rows_a_day, dependence))
        longest = 6 * rollout.policy.max_duration_s / DAY_S
        ended, took = run_rollout(Stream(seed, rows_a_day, gain, dependence, longest), rollout, every_s)
        if ended.state is RolloutState.PROMOTED:
            days.append(took)
    return days


def promoted_in_time(runs: int, rows_a_day: float, gain: float, part: float = 1.0) -> float:
    """The share promoted within the greater of 14 days and the time in which 3,000 labels come, or a part of that."""
    limit = max(14.0, 3_000 / rows_a_day) * part
    return sum(days <= limit for days in promoted_days(rows_a_day, gain, runs)) / runs


def promoted(runs: int, rows_a_day: float, dependence: Dependence, strategy: Strategy = SUPERIOR) -> float:
    """The share of candidates promoted that are equal to the champion."""
    return len(promoted_days(rows_a_day, 0.0, runs, dependence, strategy)) / runs


def rows_to_proof(runs: int, gain: float, gate_rows: int = 0) -> float:
    """The median number of shadow rows after which the lower bound is above 0, looked at each 20 rows."""
    return float(np.median([_rows_to_proof(seed, gain, gate_rows, 40_000) for seed in range(runs)]))


def proofs(runs: int, gain: float, gate_rows: int, shadow_rows: int) -> float:
    """The share of candidates proven after the gate's rows and so many of shadow, at one-sided .05."""
    return float(np.mean([_rows_to_proof(seed, gain, gate_rows, shadow_rows) <= shadow_rows for seed in range(runs)]))


def _rows_to_proof(seed: int, gain: float, gate_rows: int, most: int) -> float:
    rng = np.random.default_rng([seed, 11])
    difference = gain * LOSS + SPREAD * rng.standard_normal(gate_rows + most)
    gate = sum_gate_rows(difference[:gate_rows], 0.05) if gate_rows else None
    policy = RolloutPolicy(min_rows=50, ramp=())
    rollout = begin("r1", "m", "1", "2", policy, 0.0, "ana", gate=gate)
    rows, shadow = 0, difference[gate_rows:]
    while rows < most:
        rows = min(most, max(rows + 20, round(1.02 * rows)))
        losses = PairedLosses(shadow[:rows], np.zeros(rows))
        look = look_at(rollout, str(rows), float(rows), losses, GuardedRequests(np.zeros(0), {}))
        if look.improvement is not None and look.improvement.low > 0:
            return float(rows)
    return float("inf")


def _seen_day_effects(seed: int, rows_a_day: float, dependence: Dependence) -> bool:
    """True where 30 days of the champion's own rows show that days matter, as `loop.rollout.traffic` asks."""
    rng = np.random.default_rng([seed, 13])
    times = np.sort(rng.uniform(0.0, 30 * DAY_S, int(30 * rows_a_day)))
    return have_block_effects(dependence(rng, times), np.floor(times / DAY_S))


_RATES = [5, 48, 300, 1_000, 5_000, 20_000]
_DEPENDENT: list[tuple[str, str, Dependence, str, str]] = [
    ("independent", "independent rows", independent, "<= .05", ".003"),
    ("ar-0.9", "AR(.9) rows", rows_alike(0.9), "<= .05", ""),
    ("days", "day effects of .1 sd", days_alike(0.1), "<= .1", ".10"),
    ("days-0.5", "day effects of .1 sd, AR(.5) days", days_alike(0.1, 0.5), "<= .1", ""),
    ("days-0.8", "day effects of .1 sd, AR(.8) days", days_alike(0.1, 0.8), "", ".26"),
    ("weeks", "better on weekends, by .1 sd", weeks_alike(0.1), "<= .05", ""),
]

CASES = [
    *(
        Case(
            f"rollout-power-{100 * gain:g}-at-{rate}",
            "rollout",
            f"independent, {rate} labels a day",
            f"promoted in time at +{100 * gain:g} %",
            ">= .9",
            20,
            lambda runs, rate=rate, gain=gain, part=part: promoted_in_time(runs, rate, gain, part),
            before,
        )
        for gain, part, befores in [
            (0.03, 1.0, ["0", "0", "0", "0", "1.00", "1.00"]),
            (0.1, 1 / 3, ["0", "0", "0", ".28", "1.00", "1.00"]),
        ]
        for rate, before in zip(_RATES, befores, strict=True)
    ),
    *(
        Case(
            f"rollout-false-{name}",
            "rollout",
            f"{stream}, 500 labels a day",
            "equal candidates promoted",
            asked,
            100,
            lambda runs, dependence=dependence: promoted(runs, 500, dependence),
            before,
        )
        for name, stream, dependence, asked, before in _DEPENDENT
    ),
    *(
        Case(
            f"shadow-rows-{100 * gain:g}",
            "shadow",
            "independent pairs",
            f"median rows to proof at +{100 * gain:g} %",
            f"<= {asked}",
            100,
            lambda runs, gain=gain: rows_to_proof(runs, gain),
            before,
        )
        for gain, asked, before in [
            (0.01, 7500, "10400"),
            (0.02, 2100, "3965"),
            (0.03, 1150, "2415"),
            (0.05, 550, "1410"),
        ]
    ),
    Case(
        "shadow-after-gate-power",
        "gate and shadow",
        "1,300 gate rows, 3,000 of shadow",
        "proven at +2 %, no refit",
        ">= .8",
        200,
        lambda runs: proofs(runs, 0.02, 1_300, 3_000),
        ".28",
    ),
    Case(
        "shadow-after-gate-false",
        "gate and shadow",
        "1,300 gate rows, 3,000 of shadow",
        "proven at 0 %, no refit",
        "<= .05",
        200,
        lambda runs: proofs(runs, 0.0, 1_300, 3_000),
        ".000",
    ),
]
