"""Swap: one routing table for another, at one moment on all gateways."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from optagent.domain.routing import RoutingTable
from optagent.errors import Conflict, Unavailable
from optagent.ports import Clock, Routes
from optagent.retry import GrowingPauses

PATIENCE_S = 30.0  # a version is fetched, checked and compiled in a process of its own: seconds on a busy machine
_WARM_PATIENCE_S = 2.0  # where nothing is to be loaded, an answer takes milliseconds
_LEAD_S = 0.03  # from activation to the first answer: longer than the message takes to any gateway
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05

Sleep = Callable[[float], Awaitable[object]]


class TableNotLoaded(Unavailable):
    """A table stays staged: not all gateways have loaded its versions yet. `ready` tells whether any has."""

    def __init__(self, said: str, ready: bool = False) -> None:
        super().__init__(said)
        self.ready = ready


class TableRefused(TableNotLoaded):
    """A table was taken back: a gateway cannot load a version of it, and said why."""


@dataclass(frozen=True, slots=True)
class Activation:
    """The table that is active now, and whether it was not before."""

    table: RoutingTable
    changed: bool


async def swap(
    table: RoutingTable,
    routes: Routes,
    clock: Clock,
    sleep: Sleep = asyncio.sleep,
    patience_s: float = PATIENCE_S,
    insist: bool = False,
) -> Activation:
    """Makes what `table` says (its revision does not count) the active table, once every live gateway is ready for it.

    Doing it again changes nothing; one that was cut short goes on. Raises Refused with a gateway's reason, NotLoaded
    where patience ends, Conflict where another writer came first. With `insist`, as on the way back from harm, gateways
    that are not ready do not hold up one that is: they go on by the table that they have until they are.
    """
    model_id = table.model_id
    active, staged = await routes.active(model_id), await routes.staged(model_id)
    if active is not None and active.answers_like(table):
        if staged is not None:
            await routes.unstage(model_id, staged.revision)
        return Activation(active, changed=False)
    wanted = replace(table, revision=1 if active is None else active.revision + 1, activate_at=None)
    if staged != wanted:
        await routes.stage(wanted)
    warm = active is not None and set(wanted.versions) <= set(active.versions)
    try:
        listening = await _loaded(wanted, routes, sleep, min(patience_s, _WARM_PATIENCE_S) if warm else patience_s)
    except TableNotLoaded as error:
        if not (insist and error.ready):
            if isinstance(error, TableRefused):
                await routes.unstage(model_id, wanted.revision)
            raise
        listening = True
    at = clock.now() + (_LEAD_S if listening else 0.0)
    activated = await routes.activate(model_id, wanted.revision, at)
    if not activated.answers_like(wanted):
        raise Conflict(f"{model_id}: table {wanted.revision} was replaced by another writer's")
    await sleep(max(0.0, at - clock.now()))  # who is told that it is done, asks by it
    return Activation(activated, changed=True)


async def _loaded(table: RoutingTable, routes: Routes, sleep: Sleep, patience_s: float) -> bool:
    """Waits for all gateways that are alive; answers whether there is any.

    Time is what was slept, so that a clock that stands still ends it as well.
    """
    waited, pauses = 0.0, GrowingPauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, factor=1.1)
    while True:
        alive, said = await routes.gateways(), await routes.acknowledged(table.model_id, table.revision)
        refusals = [f"{gateway}: {said[gateway]}" for gateway in sorted(alive) if said.get(gateway)]
        waiting = sorted(set(alive) - set(said))
        ready = len(refusals) + len(waiting) < len(alive)
        named = f"{table.model_id}: table {table.revision}"
        if refusals:
            raise TableRefused(f"{named} cannot be loaded by {'; '.join(refusals)}", ready)
        if not waiting:
            return bool(alive)
        if waited >= patience_s:
            raise TableNotLoaded(f"{named} is not loaded by {', '.join(waiting)} (waited {waited:.3g} s)", ready)
        pause_s = next(pauses)
        await sleep(pause_s)
        waited += pause_s
