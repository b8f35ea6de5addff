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

from optagent import terminal
from optagent.agent import OptimizationAgent
from optagent.bootstrap import create_optimization_agent
from optagent.codec import plain
from optagent.domain.study import TuningResult
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
    method: Annotated[str, typer.Option(help="optuna (tpe) or random.")] = "optuna",
    trials: Annotated[int | None, typer.Option(help="Number of trials.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Time limit in seconds.")] = None,
    strategy: Annotated[str, typer.Option(help="conservative, balanced or aggressive.")] = "balanced",
    max_concurrent: Annotated[int | None, typer.Option(help="Most trials at a time.")] = None,
    cpus_per_trial: Annotated[int, typer.Option(help="Cores of a trial.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed and one trial at a time: same answer.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Search for better parameters of a registered model on the cluster."""

    async def search(agent: OptimizationAgent) -> TuningResult:
        show = ERR if as_json else OUT
        with terminal.search_display(show, f"Tuning {model}") as display:
            return await agent.tune_hyperparameters(
                model, method, trials, timeout, strategy, max_concurrent, cpus_per_trial, seed, on_progress=display
            )

    result = _with_agent(search)
    _print(plain(result)) if as_json else terminal.show_result(OUT, result)


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
