"""Reconciliation: router, registry and audit log do what the journal says.

The journal, a rollout in the store, is written first and says what is meant. Then comes the router, which is what
requests feel; then the registry's alias, the audit log, and in the journal that all of it is done. So whoever comes
after a kill, at whatever write, finds what is meant and does what is left of it. Doing any of it twice changes nothing,
but that an audit entry may stand twice. The alias `challenger` is left where it is: it names what was compared last.
"""

import asyncio
import hashlib
import logging
from dataclasses import replace

from optagent.codec import decode, encode, shape_of
from optagent.domain.audit import AuditEntry
from optagent.domain.model import CHAMPION
from optagent.domain.rollout import AUTOMATIC, Rollout, Transition, abort, rollback
from optagent.domain.rollout_look import RolloutState
from optagent.domain.routing import RoutingTable, table_of
from optagent.errors import Conflict, Unavailable
from optagent.loop.rollout.activate import PATIENCE_S, Activation, TableNotLoaded
from optagent.loop.rollout.context import RolloutContext

_log = logging.getLogger(__name__)

LOAD_LIMIT_S = 120.0
"""How long gateways may take to load what a rollout needs before it is given up."""

_TRIES = 5


async def follow(rollout_id: str, context: RolloutContext, patience_s: float = PATIENCE_S) -> Rollout:
    """Has everything follow a rollout as it is kept now, and answers it.

    One that the gateways cannot load is ended, with their reason. A champion that was moved by hand ends a rollout as
    well, and stays. Raises TableNotLoaded where gateways are not ready within `patience_s`; the next call goes on.
    """
    pointed: set[str] = set()
    for _ in range(_TRIES):
        rollout = await context.store.rollout(rollout_id)
        try:
            return await _followed(rollout, context, patience_s, pointed)
        except Conflict as error:  # somebody else was sooner: what is meant may be another thing now
            lost = error
    raise lost


async def follow_decision(rollout: Rollout, context: RolloutContext) -> Rollout:
    """The rollout once everything follows it. A part that is away follows later: the decision stands all the same."""
    try:
        return await follow(rollout.rollout_id, context)
    except (Conflict, Unavailable) as error:
        _log.warning("%s of %s is decided, not everything follows yet: %s", rollout.state, rollout.model_id, error)
        return await context.store.rollout(rollout.rollout_id)


async def follow_registry(model_id: str, context: RolloutContext, patience_s: float = PATIENCE_S) -> Activation | None:
    """Has the router follow the registry's champion, as without a rollout; None where there is no champion."""
    champion = await context.champion(model_id)
    return None if champion is None else await context.activate(RoutingTable(model_id, 1, champion), patience_s)


def given_up(rollout: Rollout, why: str, now: float) -> Rollout:
    """An active rollout, ended with the champion of before in its place."""
    end = rollback if rollout.state is RolloutState.BAKING else abort
    return end(rollout, AUTOMATIC, why, now)


def audit_entry(rollout: Rollout, transition: Transition) -> AuditEntry:
    return AuditEntry(
        transition.at,
        transition.by,
        f"rollout.{transition.state.name.lower()}",
        rollout.model_id,
        detail={
            "rollout_id": rollout.rollout_id,
            "champion": rollout.champion,
            "candidate": rollout.candidate,
            "step": transition.step,
            "reason": transition.reason,
            "look_id": transition.look_id,
            "evidence": evidence_digest(rollout, transition.looks),
        },
    )


def evidence_digest(rollout: Rollout, looks: int | None) -> str | None:
    """SHA-256 of the rules of a rollout and of its first looks, so that whoever has the log knows when one was altered.

    Before it, by a colon, stands how this version writes them: what another wrote is not to be compared. None for a
    transition that an older version made, which does not say how many looks there were.
    """
    if looks is None:
        return None
    kept = decode(Rollout, encode(rollout))  # as any later reader has it
    found = hashlib.sha256(encode(kept.policy))
    for judged in kept.looks[:looks]:
        found.update(encode(judged))
    return f"{hashlib.sha256(shape_of(Rollout)).hexdigest()[:12]}:{found.hexdigest()}"


async def _followed(rollout: Rollout, context: RolloutContext, patience_s: float, pointed: set[str]) -> Rollout:
    """One try; `pointed` are the versions that this caller has pointed the alias to, whoever has gone on since."""
    if rollout.is_settled and rollout.state.is_active:
        champion = await context.champion(rollout.model_id)
        if champion not in (None, rollout.holder, *pointed):
            ended = given_up(rollout, f"version {champion} was made champion by hand", context.clock.now())
            return await _settled(ended, rollout, context)
    table = table_of(rollout.model_id, 1, rollout.holder, rollout)
    try:
        await context.activate(table, patience_s, insist=not rollout.state.is_active)
    except TableNotLoaded as error:
        if not (rollout.state.is_active and (error.refused or _overdue(rollout, context))):
            raise
        ended = given_up(rollout, str(error), context.clock.now())
        await context.store.save_rollout(ended, rollout)
        return await _followed(ended, context, patience_s, pointed)
    if rollout.is_settled and not pointed:
        return rollout
    await _point(rollout, context, pointed)
    return rollout if rollout.is_settled else await _settled(rollout, rollout, context)


def _overdue(rollout: Rollout, context: RolloutContext) -> bool:
    """Whether this process has waited for gateways for long enough; another one's waiting does not count."""
    now = context.clock.now()
    since = context.backoff.first_seen(f"{rollout.rollout_id}: {len(rollout.transitions)}", now)
    return not rollout.is_settled and now - since > LOAD_LIMIT_S


async def _point(rollout: Rollout, context: RolloutContext, pointed: set[str]) -> None:
    """Has the alias name the holder, unless it was put right before and somebody else has moved it since.

    The registry has no fence against a writer that is late, so the journal is read once more before, and by `_settled`
    after: who finds that it has gone on puts right what was his own doing.
    """
    champion = await context.champion(rollout.model_id)
    by_hand = champion not in (None, rollout.champion, rollout.candidate)
    if champion == rollout.holder or by_hand or (rollout.is_settled and champion not in pointed):
        return
    if await context.store.rollout(rollout.rollout_id) != rollout:
        raise Conflict(f"rollout {rollout.rollout_id} has gone on")
    pointed.add(rollout.holder)
    await asyncio.to_thread(context.registry.set_alias, rollout.model_id, CHAMPION, rollout.holder)


async def _settled(rollout: Rollout, before: Rollout, context: RolloutContext) -> Rollout:
    """The rollout, in the journal as one that everything has followed; raises Conflict where it has gone on."""
    for transition in rollout.transitions[rollout.settled :]:
        await context.store.append_audit(audit_entry(rollout, transition))
    settled = replace(rollout, settled=len(rollout.transitions))
    await context.store.save_rollout(settled, before)
    return settled
