"""What every command works with: the program, where it prints, and the agent."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from optagent.agent import OptimizationAgent
from optagent.bootstrap import create_optimization_agent

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Keeps production models good."
)
OUT = Console()
ERR = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def group(name: str, said: str) -> typer.Typer:
    """A command with commands of its own."""
    made = typer.Typer(no_args_is_help=True, help=said)
    app.add_typer(made, name=name)
    return made


def with_agent(verb: Callable[[OptimizationAgent], Awaitable[Any]]) -> Any:
    """What a verb answers, of an agent that lives for this one."""

    async def call() -> Any:
        async with await create_optimization_agent(strict=True) as agent:
            return await verb(agent)

    return asyncio.run(call())


def print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
