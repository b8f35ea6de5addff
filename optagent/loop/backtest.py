"""Backtest: a model's history under several policies, before one of them is trusted with the model."""

import asyncio
from dataclasses import replace

from optagent.domain.backtest import BacktestAsk, BacktestResult, Contender
from optagent.domain.command import BacktestModel
from optagent.domain.model import ModelSpec
from optagent.domain.policy import Trigger
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports
from optagent.loop.gates.evaluate import gates_for
from optagent.loop.process import Run


def settled(ask: BacktestAsk, spec: ModelSpec, min_new_labels: int) -> BacktestAsk:
    """With the setting in place of what policies leave to it; InvalidRequest for gates that the model cannot meet."""
    for one in ask.policies:
        try:
            gates_for({} if one.policy is None else one.policy.gates, spec)
        except InvalidRequest as error:
            raise InvalidRequest(f"policy {one.name!r}: gates: {error}") from None
    return replace(ask, policies=tuple(_settled(one, min_new_labels) for one in ask.policies))


async def backtest(command: BacktestModel, spec: ModelSpec, outside: Ports, run: Run) -> BacktestResult:
    """Reads the history and has it replayed; raises InvalidData, Unavailable and Cancelled."""
    if outside.backtester is None:
        raise InvalidRequest("this agent replays no histories: give it `backtester`")
    await run.stage("read")
    watched = replace(spec, monitoring=spec.monitoring or outside.monitoring)
    table = await asyncio.to_thread(outside.datasets.read, command.data)
    await run.stage("replay")
    return await asyncio.to_thread(outside.backtester, watched, table, command.ask, run.cancelled)


def _settled(contender: Contender, min_new_labels: int) -> Contender:
    policy = contender.policy
    if policy is None or policy.min_new_labels is not None or Trigger.NEW_LABELS not in policy.triggers:
        return contender
    return replace(contender, policy=replace(policy, min_new_labels=min_new_labels))
