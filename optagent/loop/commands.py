"""Command table: every command that the loop runs as a process, with the functions that check and run it."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from optagent.codec import decode, plain
from optagent.domain.actor import Actor
from optagent.domain.command import (
    BacktestModel,
    EngineerFeatures,
    EnsembleModels,
    OptimizeModel,
    TuneModel,
    parse_base,
)
from optagent.domain.model import ModelSpec
from optagent.domain.process import Process, Status
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports
from optagent.loop.process import LEASE_S, OnRunProgress, Run, run_claimed, run_created
from optagent.ports.absent import require_present

# What the loop's stages import (scikit-learn, scipy) takes seconds: it is imported where it is needed.

Command = TuneModel | EnsembleModels | EngineerFeatures | OptimizeModel | BacktestModel


@dataclass(frozen=True, slots=True)
class Job:
    """A command that fits its model, `spec`."""

    command: Command
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Handler:
    """The kind of a command's processes, and the two functions that serve it.

    `check` answers the job; it raises ModelNotFound, and InvalidRequest where the command does not fit the model. `run`
    does the work and answers its result.
    """

    kind: str
    check: Callable[[Any, Ports], Awaitable[Job]]
    run: Callable[[Any, ModelSpec, Ports, Run], Awaitable[Any]]


async def check_tune(command: TuneModel, ports: Ports) -> Job:
    from optagent.loop.train.study import objectives_of

    spec = await ports.store.model(command.model_id)
    objectives_of(spec, command)
    return Job(command, spec)


async def run_tune(command: TuneModel, spec: ModelSpec, ports: Ports, run: Run) -> Any:
    from optagent.loop.train.tune import tune

    return await tune(command, spec, ports, run)


async def check_ensemble(command: EnsembleModels, ports: Ports) -> Job:
    from optagent.loop.train.ensemble import check_base_models

    specs: dict[str, ModelSpec] = {}
    for model_id in (command.target_model_id, *(parse_base(name)[0] for name in command.base_models)):
        specs[model_id] = specs.get(model_id) or await ports.store.model(model_id)
    check_base_models(command, specs)
    return Job(command, specs[command.target_model_id])


async def run_ensemble(command: EnsembleModels, spec: ModelSpec, ports: Ports, run: Run) -> Any:
    from optagent.loop.train.ensemble import create_ensemble

    return await create_ensemble(command, spec, ports, run)


async def check_features(command: EngineerFeatures, ports: Ports) -> Job:
    return Job(command, await ports.store.model(command.model_id))


async def run_features(command: EngineerFeatures, spec: ModelSpec, ports: Ports, run: Run) -> Any:
    from optagent.loop.train.features import engineer_features

    return await engineer_features(command, spec, ports, run)


async def check_optimize(command: OptimizeModel, ports: Ports) -> Job:
    from optagent.loop.gates.evaluate import gates_for

    spec = await ports.store.model(command.model_id)
    gates_for(command.gates, spec)
    return Job(command, spec)


async def run_optimize(command: OptimizeModel, spec: ModelSpec, ports: Ports, run: Run) -> Any:
    from optagent.loop.optimize import optimize

    return await optimize(command, spec, ports, run)


async def check_backtest(command: BacktestModel, ports: Ports) -> Job:
    from optagent.loop.backtest import settle_ask

    spec = await ports.store.model(command.model_id)
    return Job(replace(command, ask=settle_ask(command.ask, spec, ports.min_new_labels)), spec)


async def run_backtest(command: BacktestModel, spec: ModelSpec, ports: Ports, run: Run) -> Any:
    from optagent.loop.backtest import backtest

    return await backtest(command, spec, ports, run)


HANDLERS: Mapping[type[Any], Handler] = {
    TuneModel: Handler("tune", check_tune, run_tune),
    EnsembleModels: Handler("ensemble", check_ensemble, run_ensemble),
    EngineerFeatures: Handler("features", check_features, run_features),
    OptimizeModel: Handler("optimize", check_optimize, run_optimize),
    BacktestModel: Handler("backtest", check_backtest, run_backtest),
}


async def check_command(command: Command, ports: Ports) -> Job:
    """The command as a job; raises ModelNotFound, InvalidRequest where it does not fit the model, and MissingExtra."""
    if not isinstance(command, BacktestModel):
        require_present(ports.tuner)
        require_present(ports.registry)
    return await HANDLERS[type(command)].check(command, ports)


async def run_job(job: Job, ports: Ports, run: Run, began_at: float | None = None) -> Any:
    """Does the work of a job within a process, and answers its result.

    The limit of a command counts from `began_at` of `time.monotonic`, by default from now.
    """
    if isinstance(job.command, TuneModel | EnsembleModels | OptimizeModel):
        run.limit_time(job.command.timeout_s, began_at)
    return await HANDLERS[type(job.command)].run(job.command, job.spec, ports, run)


def target_of(command: Command) -> str:
    """The id of the model that a command is for."""
    return command.target_model_id if isinstance(command, EnsembleModels) else command.model_id


def new_process_id(command: Command, actor: Actor) -> str:
    """An id for the process of a command; the same again where the actor repeats a request."""
    kind = HANDLERS[type(command)].kind
    return f"{kind}-{actor.derive_id(kind) or uuid.uuid4().hex[:12]}"


def new_process(job: Job, process_id: str, ports: Ports) -> Process:
    """A durable process for a job: a runner that takes it over goes on with its study or with its stages.

    Raises InvalidRequest for a command that must not be kept, since it holds a password.
    """
    kind, now = HANDLERS[type(job.command)].kind, ports.clock.now()
    process = Process(process_id, kind, job.spec.model_id, Status.PENDING, now, now, plain(_storable_command(job)))
    return replace(process, durable=True)


def _storable_command(job: Job) -> Command:
    if not isinstance(job.command, BacktestModel):
        return job.command
    from optagent.loop.backtest import settle_source

    return replace(job.command, data=settle_source(job.command.data, job.spec))


async def begin_command(command: Command, process_id: str, ports: Ports) -> tuple[Job, Process]:
    """Stores a process that ends with this program, for `run_begun`, and answers it with its job."""
    job = await check_command(command, ports)
    process = replace(new_process(job, process_id, ports), durable=False)
    await ports.store.create_process(process, LEASE_S)
    return job, process


async def run_begun(
    job: Job,
    process: Process,
    ports: Ports,
    on_progress: OnRunProgress,
    began_at: float | None = None,
) -> Any:
    """Does the work of a process that `begin_command` has stored, and answers its result."""

    async def work(run: Run) -> Any:
        return await run_job(job, ports, run, began_at)

    return await run_created(process, work, ports.store, ports.clock, on_progress)


async def run_queued_process(process_id: str, ports: Ports) -> None:
    """Takes a queued process and does its work in this program; the stored process holds its end.

    Raises ProcessNotFound, Conflict where another runner has taken it, LeaseLost where another takes it over, and the
    errors of its work. One that waits with a command that cannot be read ends as failed: it would block the queue.
    """
    process = await ports.store.process(process_id)
    if process.status is not Status.QUEUED:
        command_of(process)

    async def work(run: Run) -> Any:
        return await run_job(await check_command(command_of(run.process), ports), ports, run)

    await run_claimed(process_id, work, ports.store, ports.clock)


def command_of(process: Process) -> Command:
    """The command of a process; InvalidRequest where its kind is none of the table."""
    kinds = {handler.kind: command for command, handler in HANDLERS.items()}
    if process.kind not in kinds:
        raise InvalidRequest(f"process {process.process_id!r} is of kind {process.kind!r}; queued are {sorted(kinds)}")
    command: Command = decode(kinds[process.kind], process.command)
    return command
