"""The SDK's verbs; each is a command to the loop."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import yaml

from optagent.codec import model_from, plain
from optagent.domain.command import TuneModel
from optagent.domain.model import ModelSpec
from optagent.domain.process import Process, Status
from optagent.domain.study import Progress, TuningResult
from optagent.domain.version import ModelVersion
from optagent.errors import InvalidRequest, OptAgentError
from optagent.loop.optimize import check_spec
from optagent.loop.process import run_process
from optagent.loop.tune import Outside, tune
from optagent.ports import Store


class OptimizationAgent:
    """Keeps models good. Made by `create_optimization_agent`; use it from one event loop, and close it at the end.

    A refused or failed request is an answer with an `error`, or raised where `strict`.
    """

    def __init__(self, outside: Outside, store: Store, resources: AsyncExitStack, strict: bool = False) -> None:
        self._outside = outside
        self._store = store
        self._resources = resources
        self._strict = strict

    async def __aenter__(self) -> "OptimizationAgent":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops what this agent started: its Ray cluster, its tracker's thread, its hold on the embedded Redis."""
        await self._resources.aclose()

    async def register_model(self, model: ModelSpec | Mapping[str, Any] | Path) -> ModelSpec:
        """Stores a model, or replaces it: a `ModelSpec`, its fields, or a YAML file of them.

        Raises InvalidRequest for an unknown field, family, metric or parameter, and, since the rows are read, for
        data that cannot be trained on.
        """
        spec = _spec(model)
        check_spec(spec)
        await asyncio.to_thread(self._outside.check_data, spec)
        await self._store.save_model(spec)
        return spec

    async def models(self) -> list[ModelSpec]:
        """All registered models, by id."""
        return await self._store.models()

    async def model(self, model_id: str) -> ModelSpec:
        """Raises ModelNotFound."""
        return await self._store.model(model_id)

    async def versions(self, model_id: str) -> list[ModelVersion]:
        """The versions of a model, the newest first."""
        await self._store.model(model_id)
        return await asyncio.to_thread(self._outside.registry.versions, model_id)

    async def tune_hyperparameters(
        self,
        model_id: str,
        method: str = "optuna",
        trials: int | None = None,
        timeout_s: float | None = None,
        strategy: str = "balanced",
        max_concurrent: int | None = None,
        cpus_per_trial: int = 1,
        seed: int = 0,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> TuningResult:
        """Searches for better parameters, judges the best on a holdout that no trial saw, and registers it.

        The first version of a model becomes its champion; a later one becomes challenger when it beats the champion.
        `on_progress` is called from another thread.
        """
        try:
            command = TuneModel(model_id, method, trials, timeout_s, strategy, max_concurrent, cpus_per_trial, seed)
            spec = await self._store.model(model_id)
            process = self._new_process("tune", model_id, plain(command))
            result: TuningResult = await run_process(
                process,
                lambda run: tune(command, spec, self._outside, run),
                self._store,
                self._outside.clock,
                on_progress,
            )
            return result
        except OptAgentError as error:
            if self._strict:
                raise
            return TuningResult(model_id=str(model_id), error=str(error))

    async def process(self, process_id: str) -> Process:
        """A run of this or of any other agent on the same store; raises ProcessNotFound."""
        return await self._store.process(process_id)

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """Runs, the newest first."""
        return await self._store.processes(model_id, limit)

    async def cancel(self, process_id: str) -> None:
        """Asks a running process to stop; it ends as cancelled within a few seconds."""
        await self._store.request_cancel(process_id)

    def _new_process(self, kind: str, model_id: str, command: Mapping[str, Any]) -> Process:
        now = self._outside.clock.now()
        return Process(f"{kind}-{uuid.uuid4().hex[:12]}", kind, model_id, Status.PENDING, now, now, command)


def _spec(model: ModelSpec | Mapping[str, Any] | Path) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, Path):
        return model_from(model)
    try:
        fields = yaml.safe_load(model.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{model}: cannot be read as YAML: {error}") from None
    return model_from(fields, folder=model.absolute().parent)
