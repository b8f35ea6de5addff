"""Acts on a mixture by people: freeze and thaw its weights, let the champion answer alone, forget rows for good."""

import asyncio
import logging
from dataclasses import dataclass, replace

from optagent.domain.mixture import FORGOT, MixtureEvent, MixtureMode, MixtureRecord
from optagent.domain.model import ModelSpec
from optagent.errors import Conflict, InvalidRequest, NotFound, Unavailable
from optagent.loop.champion import champion_of
from optagent.loop.mixture.advance import advance_mixture, settle
from optagent.loop.mixture.harm import without_days
from optagent.loop.mixture.ports import TRIES, MixturePorts, change_journal
from optagent.loop.mixture.relearn import catch_up, count_gone, relearn
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.reconcile import follow_champion
from optagent.mixing.learner import MixtureLearner
from optagent.ports import Observations

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MixtureAct:
    """A person's act on the mixture of a model: by whom, why, and when (POSIX seconds)."""

    model_id: str
    who: str
    why: str
    at: float


async def change_mode(act: MixtureAct, mode: MixtureMode, context: RolloutContext) -> MixtureRecord:
    """Puts a mixture into a mode, and has the gateways follow at once; a second call changes nothing.

    Raises NotFound where the model has no mixture.
    """

    def change(record: MixtureRecord) -> MixtureRecord:
        if record.mode is mode:
            return record
        reason = "" if mode is MixtureMode.LEARNING else f"{act.who}: {act.why}"
        harm = {} if record.mode is MixtureMode.CHAMPION_ONLY else record.harm  # it is judged anew
        return _with_event(replace(record, mode=mode, reason=reason, harm=harm), act, str(mode), {"why": act.why})

    ports = context.mixtures
    record = await change_journal(lambda: _settled_record(act.model_id, ports), change, ports.store)
    await follow_mixture(await context.store.model(act.model_id), context)
    return record


async def forget_rows(act: MixtureAct, start: float, end: float, context: RolloutContext) -> MixtureRecord:
    """Makes the weights again without the rows from `start` up to `end` (POSIX seconds), which are left out for good.

    They are made of the rows that the archive has: the event tells their number, and how many are `gone` from it.
    Raises InvalidRequest for a range that is empty or does not end before now, and NotFound without a mixture.
    """
    if not start < end <= act.at:
        raise InvalidRequest(f"forget: the range {start!r}..{end!r} must not be empty, and must end before now")

    record = await _settled_record(act.model_id, context.mixtures)
    if (start, end) in record.forgotten:
        return record
    gone = await asyncio.to_thread(count_gone, record, context.observations)
    learner = await asyncio.to_thread(_relearn_without, record, start, end, context.observations)
    for left in reversed(range(TRIES)):
        changed = _forget(record, replace(act, at=context.clock.now()), start, end, learner, gone)
        try:
            await context.store.save_mixture(changed, record)
            break
        except Conflict:  # learning everything again takes longer than the time between two passes
            before, record = record, await _settled_record(act.model_id, context.mixtures)
            if not left or record.forgotten != before.forgotten:
                raise
            now_forgotten = _without_rows(record, start, end)
            learner = await asyncio.to_thread(catch_up, learner, before, now_forgotten, context.observations)
    await follow_mixture(await context.store.model(act.model_id), context)
    return changed


def _without_rows(record: MixtureRecord, start: float, end: float) -> MixtureRecord:
    return replace(record, forgotten=(*record.forgotten, (start, end)))


def _relearn_without(record: MixtureRecord, start: float, end: float, observations: Observations) -> MixtureLearner:
    *_, (_, learner) = relearn(_without_rows(record, start, end), observations)
    return learner


def _forget(
    record: MixtureRecord, act: MixtureAct, start: float, end: float, learner: MixtureLearner, gone: int
) -> MixtureRecord:
    """The journal with the state that was learned without the rows, whose weights are to be published anew."""
    detail = {"why": act.why, "start": start, "end": end, "rows": learner.rows, "gone": gone}
    changed = replace(
        _without_rows(record, start, end),
        state=learner.to_plain(),
        passes=record.passes + 1,  # no earlier digest comes out again
        harm=without_days(record.harm, start, end),
        history=(),
        published=None,
        published_at=0.0,
        looked_at=0.0,
    )
    return _with_event(changed, act, FORGOT, detail)


async def follow_mixture(spec: ModelSpec, context: RolloutContext) -> None:
    """Has the gateways follow the journal now, where no rollout is active; what is down follows at the next pass."""
    if any(rollout.state.is_active for rollout in await context.store.rollouts(spec.model_id, 1)):
        return
    try:
        champion = await asyncio.to_thread(champion_of, spec.model_id, context.registry)
        if champion is not None:
            await follow_champion(champion, await advance_mixture(spec, champion, context.mixtures), context)
    except (Conflict, Unavailable) as error:  # the act is in the journal
        _log.warning("the mixture of %s is changed, not everything follows yet: %s", spec.model_id, error)


async def _settled_record(model_id: str, ports: MixturePorts) -> MixtureRecord:
    await ports.store.model(model_id)
    record = await ports.store.mixture(model_id)
    if record is None:
        raise NotFound(f"model {model_id!r} has no mixture")
    return record if record.is_settled else await settle(record, ports)


def _with_event(record: MixtureRecord, act: MixtureAct, kind: str, detail: dict[str, object]) -> MixtureRecord:
    event = MixtureEvent(act.at, act.who, kind, record.passes, detail)
    return replace(record, events=(*record.events, event))
