"""Rollout look: reads the evidence once there is more of it, and advances the rollout by it."""

import asyncio
from dataclasses import replace

from optagent.analysis.rollout_evidence import PairedLosses, SplitLosses, look_at
from optagent.domain.model import ModelSpec
from optagent.domain.rollout import Rollout, advance, patience_since
from optagent.domain.rollout_look import Look, RolloutState
from optagent.errors import InvalidData, NotFound
from optagent.loop.observe.reference import Reference, decode_reference
from optagent.loop.observe.window_rows import EARLY_LABELS_S
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.evidence import (
    RolloutRows,
    guarded_requests,
    labels_for,
    read_rollout_rows,
    rollout_losses,
    row_loss,
)
from optagent.ports import Observations
from optagent.serving.evidence_record import count_outputs

GROWTH = 1.02  # of rows from one look to the next: 350 looks from the 1,000th row to the millionth
_REST = 20  # times what reading took: it then takes 5 % of a core at most
_EARLY_ROWS_S = 60.0  # by clocks of gateways that disagree with ours


def is_look_due(rollout: Rollout, look: Look, now: float) -> bool:
    """True where a look can decide more than the one before: there are more rows, or a time limit has passed."""
    earlier = [judged.look for judged in rollout.looks if judged.look.state is rollout.state]
    compared_rows = earlier[-1].rows if earlier else 0
    guarded_rows = _guarded_rows(rollout.looks[-1].look) if rollout.looks else 0
    if _has_grown(look.rows, compared_rows) or _has_grown(_guarded_rows(look), guarded_rows):
        return True
    last = earlier[-1].at if earlier else float("-inf")
    return any(last < end <= now for end in _time_limits(rollout))


async def look_and_advance(rollout: Rollout, spec: ModelSpec, context: RolloutContext) -> Rollout:
    """The rollout after a look at all rows recorded so far; unchanged where they hold nothing new.

    Every look reads all rows of the rollout, so the next one waits 20 times as long as this one took: a few rows are
    looked at by every pass, half a million rows, which took 2 s of a core, every 40 s. Raises Conflict where another
    pass was sooner.
    """
    start = context.clock.now()
    if context.backoff.rest_reason(rollout.rollout_id, start) is not None:
        return rollout
    look = await asyncio.to_thread(take_look, rollout, spec, context.observations, start)
    end = context.clock.now()
    context.backoff.rest(rollout.rollout_id, end + _REST * (end - start))
    if not is_look_due(rollout, look, start):
        return rollout
    after = advance(rollout, look, start)
    await context.store.save_rollout(after, rollout)
    return after


def take_look(rollout: Rollout, spec: ModelSpec, observations: Observations, now: float) -> Look:
    """A look at all rows recorded so far; blocks.

    The champion's reference tells how labels are read. Without it the look holds only the guardrails, which can end a
    rollout but never advance a candidate.
    """
    look_id = f"look-{len(rollout.looks) + 1}"
    observations.drain(rollout.model_id)
    tables = observations.evidence(rollout.model_id, rollout.started_at - _EARLY_ROWS_S)
    try:
        reference = decode_reference(observations.reference(rollout.model_id, rollout.champion))
    except (NotFound, InvalidData) as error:
        evidence = read_rollout_rows(tables, rollout.rollout_id, outputs=1)
        look = look_at(rollout, look_id, now, None, guarded_requests(evidence, rollout))
        return replace(look, notes=(f"no losses: {error}",))
    evidence = read_rollout_rows(
        tables, rollout.rollout_id, count_outputs(reference.schema.task, reference.schema.classes)
    )
    losses = _observed_losses(rollout, spec, reference, evidence, observations, now)
    return look_at(rollout, look_id, now, losses, guarded_requests(evidence, rollout))


def _observed_losses(
    rollout: Rollout,
    spec: ModelSpec,
    reference: Reference,
    evidence: RolloutRows,
    observations: Observations,
    now: float,
) -> PairedLosses | SplitLosses | None:
    labels = observations.labels(rollout.model_id, rollout.started_at - EARLY_LABELS_S)
    y = labels_for(evidence, labels, reference.schema)
    loss = row_loss(reference.schema.task, spec.metric, reference.observed)
    return rollout_losses(evidence, y, loss, rollout, now)


def _has_grown(rows: int, before: int) -> bool:
    return rows >= max(before + 1, before * GROWTH)


def _guarded_rows(look: Look) -> int:
    return max((reading.rows for reading in look.guardrails), default=0)


def _time_limits(rollout: Rollout) -> list[float]:
    """The times (POSIX seconds) at which the rollout has to be decided without any new row."""
    policy, patience = rollout.policy, patience_since(rollout) + rollout.policy.max_duration_s
    return [patience, rollout.changed_at + policy.baking_s] if rollout.state is RolloutState.BAKING else [patience]
