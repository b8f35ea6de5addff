"""Command line application: the program, its consoles, and the agent that every command calls."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from optagent.cli.own_process import PROCESS_START
from optagent.codec import without_secrets
from optagent.domain.actor import Door
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.settings import Settings
    from optagent.terminal_progress import ProgressDisplay

# `--help` and completion wait for what is imported here: the agent and the settings take a second, and are imported
# where a command needs them.

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Keeps production models good.")
OUT = Console()
ERR = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelArgument = Annotated[str | None, typer.Argument(metavar="MODEL", help="A registered model.", show_default=False)]
RegisteredModel = Annotated[str, typer.Argument(metavar="MODEL", help="A registered model.")]
ProcessArgument = Annotated[
    str, typer.Argument(metavar="PROCESS", help="The id of a run, as `optagent processes` lists it.")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="The same by name, as in a job.")]
Register = Annotated[Path | None, typer.Option(help="First register the model of this YAML file.")]


def group(name: str, help_text: str) -> typer.Typer:
    """A new command that has commands of its own."""
    commands = typer.Typer(no_args_is_help=True, help=help_text)
    app.add_typer(commands, name=name)
    return commands


def choose_model(argument: str | None, option: str | None) -> str:
    """The model that a command names, as its argument or by `--model`; InvalidRequest for none and for both."""
    if argument is not None and option is not None:
        raise InvalidRequest(f"one model is needed, got {argument!r} and --model {option!r}")
    model = argument if option is None else option
    if model is None:
        raise InvalidRequest("one model is needed: MODEL or --model MODEL")
    return model


def load_settings() -> "Settings":
    """The settings of this process; raises InvalidRequest."""
    from optagent.settings import load_settings

    return load_settings()


async def create_optimization_agent(
    settings: "Settings", strict: bool, starts_cluster: bool = False, known_model: str | None = None
) -> "OptimizationAgent":
    """An agent; `known_model` is the id of one that has to be registered, or else no cluster starts."""
    from optagent.bootstrap import create_optimization_agent
    from optagent.bootstrap.known_model import require_known_model

    async with AsyncExitStack() as door:
        if known_model is not None:
            await door.enter_async_context(require_known_model(known_model, settings))
        return await create_optimization_agent(settings, strict=strict, starts_cluster=starts_cluster)


def with_agent(
    verb: Callable[["OptimizationAgent"], Awaitable[Any]], register: Path | None = None, searches: str | None = None
) -> Any:
    """The answer of one verb, from an agent that is made for it; the model of a file is registered first.

    For a verb that `searches` for a model of that id, the cluster that runs is connected beside the agent, once the
    model is known; where none does, the first trials come before its start.
    """
    from optagent.agent.acts import acting_as, current_actor
    from optagent.agent.command_start import counting_from
    from optagent.bootstrap.usable_home import require_usable_home
    from optagent.extras import is_installed

    settings = load_settings()
    starts_cluster = searches is not None and is_installed("ray")
    known_model = searches if starts_cluster and register is None else None

    async def call() -> Any:
        async with await create_optimization_agent(
            settings=settings, strict=True, starts_cluster=starts_cluster, known_model=known_model
        ) as agent:
            if register is not None:
                await agent.register_model(register)
            return await verb(agent)

    require_usable_home(settings)
    with acting_as(current_actor(Door.COMMAND_LINE)), counting_from(PROCESS_START.get()):
        return asyncio.run(call())


@contextmanager
def show_progress(title: str, as_json: bool, waiting: str = "starting …") -> "Iterator[ProgressDisplay]":
    """A context in which a long command shows its progress; where it prints JSON, on standard error."""
    from optagent.terminal_progress import progress_display

    with progress_display(ERR if as_json else OUT, title, waiting) as display:
        yield display


def print_json(data: Any) -> None:
    """Indented in a terminal; for a file, a pipe and the log of a job on one line. Secrets of URLs are hidden."""
    typer.echo(json.dumps(without_secrets(data), indent=2 if OUT.is_terminal else None, ensure_ascii=False))
