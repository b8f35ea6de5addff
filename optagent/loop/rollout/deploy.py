"""Deployment: the alias that a candidate has earned at the gates, and the rollout that its command asks for."""

import asyncio
from dataclasses import replace

from optagent.domain.command import OptimizeModel
from optagent.domain.model import CHALLENGER, CHAMPION, ModelVersion
from optagent.domain.optimization import SUCCESS, OptimizationResult
from optagent.domain.policy import Action
from optagent.domain.rollout import Rollout
from optagent.domain.strategy import strategy_named
from optagent.errors import Conflict, InvalidRequest, NotFound
from optagent.loop.champion import champion_of
from optagent.loop.context import Ports
from optagent.loop.rollout.context import RolloutContext
from optagent.loop.rollout.gate_rows import GateRows
from optagent.loop.rollout.start import StartRollout, start_rollout

_LATEST = 10  # rollouts among which a runner that takes over finds the one that was started for it


async def deploy_candidate(
    command: OptimizeModel,
    version: ModelVersion,
    result: OptimizationResult,
    ports: Ports,
    gate_rows: GateRows | None = None,
) -> OptimizationResult:
    """Sets the alias, and starts a rollout where the command wants one; a second call changes nothing.

    Shadow goes on from `gate_rows`, on which this very version was compared with the champion.
    """
    registry = ports.registry
    champion = await asyncio.to_thread(champion_of, version.model_id, registry)
    alias = CHAMPION if champion is None or CHAMPION in version.aliases else CHALLENGER
    await asyncio.to_thread(registry.set_alias, version.model_id, alias, version.version)
    result = replace(result, status=SUCCESS, aliases=(alias,))
    if alias == CHAMPION or command.action == Action.CANDIDATE:
        return result
    who = f"process {result.process_id}"
    try:
        rollout = await _find_rollout(version, who, ports)
        rollout = rollout or await _start_rollout(command, version, who, ports, gate_rows)
    except (Conflict, InvalidRequest, NotFound) as error:
        return replace(result, notes=(*result.notes, f"no rollout: {error}"))
    return replace(result, rollout_id=rollout.rollout_id)


async def _find_rollout(version: ModelVersion, who: str, ports: Ports) -> Rollout | None:
    """The rollout that an earlier runner of the same process started, if it did."""
    for rollout in await ports.store.rollouts(version.model_id, _LATEST):
        if rollout.candidate == version.version and rollout.transitions and rollout.transitions[0].by == who:
            return rollout
    return None


async def _start_rollout(
    command: OptimizeModel, version: ModelVersion, who: str, ports: Ports, gate_rows: GateRows | None
) -> Rollout:
    changes = {**command.rollout, **({} if command.action == Action.FULL else {"hold": True})}
    strategy = strategy_named(command.strategy)
    start = StartRollout(command.model_id, version.version, strategy, changes, who, gate_rows=gate_rows)
    return await start_rollout(start, RolloutContext.of(ports), ports.datasets)
