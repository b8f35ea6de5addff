"""The command line: each command is one verb of the agent. A refused request exits with 2, another failure with 1."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

from optagent import terminal, terminal_report
from optagent.agent import OptimizationAgent
from optagent.bootstrap import create_optimization_agent
from optagent.codec import plain
from optagent.domain.model_report import ModelReport
from optagent.domain.study import TuningResult
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.errors import Conflict, InvalidRequest, NotFound, OptAgentError
from optagent.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Keeps production models good."
)
OUT = Console()
ERR = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _log(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Debug mode.")] = False) -> None:
    configure_logging("DEBUG" if verbose else None)


def configure_logging(level: str | None = None) -> None:
    """Logs of optagent to standard error, at `level` or at the level of the settings."""
    logger = logging.getLogger("optagent")
    logger.setLevel(level or load_settings().log_level)
    logger.handlers = [RichHandler(console=ERR, show_path=False)]


@app.command()
def register(file: Path, as_json: AsJson = False) -> None:
    """Register a model from a YAML file, or replace it."""
    spec = _with_agent(lambda agent: agent.register_model(file))
    _print(plain(spec)) if as_json else OUT.print(f"registered {spec.model_id}", highlight=False)


@app.command()
def tune(
    model: str,
    method: Annotated[
        str, typer.Option(help="tpe (optuna), gp (bayesian), hyperopt, random, nsga2, portfolio.")
    ] = "optuna",
    objective: Annotated[list[str] | None, typer.Option(help="A metric first, then metrics or costs; repeat.")] = None,
    trials: Annotated[int | None, typer.Option(help="Number of trials.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Time limit in seconds.")] = None,
    strategy: Annotated[str, typer.Option(help="conservative, balanced or aggressive.")] = "balanced",
    early_stopping: Annotated[str, typer.Option(help="asha, median or none.")] = "asha",
    max_concurrent: Annotated[int | None, typer.Option(help="Most trials at a time.")] = None,
    cpus_per_trial: Annotated[int, typer.Option(help="Cores of a trial.")] = 1,
    gpus_per_trial: Annotated[int, typer.Option(help="GPUs of a trial.")] = 0,
    trial_timeout: Annotated[float | None, typer.Option(help="Time limit of a trial in seconds.")] = None,
    trial_memory: Annotated[float | None, typer.Option(help="Memory limit of a trial in megabytes.")] = None,
    max_cpu: Annotated[float | None, typer.Option(help="Most core-seconds of the whole search.")] = None,
    transfer: Annotated[bool, typer.Option(help="Try what was good in earlier searches.")] = True,
    seed: Annotated[int, typer.Option(help="Same seed and one trial at a time: same answer.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last search that did not succeed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search for better parameters of a registered model on the cluster."""

    async def search(agent: OptimizationAgent) -> TuningResult:
        show = ERR if as_json else OUT
        with terminal.search_display(show, f"Tuning {model}") as display:
            return await agent.tune_hyperparameters(
                model,
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
                seed=seed,
            )

    result = _with_agent(search)
    _print(plain(result)) if as_json else terminal.show_result(OUT, result)


@app.command("import")
def import_(
    uri: Annotated[str, typer.Argument(help="models:/NAME/3, runs:/ID/path, or the folder of an MLflow model.")],
    model: Annotated[str, typer.Option("--as", help="The registered model of which it becomes a version.")],
    trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="Open a pickle: it can run any code.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import an existing MLflow model as a version of a registered model."""
    version = _with_agent(lambda agent: agent.import_model(uri, model, trust_pickle))
    said = f"imported {uri} as version {version.version} of {model} {' '.join(version.aliases)}".rstrip()
    _print(plain(version)) if as_json else OUT.print(said, highlight=False)


@app.command()
def record(
    model: str,
    predictions: Annotated[Path | None, typer.Option(help="Parquet, CSV or Arrow file of predictions.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Parquet, CSV or Arrow file of labels.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Predictions with labels: what a model served elsewhere is compared with.")
    ] = None,
) -> None:
    """Record what a model predicted and what came true."""
    if predictions is None and labels is None and reference is None:
        raise InvalidRequest("name a file: --predictions, --labels or --reference")

    async def take(agent: OptimizationAgent) -> list[str]:
        said = []
        if reference is not None:
            said.append(f"{await agent.set_reference(model, reference):,} rows of reference")
        if predictions is not None:
            said.append(f"{await agent.record_predictions(model, predictions):,} predictions")
        if labels is not None:
            said.append(f"{await agent.record_labels(model, labels):,} labels")
        return said

    OUT.print(f"recorded {', '.join(_with_agent(take))}", highlight=False)


@app.command()
def analyze(
    model: str,
    time_range: Annotated[str | None, typer.Option("--range", help="90m, 24h, 7d, or START..END.")] = None,
    analysis_type: Annotated[
        str, typer.Option("--type", help="performance, drift, importance, confidence or full.")
    ] = "full",
    version: Annotated[str, typer.Option(help="A version, or an alias.")] = "champion",
    data: Annotated[Path | None, typer.Option(help="Look at the rows of this file instead of recorded ones.")] = None,
    labels: Annotated[Path | None, typer.Option(help="With --data: a file of labels by id.")] = None,
    separability: Annotated[
        bool, typer.Option("--separability", help="Also whether a model can tell these rows from the reference.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how a model does, and what is wrong with it."""
    if labels is not None and data is None:
        raise InvalidRequest("--labels goes with --data; recorded labels are taken as they are")

    async def look(agent: OptimizationAgent) -> ModelReport:
        if data is None:
            found = await agent.analyze_model(model, analysis_type, time_range or "24h", version, separability)
        else:
            known = str(labels) if labels is not None else None
            found = await agent.analyze_files(model, str(data), known, analysis_type, time_range, version, separability)
        if html is not None:
            await agent.draw_report(found, html)
        return found

    report = _with_agent(look)
    _print(plain(report)) if as_json else terminal_report.show_report(OUT, report)
    if html is not None:
        ERR.print(f"drawn: {html}", highlight=False, soft_wrap=True)


@app.command()
def alerts(
    model: Annotated[str | None, typer.Argument(help="Only those of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what is wrong, and what was: open alerts first."""
    found = _with_agent(lambda agent: agent.alerts(model, limit))
    _print([plain(one) for one in found]) if as_json else terminal_report.show_alerts(OUT, found)


@app.command()
def watch(
    model: str,
    stop: Annotated[bool, typer.Option("--stop", help="Stop watching.")] = False,
    shards: Annotated[int, typer.Option(min=1, help="Actors that archive what is recorded.")] = 1,
) -> None:
    """Have a running Ray cluster (OPT_AGENT_RAY_ADDRESS) watch a model."""
    if load_settings().ray_address is None:
        raise InvalidRequest(
            "a monitor lives as long as its cluster: start one (make up), set OPT_AGENT_RAY_ADDRESS=auto"
        )
    verb = (lambda agent: agent.stop_monitor(model)) if stop else (lambda agent: agent.start_monitor(model, shards))
    _with_agent(verb)
    OUT.print(f"{'stopped watching' if stop else 'watching'} {model}", highlight=False)


@app.command()
def monitors(as_json: AsJson = False) -> None:
    """List the monitors of a running Ray cluster."""
    if load_settings().ray_address is None:
        raise InvalidRequest("name the cluster: OPT_AGENT_RAY_ADDRESS=auto")
    found = _with_agent(lambda agent: agent.monitors())
    if as_json:
        return _print([plain(one) for one in found])
    rows = [
        [
            one.model_id,
            str(one.shard),
            "yes" if one.alive else "no",
            f"{one.drained:,}",
            *("" if at is None else _time(at) for at in (one.since, one.last_report)),
            one.error or "",
        ]
        for one in found
    ]
    terminal.show_table(OUT, ["model", "shard", "alive", "archived", "since", "last report", "error"], rows)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the registered models."""
    found = _with_agent(lambda agent: agent.models())
    if as_json:
        return _print([plain(spec) for spec in found])
    rows = [[spec.model_id, str(spec.task), spec.target, ", ".join(spec.families) or "default"] for spec in found]
    terminal.show_table(OUT, ["model", "task", "target", "families"], rows)


@app.command()
def versions(model: str, as_json: AsJson = False) -> None:
    """List the versions of a model, the newest first."""
    found = _with_agent(lambda agent: agent.versions(model))
    if as_json:
        return _print([plain(version) for version in found])
    rows = [
        [
            item.version,
            ", ".join(item.aliases),
            item.tags.get("family", ""),
            "  ".join(f"{name} {value:.5f}" for name, value in sorted(item.metrics.items())),
            _time(item.created_at),
        ]
        for item in found
    ]
    terminal.show_table(OUT, ["version", "alias", "family", "metrics", "created"], rows)


@app.command()
def processes(
    model: Annotated[str | None, typer.Argument(help="Only those of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    found = _with_agent(lambda agent: agent.processes(model, limit))
    if as_json:
        return _print([plain(process) for process in found])
    rows = [
        [item.process_id, item.model_id, str(item.status), item.stage or "", _time(item.created_at), item.error or ""]
        for item in found
    ]
    terminal.show_table(OUT, ["process", "model", "status", "stage", "created", "error"], rows)


@app.command()
def studies(
    name: Annotated[str | None, typer.Argument(help="A model, for its searches, or a search, for its trials.")] = None,
    html: Annotated[Path | None, typer.Option(help="A folder for the search's plots.")] = None,
    as_json: AsJson = False,
) -> None:
    """List searches, or show one: its best trials, which parameters mattered, the Pareto front, plots."""

    async def look(agent: OptimizationAgent) -> tuple[list[StudySummary] | StudyReport, list[Path]]:
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

    found, drawn = _with_agent(look)
    if as_json:
        return _print([plain(one) for one in found] if isinstance(found, list) else plain(found))
    terminal.show_studies(OUT, found) if isinstance(found, list) else terminal.show_study(OUT, found)
    for path in drawn:
        OUT.print(f"drawn: {path}", highlight=False, soft_wrap=True)


@app.command()
def status(process_id: str) -> None:
    """Print all that is known of one run, as JSON."""
    _print(plain(_with_agent(lambda agent: agent.process(process_id))))


@app.command()
def cancel(process_id: str) -> None:
    """Ask a run to stop."""
    _with_agent(lambda agent: agent.cancel(process_id))
    OUT.print(f"asked {process_id} to stop", highlight=False)


@app.command()
def config(as_json: AsJson = False) -> None:
    """Print every setting, its value, and where the value came from."""
    rows = load_settings().explained()
    if as_json:
        return _print({name: {"value": value, "from": origin} for name, value, origin in rows})
    terminal.show_table(OUT, ["setting", "value", "from"], rows)


def _with_agent(verb: Callable[[OptimizationAgent], Awaitable[Any]]) -> Any:
    async def call() -> Any:
        async with await create_optimization_agent(strict=True) as agent:
            return await verb(agent)

    return asyncio.run(call())


def _print(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def main() -> NoReturn:
    """Runs the command line."""
    try:
        app()
    except OptAgentError as error:
        ERR.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, InvalidRequest | NotFound | Conflict) else 1)
    except KeyboardInterrupt:
        ERR.print("stopped")
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
