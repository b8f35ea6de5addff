"""Building commands: look for ensembles and features."""

from typing import TYPE_CHECKING, Annotated

import typer

from optagent import terminal
from optagent.cli.app import OUT, AsJson, RegisteredModel, app, print_json, show_progress, with_agent
from optagent.codec import plain

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.domain.ensemble_result import EnsembleResult
    from optagent.domain.feature_result import FeatureResult

Strategy = Annotated[str, typer.Option(help="conservative, balanced or aggressive.")]
Seed = Annotated[int, typer.Option(help="Same seed: same answer.")]


@app.command()
def ensemble(
    base_models: Annotated[
        list[str] | None, typer.Argument(help="Two or more: MODEL, MODEL@ALIAS or MODEL/VERSION.", show_default=False)
    ] = None,
    model_options: Annotated[
        list[str] | None, typer.Option("--model", help="The same by name, as in a job; repeat.")
    ] = None,
    method: Annotated[str, typer.Option(help="weighted, stacking, voting or auto.")] = "weighted",
    metric: Annotated[list[str] | None, typer.Option(help="The first has to improve; repeat.")] = None,
    into: Annotated[str | None, typer.Option(help="The model of which it becomes a version.")] = None,
    max_latency: Annotated[float | None, typer.Option(help="Most milliseconds of one row.")] = None,
    max_size: Annotated[float | None, typer.Option(help="Most megabytes.")] = None,
    max_models: Annotated[int | None, typer.Option(help="Most models.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Time limit of the whole command in seconds.")] = None,
    strategy: Strategy = "balanced",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Look for an ensemble that is better than the best of its models, and register it."""
    names = [*(base_models or ()), *(model_options or ())]

    async def combine(agent: "OptimizationAgent") -> "EnsembleResult":
        with show_progress(f"Looking for an ensemble of {', '.join(names)}", as_json) as display:
            return await agent.create_ensemble(
                names,
                method,
                metric or (),
                into,
                max_latency_ms=max_latency,
                max_size_mb=max_size,
                max_models=max_models,
                strategy=strategy,
                seed=seed,
                timeout_s=timeout,
                on_progress=display,
            )

    result = with_agent(combine)
    print_json(plain(result)) if as_json else terminal.show_ensemble(OUT, result)


@app.command()
def features(
    model: RegisteredModel,
    max_features: Annotated[int, typer.Option(help="Most features to add.")] = 20,
    timeout: Annotated[float, typer.Option(help="Time limit of the search in seconds.")] = 900.0,
    memory: Annotated[float, typer.Option(help="Memory limit of the search in megabytes.")] = 1024.0,
    strategy: Strategy = "balanced",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Look for features with which the champion would be better, prove them, and register a model with them."""

    async def engineer(agent: "OptimizationAgent") -> "FeatureResult":
        with show_progress(f"Looking for features of {model}", as_json) as display:
            return await agent.engineer_features(
                model, max_features, timeout, memory, strategy=strategy, seed=seed, on_progress=display
            )

    result = with_agent(engineer)
    print_json(plain(result)) if as_json else terminal.show_features(OUT, result)
