"""The verbs of the whole loop: when someone asks for it, and when a policy does."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from optagent.agent.rollouts import RolloutVerbs
from optagent.agent.watching import WatchVerbs
from optagent.agent.working import WorkingDesk
from optagent.domain.command import AnalyzeModel, OptimizeModel
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.optimization import FAILED, UNCHANGED, OptimizationResult
from optagent.domain.policy import Action, DueTrigger, PolicyFacts, due
from optagent.domain.process import Process, Status
from optagent.errors import Conflict, InvalidRequest, ModelNotFound, OptAgentError
from optagent.ports import Observations

if TYPE_CHECKING:
    from optagent.domain.rollout import Rollout
    from optagent.loop.optimize import Doors

_LOOKED_AT = 400


class OptimizeVerbs(RolloutVerbs, WatchVerbs, WorkingDesk):
    """Runs the loop for a model, and has policies run it."""

    async def optimize_model(
        self,
        model_id: str,
        optimization_type: str = "full",
        action: str = "candidate",
        strategy: str = "balanced",
        **more: Any,
    ) -> OptimizationResult:
        """Looks at the model, learns from what came since, finds a candidate, judges it at every gate, and lets it in.

        `optimization_type` is full (features, search, ensemble), retrain, tune, features, ensemble or auto (what the
        diagnosis asks for). `action` is candidate, shadow or full. `more` are the other fields of `OptimizeModel`:
        `trials`, `timeout_s`, `window`, `gates`, `ensemble`, `time_range`, `seed`. The answer's `status` is success
        where a candidate passed every gate; otherwise `error_message` says why there is none.
        """
        try:
            command = _command(model_id, optimization_type, action, strategy, more)
            result: OptimizationResult = await self._done(command)
            return result
        except OptAgentError as error:
            if self._strict:
                raise
            said = str(error)
            return OptimizationResult(model_id=str(model_id), status=FAILED, error_message=said, error=said)

    async def trigger_once(self) -> tuple[Process, ...]:
        """Looks at each model with a policy, and queues an optimization where the policy calls for one.

        To be called every minute or so; of several agents that see the same cause, one queues it. A model whose policy
        only notifies is left alone: its alerts are told.
        """
        started = []
        for spec in await self._store.models():
            policy = spec.policy
            if policy is None or policy.action is Action.NOTIFY:
                continue
            found = due(policy, await self._facts(spec), self._outside.min_new_labels)
            if found is not None:
                process = await self._triggered(spec, found)
                started += [] if process is None else [process]
        return tuple(started)

    async def _triggered(self, spec: ModelSpec, found: DueTrigger) -> Process | None:
        """Queues it under an id that says the cause, so that nobody queues it twice."""
        policy = spec.policy
        assert policy is not None
        command = OptimizeModel(
            spec.model_id,
            optimization_type=str(policy.optimization_type),
            action=str(policy.action),
            strategy=policy.strategy,
            trials=policy.trials,
            timeout_s=policy.timeout_s,
            window=policy.window,
            gates=dict(policy.gates),
            rollout=dict(policy.rollout),
            time_range=await asyncio.to_thread(self._newest, spec),
            trigger=str(found.trigger),
            reason=found.reason,
        )
        work = await self._work(command)
        process = replace(
            self._new_work(work), process_id=f"optimize-{_short(spec.model_id, found.key)}", status=Status.QUEUED
        )
        try:
            await self._store.enqueue_process(process)
        except Conflict:
            return None
        return process

    def _newest(self, spec: ModelSpec) -> str:
        """The newest performance window whose labels have had time to come, and what came since, as a time range."""
        late_s = spec.horizon if isinstance(spec.label_horizon, str) else 0.0
        window_s = self._monitoring(spec).window_s + late_s
        observations = self._outside.observations
        newest = None if observations is None else observations.newest(spec.model_id)
        end = self._outside.clock.now() if newest is None else newest + 1.0
        return f"{end - window_s!r}..{end!r}"

    async def _facts(self, spec: ModelSpec) -> PolicyFacts:
        outside = self._outside
        now = outside.clock.now()
        processes = await self._store.processes(spec.model_id, limit=_LOOKED_AT)
        runs = [one.created_at for one in processes if one.kind == "optimize"]
        idle = [one.created_at for one in processes if (one.result or {}).get("status") == UNCHANGED]
        if any(one.kind == "optimize" and not one.status.ended for one in processes):
            runs = [*runs, now]  # one at a time
        if any(one.state.is_active for one in await self._store.rollouts(spec.model_id, 1)):
            runs = [*runs, now]  # its candidate first
        try:
            trained_at = (await asyncio.to_thread(outside.registry.version, spec.model_id, CHAMPION)).created_at
        except ModelNotFound:
            trained_at = now  # nothing to improve on
        since = max([trained_at, *runs])
        labels = 0
        if outside.observations is not None and spec.policy is not None and "new_labels" in spec.policy.triggers:
            labels = await asyncio.to_thread(_matured_since, spec, outside.observations, since)
        return PolicyFacts(now, trained_at, await self._store.alerts(spec.model_id), runs, labels, idle)

    def _doors(self, command: OptimizeModel) -> "Doors":
        from optagent.loop.optimize import Doors

        async def analyze(time_range: str) -> ModelReport:
            return await self._analyzed(AnalyzeModel(command.model_id, time_range=time_range))

        async def roll_out(version: str, changes: Mapping[str, Any], who: str) -> "Rollout":
            return await self.start_rollout(command.model_id, version, command.strategy, changes, who)

        return Doors(self._store, analyze, roll_out if self._outside.routes is not None else None)


def _command(model_id: str, kind: str, action: str, strategy: str, more: Mapping[str, Any]) -> OptimizeModel:
    known = set(OptimizeModel.__dataclass_fields__) - {"model_id", "optimization_type", "action", "strategy"}
    unknown = sorted(set(more) - known)
    if unknown:
        raise InvalidRequest(f"unknown argument {', '.join(unknown)}; one of {sorted(known)}")
    return OptimizeModel(model_id, kind, action, strategy, **more)


def _short(*parts: str) -> str:
    return sha256(":".join(parts).encode()).hexdigest()[:12]


def _matured_since(spec: ModelSpec, observations: Observations, since: float) -> int:
    from optagent.loop.observe.labelled_rows import count_matured

    return count_matured(observations, spec, since)
