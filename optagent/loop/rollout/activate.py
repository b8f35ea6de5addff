"""Table activation: all gateways change from one routing table to another at the same moment."""

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

    Where a gateway refused it, with a reason, the table was taken back; otherwise it stays staged, and the next call
    goes on.
    """

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Activation:
    """The table that is active now; `changed` is True where another one was active before."""

    table: RoutingTable
    changed: bool


@dataclass(frozen=True, slots=True)
class _Readiness:
    """Answers of the live gateways about a table: the number that loaded it, refusals, and gateways without an answer.

    `waited_s` is the time spent waiting for them, in seconds.
    """

    loaded: int
    refusals: tuple[str, ...]
    waiting: tuple[str, ...]
    waited_s: float

    @property
    def is_complete(self) -> bool:
        return not self.refusals and not self.waiting

    def error(self, table: RoutingTable) -> TableNotLoaded:
        name = f"{table.model_id}: table {table.revision}"
        if self.refusals:
            return TableNotLoaded(f"{name} cannot be loaded by {'; '.join(self.refusals)}", refused=True)
        return TableNotLoaded(f"{name} is not loaded by {', '.join(self.waiting)} (waited {self.waited_s:.3g} s)")


async def activate_table(
    table: RoutingTable,
    routes: Routes,
    clock: Clock,
    sleep: Sleep = asyncio.sleep,
    patience_s: float = PATIENCE_S,
    insist: bool = False,
) -> Activation:
    """Makes `table` (its revision does not count) the active table, once every live gateway is ready for it.

    A second call changes nothing, and a call that was cut short is completed by the next one. Raises TableNotLoaded
    with a gateway's reason or once `patience_s` is over, and Conflict where another writer came first. With `insist`,
    as at the end of a rollout, one gateway that is ready is enough: the others go on with the table that they have
    until they are ready.
    """
    model_id = table.model_id
    active, staged = await routes.active_table(model_id), await routes.staged_table(model_id)
    if active is not None and active.answers_like(table):
        if staged is not None:
            await routes.unstage(model_id, staged.revision)
        return Activation(active, changed=False)
    next_table = replace(table, revision=1 if active is None else active.revision + 1, activate_at=None)
    if staged != next_table:
        await routes.stage(next_table)
    if active is not None and set(next_table.bundles) <= set(active.bundles):
        patience_s = min(patience_s, _WARM_PATIENCE_S)
    gateways = await _wait_for_gateways(next_table, routes, sleep, patience_s)
    if not gateways.is_complete and not (insist and gateways.loaded):
        if gateways.refusals:
            await routes.unstage(model_id, next_table.revision)
        raise gateways.error(next_table)
    at = clock.now() + (_LEAD_S if gateways.loaded else 0.0)
    active_now = await routes.activate(model_id, next_table.revision, at)
    if not active_now.answers_like(next_table):
        raise Conflict(f"{model_id}: table {next_table.revision} was replaced by another writer's")
    await sleep(max(0.0, at - clock.now()))  # the caller's next request is answered by the new table
    return Activation(active_now, changed=True)


async def _wait_for_gateways(table: RoutingTable, routes: Routes, sleep: Sleep, patience_s: float) -> _Readiness:
    """Waits until all gateways that are alive have loaded the table, one refuses it, or patience ends.

    The time waited_s is the sum of the pauses, so the wait ends even where the clock stands still.
    """
    waited_s, pauses = 0.0, GrowingPauses(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, factor=1.1)
    while True:
        alive, answers = await routes.gateways(), await routes.acknowledgements(table.model_id, table.revision)
        refusals = tuple(f"{gateway}: {answers[gateway]}" for gateway in sorted(alive) if answers.get(gateway))
        waiting = tuple(sorted(set(alive) - set(answers)))
        if refusals or not waiting or waited_s >= patience_s:
            return _Readiness(len(alive) - len(refusals) - len(waiting), refusals, waiting, waited_s)
        pause_s = next(pauses)
        await sleep(pause_s)
        waited_s += pause_s
