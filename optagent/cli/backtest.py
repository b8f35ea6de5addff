"""Backtest command: replays a history under retraining policies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optagent import terminal
from optagent.cli.app import (
    ERR,
    OUT,
    AsJson,
    ModelArgument,
    ModelOption,
    app,
    choose_model,
    print_json,
    show_progress,
    with_agent,
)
from optagent.codec import plain
from optagent.domain.backtest import KNOWN, BacktestResult, parse_start

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent


@app.command("backtest")
def backtest_policies(
    label_delay: Annotated[str, typer.Option(help="How long after its row a label is known, such as 5d.")],
    model: ModelArgument = None,
    model_option: ModelOption = None,
    data: Annotated[
        str | None,
        typer.Option(help="The history, with labels and dates: Parquet, CSV or Arrow. Else the model's data."),
    ] = None,
    policy: Annotated[
        str, typer.Option(help=f"By comma: {', '.join(KNOWN)}, or YAML or JSON files of policies.")
    ] = "conservative,balanced,aggressive",
    start: Annotated[str, typer.Option(help="Where the replay begins: a share of the rows, or a date.")] = "0.3",
    step: Annotated[str, typer.Option(help="How often labels, monitor and policy are looked at.")] = "24h",
    trials: Annotated[int | None, typer.Option(help="Search the first version, and for policies that search.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed: same answer.")] = 0,
    seeds: Annotated[int, typer.Option(help="Replays of each policy, so that intervals hold training's spread.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a model's history under retraining policies, and say which one to take."""
    from optagent.backtest.run import contenders_from  # what it imports takes a second

    model_id, policies = choose_model(model, model_option), contenders_from(policy)
    title = f"Replaying {', '.join(one.name for one in policies)}"

    async def replay(agent: "OptimizationAgent") -> BacktestResult:
        more = {"start": parse_start(start), "step": step, "seed": seed, "trials": trials, "seeds": seeds}
        with show_progress(title, as_json) as display:
            result = await agent.backtest_model(model_id, data, label_delay, policies, on_progress=display, **more)
        if html is not None:
            await agent.draw_backtest(result, html)
        return result

    result = with_agent(replay)
    print_json(plain(result)) if as_json else show(result)
    if html is not None:
        ERR.print(f"drawn: {html}", highlight=False, soft_wrap=True)


def show(result: BacktestResult) -> None:
    """Prints the facts of the replay, the policies beside each other, and the recommendation."""
    from optagent.analysis.report.backtest_table import replay_facts, short_policies_table

    for name, value in replay_facts(result):
        OUT.print(f"[dim]{name}:[/dim] {value}", highlight=False)
    terminal.show_table(OUT, *short_policies_table(result))
    for note in result.notes:
        OUT.print(note, style="dim", highlight=False, markup=False)
    if result.recommended is not None:
        OUT.print(f"take {result.recommended}: {result.confidence_in_words}", highlight=False, markup=False)
