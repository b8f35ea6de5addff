"""What the loop can be asked to do as a process: by the kind of command, how it is checked and how it is done."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optagent.agent.desk import Desk
from optagent.codec import decode, plain
from optagent.domain.command import (
    BacktestModel,
    EngineerFeatures,
    EnsembleModels,
    OptimizeModel,
    TuneModel,
    parse_base,
)
from optagent.domain.gate import gates_from
from optagent.domain.model import ModelSpec
from optagent.domain.process import Process
from optagent.domain.study import Progress
from optagent.errors import InvalidRequest, OptAgentError
from optagent.loop.process import Run, run_process
from optagent.loop.train.search import objectives_of
from optagent.loop.train.tune import tune

if TYPE_CHECKING:
    from optagent.loop.optimize import Doors

# What ensembles and features import takes seconds: it is imported where it is needed.

Command = TuneModel | EnsembleModels | EngineerFeatures | OptimizeModel | BacktestModel

KINDS: Mapping[type[Any], str] = {
    TuneModel: "tune",
    EnsembleModels: "ensemble",
    EngineerFeatures: "features",
    OptimizeModel: "optimize",
    BacktestModel: "backtest",
}


@dataclass(frozen=True, slots=True)
class Work:
    """A command that was found to be sound, with what it has to do."""

    command: Command
    model_id: str
    do: Callable[[Run], Awaitable[Any]]


class WorkingDesk(Desk):
    """Does what is asked of the loop, in this program."""

    async def _work(self, command: Command) -> Work:
        """Raises ModelNotFound, and InvalidRequest for what does not fit the model."""
        if isinstance(command, TuneModel):
            return await self._tuning(command)
        if isinstance(command, EnsembleModels):
            return await self._ensembling(command)
        if isinstance(command, OptimizeModel):
            return await self._optimizing(command)
        if isinstance(command, BacktestModel):
            return await self._backtesting(command)
        return await self._engineering(command)

    def _new_work(self, work: Work) -> Process:
        """A search that is taken over goes on with its study, and an optimization with its stages."""
        return replace(self._new_process(KINDS[type(work.command)], work.model_id, plain(work.command)), durable=True)

    async def _done(self, command: Command, on_progress: Callable[[Progress], None] = lambda progress: None) -> Any:
        """Does it now, as a process of its own."""
        work = await self._work(command)
        process = replace(self._new_work(work), durable=False)  # it ends with this program
        return await run_process(process, work.do, self._store, self._outside.clock, on_progress)

    def _refused(self, error: OptAgentError, kind: type[Any], model_id: Any) -> Any:
        """An answer that holds the error; raised where the agent is strict."""
        if self._strict:
            raise error
        return kind(model_id=str(model_id), error=str(error))

    async def _optimizing(self, command: OptimizeModel) -> Work:
        from optagent.loop.gates.evaluate import check_gates
        from optagent.loop.optimize import improve

        spec = await self._store.model(command.model_id)
        check_gates(gates_from(command.gates), spec)
        doors = self._doors(command)
        return Work(command, spec.model_id, lambda run: improve(command, spec, self._outside, doors, run))

    def _doors(self, command: OptimizeModel) -> "Doors":
        """The verbs that an optimization asks of the whole agent."""
        raise NotImplementedError

    async def _backtesting(self, command: BacktestModel) -> Work:
        from optagent.loop.backtest import backtest, settled

        spec = await self._store.model(command.model_id)
        command = replace(command, ask=settled(command.ask, spec, self._outside.min_new_labels))
        return Work(command, spec.model_id, lambda run: backtest(command, spec, self._outside, run))

    async def _tuning(self, command: TuneModel) -> Work:
        spec = await self._store.model(command.model_id)
        objectives_of(spec, command)
        return Work(command, command.model_id, lambda run: tune(command, spec, self._outside, run))

    async def _ensembling(self, command: EnsembleModels) -> Work:
        from optagent.loop.train.ensemble import check_ensemble, ensemble

        specs: dict[str, ModelSpec] = {}
        for model_id in (command.of_model, *(parse_base(name)[0] for name in command.base_models)):
            specs[model_id] = specs.get(model_id) or await self._store.model(model_id)
        check_ensemble(command, specs)
        spec = specs[command.of_model]
        return Work(command, spec.model_id, lambda run: ensemble(command, spec, self._outside, run))

    async def _engineering(self, command: EngineerFeatures) -> Work:
        from optagent.loop.train.features import engineer

        spec = await self._store.model(command.model_id)
        return Work(command, command.model_id, lambda run: engineer(command, spec, self._outside, run))


def command_of(process: Process) -> Command:
    """What a process was asked to do; InvalidRequest where it does nothing by itself."""
    kinds = {kind: command for command, kind in KINDS.items()}
    if process.kind not in kinds:
        raise InvalidRequest(f"process {process.process_id!r} is of kind {process.kind!r}; queued are {sorted(kinds)}")
    command: Command = decode(kinds[process.kind], process.command)
    return command
