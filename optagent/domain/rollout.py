"""Rollout: a candidate's state machine of shadow, ramp and baking; looks at the evidence move it forward or back.

All objects are immutable: `advance`, `promote`, `abort` and `rollback` return the rollout in its next state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from optagent.domain.gate import Verdict
from optagent.domain.gate_evidence import GateEvidence
from optagent.domain.rollout_look import JudgedLook, Look, RolloutState
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import Conflict, InvalidRequest


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state or step: its POSIX time, author and reason, and the id of the look that caused it, if any.

    `looks` is the number of looks up to then, that look included; None in the data of older versions. `decision_id` is
    the id of a decision by hand, and the same for each repetition of the request for it; None for any other transition,
    and in the data of older versions.
    """

    at: float
    state: RolloutState
    step: int
    by: str
    reason: str
    look_id: str | None = None
    looks: int | None = None
    decision_id: str | None = None

    @property
    def is_automatic(self) -> bool:
        """True where no person decided it, whatever the person's name."""
        return self.by == AUTOMATIC and self.decision_id is None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout of the version `candidate` against the version `champion`.

    `step` is that of the ramp; times are POSIX seconds. Every look and every transition is kept, in order. `settled` is
    the number of transitions that the router, the registry and the audit log have followed; the others are decided but
    still to be carried out. `rules` tells the version of the rules of judgement: those of its beginning hold to its
    end, and for its replays. `gate` is the evidence of the candidate's holdout that shadow goes on from, if it may.
    """

    rollout_id: str
    model_id: str
    champion: str
    candidate: str
    policy: RolloutPolicy
    state: RolloutState
    started_at: float
    changed_at: float
    step: int = 0
    looks: tuple[JudgedLook, ...] = ()
    transitions: tuple[Transition, ...] = ()
    settled: int = 0
    rules: int = 1
    gate: GateEvidence | None = None

    def __post_init__(self) -> None:
        if self.champion == self.candidate:
            raise InvalidRequest(f"version {self.candidate} is the champion already, it cannot be the candidate")

    @property
    def is_settled(self) -> bool:
        return self.settled == len(self.transitions)

    @property
    def holder(self) -> str:
        """The version in the champion's place."""
        promoted = self.state in (RolloutState.BAKING, RolloutState.PROMOTED)
        return self.candidate if promoted else self.champion


AUTOMATIC = "optagent"
"""The author of what the product does by itself, such as the transitions that a look causes."""

RULES = 2
"""The version of the rules of judgement. From 2 on, a guardrail alarms only while its rate is above the limit, and
nothing is promoted meanwhile; shadow proves by a one-sided bound at the whole alpha, and the ramp after it needs
guardrails and sample ratio, not another proof; and patience is that of a state or step, not of the whole."""


def begin(
    rollout_id: str,
    model_id: str,
    champion: str,
    candidate: str,
    policy: RolloutPolicy,
    now: float,
    who: str,
    rules: int = RULES,
    gate: GateEvidence | None = None,
) -> Rollout:
    """A rollout in its first state; InvalidRequest where the candidate is the champion."""
    state = RolloutState.SHADOW if policy.shadow else RolloutState.RAMP
    first = Transition(now, state, 0, who, "started", looks=0)
    return Rollout(
        rollout_id, model_id, champion, candidate, policy, state, now, now, transitions=(first,), rules=rules, gate=gate
    )


def shares(rollout: Rollout) -> Mapping[str, float]:
    """The share of the requests that each version answers, by version."""
    if rollout.state is RolloutState.RAMP:
        share = rollout.policy.ramp[rollout.step]
        return {rollout.champion: 1 - share, rollout.candidate: share}
    if rollout.state in (RolloutState.BAKING, RolloutState.PROMOTED):
        return {rollout.candidate: 1.0}
    return {rollout.champion: 1.0}


def shadow_version(rollout: Rollout) -> str | None:
    """The version that gets a copy of each request and whose answers are discarded; None without one.

    In shadow that is the candidate, while baking the former champion.
    """
    return {RolloutState.SHADOW: rollout.candidate, RolloutState.BAKING: rollout.champion}.get(rollout.state)


def advance(rollout: Rollout, look: Look, now: float) -> Rollout:
    """The rollout after a look; a repeated look changes nothing.

    Harm and alarms roll back at once, in any state. A look promotes only from the state and step that it was made in,
    and never where a statistic is missing. Raises Conflict for a rollout that has ended and InvalidRequest for evidence
    that was computed by other rules than the policy's.
    """
    if any(each.look.look_id == look.look_id for each in rollout.looks):
        return rollout
    if not rollout.state.is_active:
        raise Conflict(f"rollout {rollout.rollout_id} is {rollout.state}, it takes no more looks")
    _check_look(rollout, look)
    look = look.without_invalid_numbers
    verdict, reason = _judge_look(rollout, look, now)
    after = replace(rollout, looks=(*rollout.looks, JudgedLook(look, verdict, reason, now)))
    if verdict is Verdict.FAIL:
        return _apply_transition(after, Transition(now, RolloutState.ROLLED_BACK, 0, AUTOMATIC, reason, look.look_id))
    if verdict is Verdict.PASS:
        if rollout.state is RolloutState.SHADOW and rollout.policy.hold:
            return after
        return _apply_transition(after, Transition(now, *_next_state(rollout), AUTOMATIC, reason, look.look_id))
    timeout = _reason_to_stop(rollout, look, now)
    if timeout:
        why = f"{timeout}; {reason}"
        return _apply_transition(after, Transition(now, RolloutState.INCONCLUSIVE, 0, AUTOMATIC, why, look.look_id))
    return after


def promote(rollout: Rollout, who: str, why: str, now: float, decision_id: str | None = None) -> Rollout:
    """The rollout with the candidate in the champion's place, under observation; from baking, with the baking ended."""
    target = RolloutState.PROMOTED if rollout.state is RolloutState.BAKING else RolloutState.BAKING
    return _move_by_hand(rollout, "promoted", Transition(now, target, 0, who, why, decision_id=decision_id))


def abort(rollout: Rollout, who: str, why: str, now: float, decision_id: str | None = None) -> Rollout:
    """The rollout ended before the champion was replaced, with all requests back at the champion."""
    if rollout.state is RolloutState.BAKING:
        raise Conflict(f"rollout {rollout.rollout_id} is {rollout.state}: it can be rolled back, not aborted")
    change = Transition(now, RolloutState.ABORTED, 0, who, why, decision_id=decision_id)
    return _move_by_hand(rollout, "aborted", change)


def rollback(rollout: Rollout, who: str, why: str, now: float, decision_id: str | None = None) -> Rollout:
    """The rollout ended with the former champion in its place again."""
    if rollout.state not in (RolloutState.BAKING, RolloutState.PROMOTED):
        raise Conflict(f"rollout {rollout.rollout_id} is {rollout.state}: only what was promoted can be rolled back")
    return _apply_transition(rollout, Transition(now, RolloutState.ROLLED_BACK, 0, who, why, decision_id=decision_id))


def _move_by_hand(rollout: Rollout, verb: str, change: Transition) -> Rollout:
    if not rollout.state.is_active:
        raise Conflict(f"rollout {rollout.rollout_id} is {rollout.state}, it cannot be {verb}")
    return _apply_transition(rollout, change)


def _apply_transition(rollout: Rollout, change: Transition) -> Rollout:
    change = replace(change, looks=len(rollout.looks))
    return replace(
        rollout,
        state=change.state,
        step=change.step,
        changed_at=change.at,
        transitions=(*rollout.transitions, change),
    )


def _next_state(rollout: Rollout) -> tuple[RolloutState, int]:
    if rollout.state is RolloutState.BAKING:
        return RolloutState.PROMOTED, 0
    step = 0 if rollout.state is RolloutState.SHADOW else rollout.step + 1
    return (RolloutState.RAMP, step) if step < len(rollout.policy.ramp) else (RolloutState.BAKING, 0)


def _judge_look(rollout: Rollout, look: Look, now: float) -> tuple[Verdict, str]:
    alarm = _harm_text(rollout, look)
    if alarm:
        return Verdict.FAIL, alarm
    if (look.state, look.step) != (rollout.state, rollout.step):
        return Verdict.INCONCLUSIVE, f"the look is of {look.state} {look.step}, the rollout has moved on"
    wait = _reason_to_wait(rollout, look, now)
    if wait:
        return Verdict.INCONCLUSIVE, wait
    missing = _missing_statistics(rollout, look)
    if missing:
        return Verdict.ERROR, f"no value for {', '.join(missing)}"
    excess = _excess_text(rollout, look)
    if excess:
        return Verdict.INCONCLUSIVE, excess
    if rollout.state is RolloutState.BAKING:
        return Verdict.PASS, f"no harm in {rollout.policy.baking_s:g} s"
    if not _needs_proof(rollout):
        return Verdict.PASS, f"no harm in {look.step_rows} rows of this step"
    interval, margin = look.improvement, _margin(rollout)
    if interval is not None and interval.low > -margin:
        return Verdict.PASS, f"improvement at least {interval.low:.6g}, above {-margin:.6g}"
    return Verdict.INCONCLUSIVE, f"not proved yet that the improvement is above {-margin:.6g}"


def _reason_to_wait(rollout: Rollout, look: Look, now: float) -> str:
    """The condition to wait for before any judgement; empty for none."""
    if rollout.state is RolloutState.BAKING:
        left = rollout.changed_at + rollout.policy.baking_s - now
        return f"baking for {left:g} s more" if left > 0 else ""
    least = rollout.policy.min_rows
    if rollout.state is RolloutState.RAMP and not _needs_proof(rollout):
        least = rollout.policy.step_rows or least
    return f"{look.step_rows} rows of {least}" if look.step_rows < least else ""


def _reason_to_stop(rollout: Rollout, look: Look, now: float) -> str:
    """The reason to end an undecided rollout; empty for none."""
    policy = rollout.policy
    ramp = rollout.state is RolloutState.RAMP
    horizon = policy.ramp_horizon_rows if ramp else policy.horizon_rows
    if rollout.state is not RolloutState.BAKING and look.state is rollout.state and look.rows >= horizon:
        return f"{look.rows} rows were looked at, the horizon is {horizon}"
    since = patience_since(rollout)
    if now - since > policy.max_duration_s:
        return f"undecided for {now - since:g} s, max_duration_s is {policy.max_duration_s:g}"
    return ""


def patience_since(rollout: Rollout) -> float:
    """The POSIX time from which the patience with the present state counts."""
    is_of_state = rollout.state is RolloutState.BAKING or rollout.rules >= 2
    return rollout.changed_at if is_of_state else rollout.started_at


def _check_look(rollout: Rollout, look: Look) -> None:
    policy, interval = rollout.policy, look.improvement
    alphas = {
        RolloutState.SHADOW: policy.shadow_alpha,
        RolloutState.RAMP: policy.ramp_alpha,
        RolloutState.BAKING: policy.baking_alpha,
    }
    if look.state not in alphas:
        raise InvalidRequest(f"a look cannot be of {look.state}; one of {sorted(alphas)}")
    alpha = alphas[look.state] if rollout.rules < 2 or look.state is RolloutState.RAMP else policy.alpha
    if interval is not None and not interval.alpha <= alpha * (1 + 1e-9):
        raise InvalidRequest(f"the improvement has alpha {interval.alpha}, {look.state} may spend {alpha}")
    for reading in look.guardrails:
        if policy.guardrails.get(reading.name) != reading.limit:
            limits = dict(policy.guardrails)
            raise InvalidRequest(f"guardrail {reading.name} with limit {reading.limit} is none of {limits}")


def _margin(rollout: Rollout) -> float:
    policy = rollout.policy
    return policy.step_margin(rollout.step) if rollout.state is RolloutState.RAMP else policy.margin


def _harm_text(rollout: Rollout, look: Look) -> str:
    """The harm that a look shows; empty for none."""
    policy, ratio = rollout.policy, look.sample_ratio
    for reading in look.guardrails:
        is_above = rollout.rules < 2 or reading.rate is None or reading.rate > reading.limit
        if reading.e_value is not None and reading.e_value >= 1 / policy.guardrail_alpha and is_above:
            evidence = f"above {reading.limit:g}, e-value {reading.e_value:.4g}"
            return f"{reading.name}: rate {_format_number(reading.rate)} {evidence}"
    if ratio is not None and ratio.e_value is not None and ratio.e_value >= 1 / policy.sample_ratio_alpha:
        evidence = f"where {_format_number(ratio.expected)} was meant, e-value {ratio.e_value:.4g}"
        return f"sample ratio {_format_number(ratio.observed)} {evidence}"
    margin = policy.harm_margin_of_ramp if look.state is RolloutState.RAMP else policy.margin
    enough = rollout.state is RolloutState.BAKING or look.rows >= policy.min_rows
    interval, paired = look.improvement, look.paired
    if look.state is rollout.state and enough and interval is not None and interval.high < -margin:
        return f"improvement at most {interval.high:.6g}, below {-margin:.6g}"
    if look.state is rollout.state and paired is not None and paired.high < -policy.margin:
        return f"improvement on the same rows at most {paired.high:.6g}, below {-policy.margin:.6g}"
    return ""


def _needs_proof(rollout: Rollout) -> bool:
    """True in shadow, and in a ramp that no shadow came before."""
    is_unproved = rollout.rules < 2 or not rollout.policy.shadow
    return rollout.state is RolloutState.SHADOW or (rollout.state is RolloutState.RAMP and is_unproved)


def _excess_text(rollout: Rollout, look: Look) -> str:
    """The guardrail whose rate is above its limit, though not yet beyond doubt; empty for none."""
    for reading in look.guardrails:
        if rollout.rules >= 2 and reading.rate is not None and reading.rate > reading.limit:
            return f"{reading.name}: rate {_format_number(reading.rate)} above {reading.limit:g}, not yet beyond doubt"
    return ""


def _missing_statistics(rollout: Rollout, look: Look) -> list[str]:
    """The statistics that a promotion needs and the look lacks."""
    present = {reading.name for reading in look.guardrails if reading.rows > 0 and reading.e_value is not None}
    missing = sorted(set(rollout.policy.guardrails) - present)
    ratio = look.sample_ratio
    if rollout.state is RolloutState.RAMP and (ratio is None or ratio.e_value is None):
        missing.append("the sample ratio")
    if _needs_proof(rollout) and look.improvement is None:
        missing.append("the improvement")
    return missing


def _format_number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
