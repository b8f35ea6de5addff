"""Fleet command: all models side by side, once or as long as one looks."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from optagent.cli.app import OUT, AsJson, app, print_json, with_agent
from optagent.codec import plain
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.domain.fleet import Fleet

_EVERY_S = 2.0


@app.command()
def fleet(
    words: Annotated[
        list[str] | None, typer.Argument(help="Parts of names, a health, a task, or what answers: all must fit.")
    ] = None,
    order: Annotated[str, typer.Option(help="health, model, drift or change.")] = "health",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most models to show.")] = 25,
    days: Annotated[float, typer.Option(min=0, max=1000, help="Days of each model's metric.")] = 30.0,
    live: Annotated[bool, typer.Option("--live", help="Keep it up to date until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show all models with their health, what answers for them, their metric over time, drift and processes."""
    if live:
        return show_live(" ".join(words or ()), order, limit, days)
    page = with_agent(lambda agent: agent.fleet(" ".join(words or ()), order, 0, limit, days))
    if as_json:
        return print_json(plain(page))
    from optagent import terminal_fleet

    terminal_fleet.show_fleet(OUT, page)


def show_live(query: str, order: str, limit: int, days: float) -> None:
    """Keeps a page of the fleet up to date in the terminal until it is interrupted."""
    if not OUT.is_terminal:
        raise InvalidRequest("--live draws in a terminal: for a file or a pipe, ask once, or with --json")

    async def draw(agent: "OptimizationAgent") -> None:
        from rich.live import Live

        from optagent import terminal_fleet

        async def read() -> "Fleet":
            return await agent.fleet(query, order, 0, limit, days)

        with Live(terminal_fleet.draw_fleet(await read()), console=OUT, auto_refresh=False) as screen:
            while True:
                await asyncio.sleep(_EVERY_S)
                screen.update(terminal_fleet.draw_fleet(await read()), refresh=True)

    with_agent(draw)
