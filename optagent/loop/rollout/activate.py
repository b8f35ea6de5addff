"""Table activation: one routing table for another, at one moment on all gateways."""

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
    """Not all gateways have loaded the versions of a table.

    Where one refuses it, with a reason, the table was taken back; otherwise it stays staged, and the next call goes on.
    """

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Activation:
    """The table that is active now, and whether it was not before."""

    table: RoutingTable
    changed: bool


@dataclass(frozen=True, slots=True)
class _Readiness:
    """The live gateways before a table: how many have loaded it, why some refuse it, and which have not said yet."""

    loaded: int
    refusals: tuple[str, ...]
    waiting: tuple[str, ...]
    waited_s: float

    @property
    def is_complete(self) -> bool:
        return not self.refusals and not self.waiting

    def error(self, table: RoutingTable) -> TableNotLoaded:
        named = f"{table.model_id}: table {table.revision}"
        if self.refusals:
            return TableNotLoaded(f"{named} cannot be loaded by {'; '.join(self.refusals)}", refused=True)
        return TableNotLoaded(f"{named} is not loaded by {', '.join(self.waiting)} (waited {self.waited_s:.3g} s)")


async def activate_table(
    table: RoutingTable,
    routes: Routes,
    clock: Clock,
    sleep: Sleep = asyncio.sleep,
    patience_s: float = PATIENCE_S,
    insist: bool = False,
) -> Activation:
    """Makes what `table` says (its revision does not count) the active table, once every live gateway is ready for it.

    Doing it again changes nothing; one that was cut short goes on. Raises TableNotLoaded with a gateway's reason, or
    where patience ends, and Conflict where another writer came first. With `insist`, as on the way back from harm,
    gateways that are not ready do not hold up one that is: they go on by the table that they have until they are.
    """
    model_id = table.model_id
    active, staged = await routes.active_table(model_id), await routes.staged_table(model_id)
    if active is not None and active.answers_like(table):
        if staged is not None:
            await routes.unstage(model_id, staged.revision)
        return Activation(active, changed=False)
    wanted = replace(table, revision=1 if active is None else active.revision + 1, activate_at=None)
    if staged != wanted:
        await routes.stage(wanted)
    if active is not None and set(wanted.versions) <= set(active.versions):
        patience_s = min(patience_s, _WARM_PATIENCE_S)
    gateways = await _wait_for_gateways(wanted, routes, sleep, patience_s)
    if not gateways.is_complete and not (insist and gateways.loaded):
        if gateways.refusals:
            await routes.unstage(model_id, wanted.revision)
        raise gateways.error(wanted)
    at = clock.now() + (_LEAD_S if gateways.loaded else 0.0)
    activated = await routes.activate(model_id, wanted.revision, at)
    if not activated.answers_like(wanted):
        raise Conflict(f"{model_id}: table {wanted.revision} was replaced by another writer's")
    await sleep(max(0.0, at - clock.now()))  # who is told that it is done, asks by it
    return Activation(activated, changed=True)


async def _wait_for_gateways(table: RoutingTable, routes: Routes, sleep: Sleep, patience_s: float) -> _Readiness:
    """Waits until all gateways that are alive have loaded the table, one refuses it, or patience ends.

    Time is what was slept, so that a clock that stands still ends it as well.
    """
    waited, pauses = 0.0, GrowingPauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, factor=1.1)
    while True:
        alive, answers = await routes.gateways(), await routes.acknowledgements(table.model_id, table.revision)
        refusals = tuple(f"{gateway}: {answers[gateway]}" for gateway in sorted(alive) if answers.get(gateway))
        waiting = tuple(sorted(set(alive) - set(answers)))
        if refusals or not waiting or waited >= patience_s:
            return _Readiness(len(alive) - len(refusals) - len(waiting), refusals, waiting, waited)
        pause_s = next(pauses)
        await sleep(pause_s)
        waited += pause_s
