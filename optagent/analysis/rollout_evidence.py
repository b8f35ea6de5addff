"""Rollout evidence: the losses and guarded values of a rollout's rows, turned into a look to decide on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from optagent.arrays import Mask, Units, Vector
from optagent.domain.gate_evidence import GateEvidence
from optagent.domain.rollout import Rollout
from optagent.domain.rollout_look import GuardrailReading, Look, RolloutState, SampleRatio
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.domain.study import Interval
from optagent.errors import InvalidData, InvalidRequest
from optagent.sequential.ab_interval import count_matured_rows, first_rows_of_units, improvements, split_interval
from optagent.sequential.anytime_t import FEWEST_BLOCKS, have_block_effects, t_bounds
from optagent.sequential.blocks import block_length
from optagent.sequential.confidence_sequence import FEWEST_EFFECTIVE, ConfidenceSequence
from optagent.sequential.guardrail_test import guardrail
from optagent.sequential.sample_ratio import SampleRatioTest

_HARM_ALPHA: Mapping[RolloutState, Callable[[RolloutPolicy], float]] = {
    RolloutState.SHADOW: lambda policy: policy.shadow_alpha,
    RolloutState.RAMP: lambda policy: policy.ramp_alpha / 2,  # the other half is that of the split rows
    RolloutState.BAKING: lambda policy: policy.baking_alpha,
}
LARGEST_ALPHA = 0.49
"""The largest risk of a one-sided bound: a policy that asks for more gets this."""

_SUMS = ("origin", "total", "squares", "products", "last", "power", "fourth")
_TOO_FEW = "too few rows, or too few that differ by much, for a normal law"


@dataclass(frozen=True, slots=True, eq=False)
class PairedLosses:
    """The losses of both versions on the same rows, (rows,) each, in the order of requests.

    NaN in both is a row without a label, left out. `matured` tells the rows whose time for a label is over, by their
    age alone; None for all. `times` are POSIX seconds; without them no row belongs to a day.
    """

    champion: Vector
    candidate: Vector
    matured: Mask | None = None
    times: Vector | None = None

    def __post_init__(self) -> None:
        _check_lengths(self.champion, self.candidate, self.matured, self.times)


@dataclass(frozen=True, slots=True, eq=False)
class SplitLosses:
    """The requests of the whole ramp in their order, (rows,) each.

    `candidate` tells the arm that was drawn, whichever answered in the end, and `share` the chance that it was the
    candidate. `loss` is NaN where there is no label. `matured` tells the rows whose time for a label is over, by their
    age alone: never by whether the label is there. `units` are the sticky keys, None where each request was drawn for
    itself. `paired` are the losses of both versions on the same rows, where the other one was asked as well.
    """

    candidate: Mask
    share: Vector
    loss: Vector
    matured: Mask
    units: Units | None = None
    paired: PairedLosses | None = None

    def __post_init__(self) -> None:
        _check_lengths(self.candidate, self.share, self.loss, self.matured, self.units)


@dataclass(frozen=True, slots=True, eq=False)
class GuardedRequests:
    """The requests that the candidate was asked for since the rollout started, in the order of their times.

    `times` are POSIX seconds, (requests,); `flags` are the values between 0 and 1 of each guardrail, (requests,) each.
    """

    times: Vector
    flags: Mapping[str, Vector]

    def __post_init__(self) -> None:
        _check_lengths(self.times, *self.flags.values())


def look_at(
    rollout: Rollout,
    look_id: str,
    now: float,
    losses: PairedLosses | SplitLosses | None,
    guarded: GuardedRequests,
) -> Look:
    """The look at the rows since this state began (all steps of the ramp are one state), to advance the rollout with.

    Shadow and baking compare on the same rows, the ramp on split ones; InvalidRequest for the others.
    """
    readings = tuple(_guardrail_reading(name, limit, guarded) for name, limit in rollout.policy.guardrails.items())
    look = Look(look_id, now, rollout.state, rollout.step, guardrails=readings)
    if losses is None:
        return look
    if isinstance(losses, SplitLosses) != (rollout.state is RolloutState.RAMP):
        raise InvalidRequest(f"rollout {rollout.rollout_id} is {rollout.state}, got {type(losses).__name__}")
    if isinstance(losses, SplitLosses):
        return _split_look(look, rollout, losses)
    return _paired_look(look, rollout, losses)


def over_budget(latency_ms: Vector, budget_ms: float) -> Vector:
    """The flags of a guardrail: 1 for a request that took longer, or never answered (NaN)."""
    return np.asarray(~(latency_ms <= budget_ms), dtype=np.float64)


def paired_sequence(difference: Vector, policy: RolloutPolicy, alpha: float) -> ConfidenceSequence:
    """The state of an interval of the mean of differences on the same rows, in the order of time.

    Blocks are as long as the policy says, or as the first rows, those of the first look, need them to be: later ones
    change nothing about it.
    """
    block = policy.block or block_length(difference[: _first_look(policy)])
    return ConfidenceSequence(alpha, policy.horizon_rows, min(block, policy.horizon_rows)).after(difference)


def _paired_look(look: Look, rollout: Rollout, losses: PairedLosses) -> Look:
    difference, times = _matured_differences(losses)
    notes = []
    one_sided = int(np.count_nonzero(~np.isfinite(difference)))
    interval = None
    if one_sided:
        notes.append(f"{one_sided} rows have a loss of one version only")
    elif rollout.rules < 2:
        interval = _paired_interval(difference, rollout)
        notes += [] if interval or len(difference) < _first_look(rollout.policy) else [_TOO_FEW]
    else:
        interval, note = paired_bounds(difference, times, rollout)
        notes += [note] if note else []
    return _with_interval(look, len(difference), len(difference), interval, notes)


def _matured_differences(losses: PairedLosses) -> tuple[Vector, Vector | None]:
    """The differences of the labelled rows before the first that has not matured, and their times."""
    rows = len(losses.champion) if losses.matured is None else count_matured_rows(losses.matured)
    champion, candidate = losses.champion[:rows], losses.candidate[:rows]
    labelled = ~(np.isnan(champion) & np.isnan(candidate))
    times = None if losses.times is None else losses.times[:rows][labelled]
    return (champion - candidate)[labelled], times


def _paired_interval(difference: Vector, rollout: Rollout) -> Interval | None:
    """The two-sided interval by which rollouts of the first rules are judged."""
    policy = rollout.policy
    if len(difference) < _first_look(policy):
        return None
    alpha = policy.shadow_alpha if rollout.state is RolloutState.SHADOW else policy.baking_alpha
    return paired_sequence(difference, policy, alpha).interval()


def paired_bounds(difference: Vector, times: Vector | None, rollout: Rollout) -> tuple[Interval | None, str]:
    """The one-sided bounds of the mean difference on the same rows, in the order of time, and a note on them.

    A promotion has to pass every state, so the lower bound of each may err as often as the whole; the upper bounds, any
    of which rolls back, share the risk. Where the rows of a block of time go together the blocks are the observations,
    else the rows; the first two blocks of time have to be seen to tell.
    """
    policy = rollout.policy
    low_alpha, high_alpha = (min(risk, LARGEST_ALPHA) for risk in (policy.alpha, _HARM_ALPHA[rollout.state](policy)))
    by_rows = rollout.state is RolloutState.BAKING or not policy.block_s or times is None
    if not by_rows and times is not None:
        blocks = np.floor(times / policy.block_s)
        if len(np.unique(blocks)) < 2:
            return None, "the rows are of one block of time yet"
        if policy.block_effects or have_block_effects(difference, blocks):
            return _block_bounds(difference, blocks, low_alpha, high_alpha)
    gate = rollout.gate if rollout.state is RolloutState.SHADOW else None
    if len(difference) < _first_look(policy) and gate is None:
        return None, ""
    sequence = paired_sequence(difference, policy, high_alpha) if gate is None else _go_on(gate, difference, policy)
    low_alpha = low_alpha if gate is None else min(low_alpha, gate.alpha)
    interval = sequence.bounds(low_alpha, high_alpha, policy.tuned_rows)
    return interval, "" if interval else _TOO_FEW


def _go_on(gate: GateEvidence, difference: Vector, policy: RolloutPolicy) -> ConfidenceSequence:
    """The state after the rows of the gate and then those of shadow: one sequence of the same two models."""
    sums = {name: getattr(gate, name) for name in _SUMS}
    before = ConfidenceSequence(gate.alpha, max(policy.horizon_rows, gate.block), gate.block, gate.count, **sums)
    return before.after(difference)


def sum_gate_rows(difference: Vector, alpha: float) -> GateEvidence:
    """The evidence of (rows,) loss differences on a holdout, in the order of time, for shadow to go on from."""
    after = ConfidenceSequence(alpha, max(1, len(difference)), block_length(difference)).after(difference)
    return GateEvidence(alpha, after.block, after.count, **{name: getattr(after, name) for name in _SUMS})


def _block_bounds(
    difference: Vector, blocks: Vector, low_alpha: float, high_alpha: float
) -> tuple[Interval | None, str]:
    """Bounds from the means of whole blocks: the last one may still be under way."""
    _, block, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    means = (np.bincount(block, weights=difference) / counts)[:-1]
    interval = t_bounds(means, low_alpha, high_alpha)
    return interval, f"rows of one block of time go together: by {len(means)} of at least {FEWEST_BLOCKS} blocks"


def _first_look(policy: RolloutPolicy) -> int:
    """The number of rows below which there is no interval."""
    return max(policy.min_rows, int(FEWEST_EFFECTIVE))


def _split_look(look: Look, rollout: Rollout, losses: SplitLosses) -> Look:
    policy, rows = rollout.policy, count_matured_rows(losses.matured)
    labelled = np.flatnonzero(~np.isnan(losses.loss[:rows]))
    notes = [f"{rows - len(labelled)} matured rows have no label"] if len(labelled) < rows else []
    candidate, share = losses.candidate[labelled], losses.share[labelled]
    units = None if losses.units is None else losses.units[labelled]
    values = improvements(candidate, share, losses.loss[labelled])
    interval = split_interval(values, candidate, share, policy.ramp_alpha, policy.ramp_horizon_rows, units)
    notes += [] if interval else [_TOO_FEW]
    steps = share if rollout.rules < 2 else losses.share
    of_step = int(np.count_nonzero(np.isclose(steps, policy.ramp[rollout.step])))
    look = _with_interval(look, len(values), of_step, interval, notes, _sample_ratio(losses, labelled))
    if losses.paired is None or rollout.rules < 2:
        return look
    paired, _ = paired_bounds(*_matured_differences(losses.paired), rollout)
    return replace(look, paired=paired)


def _sample_ratio(losses: SplitLosses, labelled: npt.NDArray[np.int64]) -> SampleRatio:
    """The ratio of all requests, or of those with a label where these are further from the share that was meant.

    Two tests share one budget, so each needs twice the evidence.
    """
    tests = []
    for rows in (np.arange(len(losses.candidate)), labelled):
        assigned = rows if losses.units is None else rows[first_rows_of_units(losses.units[rows])]
        tests.append(SampleRatioTest().after(losses.candidate[assigned], losses.share[assigned]))
    worst = max(tests, key=lambda test: test.e_value)
    return SampleRatio(worst.rows, worst.expected_share, worst.observed_share, worst.e_value / 2)


def _guardrail_reading(name: str, limit: float, guarded: GuardedRequests) -> GuardrailReading:
    values = guarded.flags.get(name)
    if values is None:
        return GuardrailReading(name, limit, 0, None, None)
    state = guardrail(limit).after(values, guarded.times)
    return GuardrailReading(name, limit, state.rows, state.rate, state.e_value)


def _with_interval(
    look: Look, rows: int, step_rows: int, interval: Interval | None, notes: list[str], ratio: SampleRatio | None = None
) -> Look:
    return Look(
        look.look_id, look.at, look.state, look.step, rows, step_rows, interval, look.guardrails, ratio, tuple(notes)
    )


def _check_lengths(first: npt.NDArray[np.generic], *others: npt.NDArray[np.generic] | None) -> None:
    wrong = [len(other) for other in others if other is not None and len(other) != len(first)]
    if wrong:
        raise InvalidData(f"the columns must be of one length, got {len(first)} and {wrong[0]}")
