"""Search commands: searches, their studies and their processes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optagent import terminal
from optagent.cli.app import (
    OUT,
    AsJson,
    ModelArgument,
    ModelOption,
    ProcessArgument,
    Register,
    app,
    choose_model,
    print_json,
    show_progress,
    with_agent,
)
from optagent.codec import plain
from optagent.domain.instant import time_text
from optagent.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.domain.study import TuningResult
    from optagent.domain.study_report import StudyReport, StudySummary


@app.command()
def tune(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    register: Register = None,
    method: Annotated[
        str, typer.Option(help="tpe (optuna), gp (bayesian), hyperopt, random, nsga2, portfolio.")
    ] = "optuna",
    objective: Annotated[list[str] | None, typer.Option(help="A metric first, then metrics or costs; repeat.")] = None,
    trials: Annotated[int | None, typer.Option(help="Number of trials.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Time limit of the whole command in seconds.")] = None,
    strategy: Annotated[str, typer.Option(help="conservative, balanced or aggressive.")] = "balanced",
    early_stopping: Annotated[str, typer.Option(help="asha, median or none.")] = "asha",
    max_concurrent: Annotated[int | None, typer.Option(help="Most trials at a time.")] = None,
    cpus_per_trial: Annotated[int, typer.Option(help="Cores of a trial.")] = 1,
    gpus_per_trial: Annotated[int, typer.Option(help="GPUs of a trial.")] = 0,
    trial_timeout: Annotated[float | None, typer.Option(help="Time limit of a trial in seconds.")] = None,
    trial_memory: Annotated[float | None, typer.Option(help="Memory limit of a trial in megabytes.")] = None,
    max_cpu: Annotated[float | None, typer.Option(help="Most core-seconds of the whole search.")] = None,
    transfer: Annotated[bool, typer.Option(help="Try what was good in earlier searches.")] = True,
    starting_points: Annotated[bool, typer.Option(help="Try what was good on public tables first.")] = True,
    ensemble: Annotated[int, typer.Option(help="Try an ensemble of so many best trials at the end; 0: none.")] = 0,
    bag: Annotated[int, typer.Option(help="Try the mean of so many models of the outcome at the end; 0: none.")] = 0,
    seed: Annotated[int, typer.Option(help="Same seed and one trial at a time: same answer.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last search that did not succeed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for better parameters of a registered model on the cluster."""
    model_id = choose_model(model, model_option)

    async def search(agent: "OptimizationAgent") -> "TuningResult":
        with show_progress(f"Tuning {model_id}", as_json, "starting Ray and its workers …") as display:
            return await agent.tune_hyperparameters(
                model_id,
                method,
                trials,
                timeout,
                strategy,
                resume,
                on_progress=display,
                objectives=tuple(objective or ()),
                stopping=early_stopping,
                max_concurrent=max_concurrent,
                cpus_per_trial=cpus_per_trial,
                gpus_per_trial=gpus_per_trial,
                trial_timeout_s=trial_timeout,
                trial_memory_mb=trial_memory,
                max_cpu_s=max_cpu,
                transfer=transfer,
                starting_points=starting_points,
                ensemble=ensemble,
                bag=bag,
                seed=seed,
            )

    result = with_agent(search, register, searches=model_id)
    print_json(plain(result)) if as_json else terminal.show_result(OUT, result)


@app.command()
def studies(
    name: Annotated[str | None, typer.Argument(help="A model, for its searches, or a search, for its trials.")] = None,
    html: Annotated[Path | None, typer.Option(help="A folder for the search's plots.")] = None,
    as_json: AsJson = False,
) -> None:
    """List searches, or show one: its best trials, which parameters mattered, the Pareto front, plots."""

    async def look(agent: "OptimizationAgent") -> "tuple[list[StudySummary] | StudyReport, list[Path]]":
        found = await agent.studies(name)
        if name is None or found or name in [spec.model_id for spec in await agent.models()]:
            if html is not None:
                raise InvalidRequest("--html draws one search: name it")
            return found, []
        try:
            report = await agent.study(name)
        except NotFound:
            raise NotFound(f"no model or search {name!r}") from None
        return report, await agent.draw_study(name, html) if html is not None else []

    found, drawn = with_agent(look)
    if as_json:
        return print_json([plain(one) for one in found] if isinstance(found, list) else plain(found))
    terminal.show_studies(OUT, found) if isinstance(found, list) else terminal.show_study(OUT, found)
    for path in drawn:
        OUT.print(f"drawn: {path}", highlight=False, soft_wrap=True)


@app.command()
def processes(
    model: Annotated[str | None, typer.Argument(help="Only those of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    found = with_agent(lambda agent: agent.processes(model, limit))
    if as_json:
        return print_json([plain(process) for process in found])
    rows = [
        [
            item.process_id,
            item.model_id,
            str(item.status),
            item.stage or "",
            time_text(item.created_at),
            item.error or "",
        ]
        for item in found
    ]
    terminal.show_table(OUT, ["process", "model", "status", "stage", "created", "error"], rows)


@app.command()
def status(process_id: ProcessArgument) -> None:
    """Print all that is known of one run, as JSON."""
    print_json(plain(with_agent(lambda agent: agent.process(process_id))))


@app.command()
def cancel(process_id: ProcessArgument) -> None:
    """Ask a run to stop."""
    with_agent(lambda agent: agent.cancel(process_id))
    OUT.print(f"asked {process_id} to stop", highlight=False)
