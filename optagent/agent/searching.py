"""The verbs of searches, their studies and their processes."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from optagent.agent.working import WorkingDesk
from optagent.codec import decode
from optagent.domain.command import TuneModel
from optagent.domain.process import Process, Status
from optagent.domain.study import Progress, TuningResult
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.errors import Conflict, InvalidRequest, OptAgentError, ProcessNotFound
from optagent.ports import Studies


class SearchVerbs(WorkingDesk):
    """Searches for better parameters, and looks back at searches."""

    async def tune_hyperparameters(
        self,
        model_id: str,
        method: str = "optuna",
        trials: int | None = None,
        timeout_s: float | None = None,
        strategy: str = "balanced",
        resume: bool | str = False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        **more: Any,
    ) -> TuningResult:
        """Searches for better parameters, judges the best on a holdout that no trial saw, and registers it.

        The first version of a model becomes its champion; a later one becomes challenger when it beats the champion.
        `more` are the other fields of `TuneModel`: `objectives`, `max_concurrent`, `cpus_per_trial`, `seed`,
        `stopping`, `trial_timeout_s`, `trial_memory_mb`, `max_cpu_s`, `transfer`, and `ensemble`, the number of best
        trials of which an ensemble is tried at the end. `resume` goes on with the model's last search that did not
        succeed, or with the process of that id, as it was asked: every finished trial is kept. `on_progress` is called
        from another thread.
        """
        try:
            if resume:
                command = await self._resumed(model_id, resume)
            else:
                command = _command(model_id, method, trials, timeout_s, strategy, more)
            result: TuningResult = await self._done(command, on_progress)
            return result
        except OptAgentError as error:
            refused: TuningResult = self._refused(error, TuningResult, model_id)
            return refused

    async def _resumed(self, model_id: str, resume: bool | str) -> TuneModel:
        """The command of a search that ended early, told to go on with its study."""
        earlier = [process for process in await self._store.processes(model_id) if process.kind == "tune"]
        if isinstance(resume, str):
            earlier = [process for process in earlier if process.process_id == resume]
        if not earlier:
            raise ProcessNotFound(f"model {model_id!r} has no search to resume")
        last = earlier[0]
        if not last.status.ended:
            raise Conflict(f"process {last.process_id} is running: wait for it, or cancel it first")
        if last.status is Status.SUCCEEDED:
            raise Conflict(f"process {last.process_id} has succeeded: there is nothing left to resume")
        command = decode(TuneModel, last.command)
        return replace(command, resume=command.resume or last.process_id)

    async def studies(self, model_id: str | None = None) -> list[StudySummary]:
        """Searches whose trials are kept, the newest first, of all models or of one."""
        return await asyncio.to_thread(self._history().summaries, model_id)

    async def study(self, study_id: str) -> StudyReport:
        """The trials of a search, the importances of parameters and the Pareto front; raises NotFound."""
        return await asyncio.to_thread(self._history().study, study_id)

    async def process(self, process_id: str) -> Process:
        """A run of this or of any other agent on the same store; raises ProcessNotFound."""
        return await self._store.process(process_id)

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """Runs, the newest first."""
        return await self._store.processes(model_id, limit)

    async def cancel(self, process_id: str) -> None:
        """Asks a running process to stop; it ends as cancelled within a few seconds."""
        await self._store.request_cancel(process_id)

    def _history(self) -> Studies:
        if self._outside.studies is None:
            raise InvalidRequest("this agent keeps no studies: give it `studies` beside its own tuner")
        return self._outside.studies


def _command(
    model_id: str, method: str, trials: int | None, timeout_s: float | None, strategy: str, more: Mapping[str, Any]
) -> TuneModel:
    known = {item.name for item in fields(TuneModel)} - {"model_id", "resume"}
    unknown = sorted(set(more) - known)
    if unknown:
        raise InvalidRequest(f"unknown argument {', '.join(unknown)}; one of {sorted(known)}")
    asked = {**more, "objectives": tuple(more.get("objectives", ()))}
    return TuneModel(model_id, method, trials, timeout_s, strategy, **asked)
