"""Backtest process: reads a model's history, and replays it under the policies of the command."""

import asyncio
from dataclasses import replace

from optagent.codec import without_secrets
from optagent.domain.backtest import BacktestAsk, BacktestResult, Contender
from optagent.domain.command import BacktestModel
from optagent.domain.dataset import DataSource
from optagent.domain.model import ModelSpec
from optagent.domain.policy import Trigger
from optagent.errors import InvalidRequest
from optagent.loop.context import Backtester, Ports
from optagent.loop.gates.evaluate import gates_for
from optagent.loop.process import Run


def settle_ask(ask: BacktestAsk, spec: ModelSpec, min_new_labels: int) -> BacktestAsk:
    """The ask with `min_new_labels` for policies that set none; InvalidRequest for gates that do not fit the model."""
    for contender in ask.policies:
        try:
            gates_for({} if contender.policy is None else contender.policy.gates, spec)
        except InvalidRequest as error:
            raise InvalidRequest(f"policy {contender.name!r}: gates: {error}") from None
    contenders = tuple(_settle_contender(contender, min_new_labels) for contender in ask.policies)
    return replace(ask, policies=contenders)


def settle_source(source: DataSource | None, spec: ModelSpec) -> DataSource | None:
    """The source as a command keeps it: None for the model's own where that has a password.

    Raises InvalidRequest for any other that has one, since a command is kept and shown.
    """
    if source is None or without_secrets(source) == source:
        return source
    if source != spec.data:
        raise InvalidRequest("data: the URL of a command must not hold a password: write it as ${NAME} of a variable")
    return None


async def backtest(command: BacktestModel, spec: ModelSpec, ports: Ports, run: Run) -> BacktestResult:
    """Reads the history and replays it; raises InvalidData, Unavailable and Cancelled."""
    replay: Backtester = ports.require("backtester")
    await run.stage("read")
    spec = replace(spec, monitoring=ports.monitoring_of(spec))
    table = await asyncio.to_thread(ports.datasets.read, command.data or spec.data)
    await run.stage("replay")

    def count_replays(done: int, total: int) -> None:
        run.count_done(done, total, "replays")

    return await asyncio.to_thread(replay, spec, table, command.ask, run.is_cancelled, count_replays)


def _settle_contender(contender: Contender, min_new_labels: int) -> Contender:
    policy = contender.policy
    if policy is None or policy.min_new_labels is not None or Trigger.NEW_LABELS not in policy.triggers:
        return contender
    return replace(contender, policy=replace(policy, min_new_labels=min_new_labels))
