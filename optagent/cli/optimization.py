"""Optimization command: runs the whole loop for a model."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from optagent import terminal
from optagent.cli.app import (
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
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.domain.optimization import OptimizationResult


@app.command()
def optimize(
    model: ModelArgument = None,
    optimization_type: Annotated[
        str, typer.Argument(help="full, retrain, tune, features, ensemble, or auto: what the diagnosis asks for.")
    ] = "full",
    model_option: ModelOption = None,
    type_option: Annotated[str | None, typer.Option("--type", help="The same by name, as in a job.")] = None,
    action: Annotated[str, typer.Option(help="How far one that passed may go: candidate, shadow, full.")] = "candidate",
    strategy: Annotated[str, typer.Option(help="conservative, balanced or aggressive.")] = "balanced",
    trials: Annotated[int | None, typer.Option(help="Trials of a search.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Time limit of the whole command in seconds.")] = None,
    window: Annotated[str, typer.Option(help="auto, expanding, sliding, weighted or since_change.")] = "auto",
    gates: Annotated[str, typer.Option(help='JSON, such as {"accuracy_min": 0.7, "max_latency_ms": 50}.')] = "{}",
    time_range: Annotated[str, typer.Option(help="What is looked at: 24h, or START..END.")] = "24h",
    seed: Annotated[int, typer.Option(help="Same seed: same answer.")] = 0,
    refit: Annotated[bool, typer.Option(help="What goes to shadow learns from the holdout's rows too.")] = True,
    bag: Annotated[int, typer.Option(help="Try the mean of so many models of the candidate; 0: none.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the loop for a model: look, learn, find a candidate, judge it at every gate, let it in."""
    model_id = choose_model(model, model_option)
    try:
        gate_fields = json.loads(gates)
    except ValueError as error:
        raise InvalidRequest(f"--gates: not JSON: {error}") from None

    async def improve(agent: "OptimizationAgent") -> "OptimizationResult":
        with show_progress(f"Optimizing {model_id}", as_json) as display:
            return await agent.optimize_model(
                model_id,
                type_option or optimization_type,
                action,
                strategy,
                on_progress=display,
                trials=trials,
                timeout_s=timeout,
                window=window,
                gates=gate_fields,
                time_range=time_range,
                seed=seed,
                refit=refit,
                bag=bag,
            )

    result = with_agent(improve)
    print_json(plain(result)) if as_json else terminal.show_optimization(OUT, result)
