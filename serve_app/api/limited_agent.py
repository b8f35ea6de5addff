"""Limited agent: the verbs of an agent as a token that is limited to some models may call them.

What a verb concerns is looked up here, by the model or the id that it is given; lists are of the token's models only. A
verb that is not known here is refused: a new one is closed to limited tokens until somebody has thought about it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

from optagent.agent import Command, OptimizationAgent
from optagent.domain.alert import Alert
from optagent.domain.command import EnsembleModels, parse_base
from optagent.domain.fleet import Fleet
from optagent.domain.model import ModelSpec
from optagent.domain.process import Process
from optagent.domain.queue_order import QueueHead
from optagent.domain.rollout import Rollout
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.domain.token import Token
from optagent.errors import NotPermitted

OF_A_MODEL = frozenset(
    {
        "abort_rollout",
        "analysis_page",
        "analyze_model",
        "forget_mixture_rows",
        "freeze_mixture",
        "intervals",
        "label_maturity",
        "latest_rollout",
        "mixture",
        "model",
        "promote_rollout",
        "quality",
        "rollback_rollout",
        "set_alias",
        "start_rollout",
        "thaw_mixture",
        "update_model",
        "use_champion_only",
        "versions",
    }
)
"""Verbs whose first argument, or argument `model_id`, is the id of the model that they concern."""


def limit_agent(agent: OptimizationAgent, token: Token) -> OptimizationAgent:
    """The agent for a caller with that token: the agent itself, unless the token is limited to some models."""
    return cast(OptimizationAgent, LimitedAgent(agent, token)) if token.models else agent


class LimitedAgent:
    """Stands for an OptimizationAgent; raises NotPermitted for what does not concern a model of the token."""

    def __init__(self, agent: OptimizationAgent, token: Token) -> None:
        self._agent = agent
        self._token = token

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        if verb.startswith("_"):
            raise AttributeError(verb)
        if verb not in OF_A_MODEL:
            raise NotPermitted(f"{self._token.limit}: {verb.replace('_', ' ')} is not for a limited token")
        return partial(self._call_for_model, verb)

    async def models(self) -> list[ModelSpec]:
        return [spec for spec in await self._agent.models() if self._token.allows_model(spec.model_id)]

    async def fleet(self, *arguments: Any, **keywords: Any) -> Fleet:
        return await self._agent.fleet(*arguments, **{**keywords, "model_ids": self._token.models})

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        alerts = await self._ask_each(self._agent.alerts, model_id, limit)
        return sorted(alerts, key=lambda alert: (not alert.is_open, -(alert.resolved_at or alert.last_seen)))[:limit]

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        processes = await self._ask_each(self._agent.processes, model_id, limit)
        return sorted(processes, key=lambda process: process.created_at, reverse=True)[:limit]

    async def unended_processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        processes = await self._ask_each(self._agent.unended_processes, model_id, limit)
        return sorted(processes, key=lambda process: process.created_at, reverse=True)[:limit]

    async def queue_head(self, limit: int = 100) -> QueueHead:
        head = await self._agent.queue_head(limit)
        own_parts = (
            tuple(process for process in processes if self._token.allows_model(process.model_id))
            for processes in (head.running, head.waiting, head.stopping)
        )
        return QueueHead(*own_parts)

    async def queue_places(self, process_ids: Sequence[str]) -> dict[str, int]:
        for process_id in process_ids:
            await self.process(process_id)
        return await self._agent.queue_places(process_ids)

    async def rollouts(self, model_id: str | None = None, limit: int = 100) -> list[Rollout]:
        rollouts = await self._ask_each(self._agent.rollouts, model_id, limit)
        return sorted(rollouts, key=lambda rollout: rollout.started_at, reverse=True)[:limit]

    async def studies(self, model_id: str | None = None) -> list[StudySummary]:
        return await self._ask_each(self._agent.studies, model_id)

    async def process(self, process_id: str) -> Process:
        process = await self._agent.process(process_id)
        self._check_model(process.model_id)
        return process

    async def cancel(self, process_id: str) -> None:
        await self.process(process_id)
        await self._agent.cancel(process_id)

    async def backtest_page(self, process_id: str) -> str:
        await self.process(process_id)
        return await self._agent.backtest_page(process_id)

    async def rollout(self, rollout_id: str) -> Rollout:
        rollout = await self._agent.rollout(rollout_id)
        self._check_model(rollout.model_id)
        return rollout

    async def study(self, study_id: str) -> StudyReport:
        report = await self._agent.study(study_id)
        self._check_model(report.summary.model_id)
        return report

    async def study_page(self, study_id: str) -> str:
        await self.study(study_id)
        return await self._agent.study_page(study_id)

    async def submit(self, command: Command) -> Process:
        if isinstance(command, EnsembleModels):
            for base in command.base_models:
                self._check_model(parse_base(base)[0])
            self._check_model(command.target_model_id)
        else:
            self._check_model(command.model_id)
        return await self._agent.submit(command)

    async def _call_for_model(self, verb: str, *arguments: Any, **keywords: Any) -> Any:
        self._check_model(arguments[0] if arguments else keywords["model_id"])
        return await getattr(self._agent, verb)(*arguments, **keywords)

    async def _ask_each(self, verb: Callable[..., Awaitable[list[Any]]], model_id: str | None, *rest: Any) -> list[Any]:
        """The answers for that model, or for each model of the token, one after the other."""
        model_ids = self._token.models if model_id is None else (model_id,)
        for each in model_ids:
            self._check_model(each)
        return [item for items in await asyncio.gather(*(verb(each, *rest) for each in model_ids)) for item in items]

    def _check_model(self, model_id: str) -> None:
        self._token.check_model(model_id)
