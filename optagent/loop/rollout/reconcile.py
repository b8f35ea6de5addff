"""Rollout reconciliation: router, registry and audit log are brought to the state that the journal asks for.

The journal is the rollout in the store. It is written first, with the intended state. The router follows, which decides
who answers requests; then the registry's alias and the audit log, and last the journal is marked as settled. After a
kill between any two of these writes, the next pass reads the intended state and does the rest. Repeating a write
changes nothing, except that an audit entry may appear twice. The alias `challenger` stays where it is: it names the
version that was compared last.
"""

import asyncio
import hashlib
import logging
from dataclasses import replace

from optagent.codec import decode, encode, plain, shape_of
from optagent.domain.audit import AuditEntry, bound_entry
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import CHAMPION, ModelVersion
from optagent.domain.rollout import AUTOMATIC, Rollout, Transition, abort, rollback
from optagent.domain.rollout_look import JudgedLook, RolloutState
from optagent.domain.routing import RoutingTable, table_of
from optagent.errors import Conflict, Unavailable
from optagent.loop.rollout.activate import PATIENCE_S, Activation, TableNotLoaded
from optagent.loop.rollout.context import RolloutContext

_log = logging.getLogger(__name__)

LOAD_LIMIT_S = 120.0
"""Time in which gateways have to load the versions of a rollout, in seconds; after it the rollout is given up."""

_TRIES = 5
_NEWER_RULES = frozenset({"tuned_rows", "block_s", "block_effects", "step_rows"})


async def follow(rollout_id: str, context: RolloutContext, patience_s: float = PATIENCE_S) -> Rollout:
    """Brings router, registry and audit log to the stored state of a rollout, and answers the rollout.

    A rollout whose versions the gateways cannot load is ended, with their reason. A champion that was moved by hand
    also ends a rollout, and stays. Raises TableNotLoaded where gateways are not ready within `patience_s`; the next
    call goes on.
    """
    pointed: set[str] = set()
    for _ in range(_TRIES):
        rollout = await context.store.rollout(rollout_id)
        try:
            return await _try_follow(rollout, context, patience_s, pointed)
        except Conflict as error:  # another writer was sooner: the intended state may be a different one now
            conflict = error
    raise conflict


async def follow_decision(rollout: Rollout, context: RolloutContext) -> Rollout:
    """The rollout once router, registry and audit log follow it. A part that is down follows later: the decision holds.

    The decision is in the journal already, so the next supervisor pass completes it.
    """
    try:
        return await follow(rollout.rollout_id, context)
    except (Conflict, Unavailable) as error:
        _log.warning("%s of %s is decided, not everything follows yet: %s", rollout.state, rollout.model_id, error)
        return await context.store.rollout(rollout.rollout_id)


async def follow_champion(
    champion: ModelVersion, mixture: MixtureWeights | None, context: RolloutContext, patience_s: float = PATIENCE_S
) -> Activation:
    """Routes all requests of a model without a rollout to the registry's champion, or to a mixture beside it."""
    digests = {champion.version: champion.digest}
    table = RoutingTable(champion.model_id, 1, champion.version, digests=digests, mixture=mixture)
    return await context.activate(table, patience_s)


def give_up(rollout: Rollout, why: str, now: float) -> Rollout:
    """The end of an active rollout, with the champion of before in its place."""
    end = rollback if rollout.state is RolloutState.BAKING else abort
    return end(rollout, AUTOMATIC, why, now)


def audit_entry(rollout: Rollout, transition: Transition) -> AuditEntry:
    entry = AuditEntry(
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
    return bound_entry(entry)  # as the log has it


def evidence_digest(rollout: Rollout, looks: int | None) -> str | None:
    """SHA-256 of the rules of a rollout and of its first looks: a reader of the log sees by it when one was altered.

    A digest of the form in which this version writes them stands before it, with a colon: digests of different forms
    cannot be compared. None for a transition of an older version, which does not hold the number of looks.
    """
    if looks is None:
        return None
    stored = decode(Rollout, encode(rollout))  # as any later reader has it
    digest = hashlib.sha256(_encode_rules(stored))
    for judged in stored.looks[:looks]:
        digest.update(_encode_look(judged, stored.rules))
    return f"{hashlib.sha256(shape_of(Rollout)).hexdigest()[:12]}:{digest.hexdigest()}"


def _encode_rules(rollout: Rollout) -> bytes:
    """The rules as they are digested: those of the first version without what they did not know."""
    rules = plain(rollout.policy)
    if rollout.rules == 1:
        return encode({name: value for name, value in rules.items() if name not in _NEWER_RULES})
    return encode({**rules, "rules": rollout.rules, "gate": plain(rollout.gate)})


def _encode_look(judged: JudgedLook, rules: int) -> bytes:
    """A judged look as it is digested: one by the first rules without what they did not know."""
    if rules > 1:
        return encode(judged)
    written = plain(judged)
    return encode({**written, "look": {name: value for name, value in written["look"].items() if name != "paired"}})


async def _try_follow(rollout: Rollout, context: RolloutContext, patience_s: float, pointed: set[str]) -> Rollout:
    """One try of `follow`; `pointed` are the versions to which this caller has pointed the alias in any try."""
    if rollout.is_settled and rollout.state.is_active:
        champion = await context.champion(rollout.model_id)
        if champion not in (None, rollout.holder, *pointed):
            ending = give_up(rollout, f"version {champion} was made champion by hand", context.clock.now())
            return await _settle(ending, rollout, context)
    table = table_of(rollout.model_id, 1, rollout.holder, rollout)
    try:
        await context.activate(table, patience_s, insist=not rollout.state.is_active)
    except TableNotLoaded as error:
        if not (rollout.state.is_active and (error.refused or _is_overdue(rollout, context))):
            raise
        ending = give_up(rollout, str(error), context.clock.now())
        await context.store.save_rollout(ending, rollout)
        return await _try_follow(ending, context, patience_s, pointed)
    if rollout.is_settled and not pointed:
        return rollout
    await _point_alias(rollout, context, pointed)
    return rollout if rollout.is_settled else await _settle(rollout, rollout, context)


def _is_overdue(rollout: Rollout, context: RolloutContext) -> bool:
    """True where this process has waited for gateways for long enough; the waiting of others does not count."""
    now = context.clock.now()
    since = context.backoff.first_seen(f"{rollout.rollout_id}: {len(rollout.transitions)}", now)
    return not rollout.is_settled and now - since > LOAD_LIMIT_S


async def _point_alias(rollout: Rollout, context: RolloutContext, pointed: set[str]) -> None:
    """Points the alias to the holder, unless that was done before and somebody else has moved it since.

    The registry cannot refuse a late writer, so the journal is read once more before the write, and compared by
    `_settle` after it: a writer that finds a newer journal corrects its own write.
    """
    champion = await context.champion(rollout.model_id)
    by_hand = champion not in (None, rollout.champion, rollout.candidate)
    if champion == rollout.holder or by_hand or (rollout.is_settled and champion not in pointed):
        return
    if await context.store.rollout(rollout.rollout_id) != rollout:
        raise Conflict(f"rollout {rollout.rollout_id} has gone on")
    pointed.add(rollout.holder)
    await asyncio.to_thread(context.registry.set_alias, rollout.model_id, CHAMPION, rollout.holder)


async def _settle(rollout: Rollout, before: Rollout, context: RolloutContext) -> Rollout:
    """Marks a rollout as settled in the journal, and logs its transitions; Conflict where the journal is newer."""
    for transition in rollout.transitions[rollout.settled :]:
        await context.store.append_audit(audit_entry(rollout, transition))
    settled = replace(rollout, settled=len(rollout.transitions))
    await context.store.save_rollout(settled, before)
    return settled
