"""Monitoring commands: record, analyze and watch a model."""

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
    Register,
    RegisteredModel,
    app,
    choose_model,
    load_settings,
    print_json,
    with_agent,
)
from optagent.cli.fleet import show_live
from optagent.codec import plain
from optagent.domain.instant import time_text
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.agent import OptimizationAgent
    from optagent.domain.model_report import ModelReport


@app.command()
def record(
    model: RegisteredModel,
    predictions: Annotated[Path | None, typer.Option(help="Parquet, CSV or Arrow file of predictions.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Parquet, CSV or Arrow file of labels.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Predictions with labels: what a model served elsewhere is compared with.")
    ] = None,
) -> None:
    """Record what a model predicted and what came true."""
    if predictions is None and labels is None and reference is None:
        raise InvalidRequest("name a file: --predictions, --labels or --reference")

    async def take(agent: "OptimizationAgent") -> list[str]:
        counts = []
        if reference is not None:
            counts.append(f"{await agent.set_reference(model, reference):,} rows of reference")
        if predictions is not None:
            counts.append(f"{await agent.record_predictions(model, predictions):,} predictions")
        if labels is not None:
            counts.append(f"{await agent.record_labels(model, labels):,} labels")
        return counts

    OUT.print(f"recorded {', '.join(with_agent(take))}", highlight=False)


@app.command()
def analyze(
    model: ModelArgument = None,
    model_option: ModelOption = None,
    register: Register = None,
    time_range: Annotated[str | None, typer.Option("--range", help="90m, 24h, 7d, or START..END.")] = None,
    analysis_type: Annotated[
        str, typer.Option("--type", help="performance, drift, importance, confidence or full.")
    ] = "full",
    version: Annotated[str, typer.Option(help="A version, or an alias.")] = "champion",
    data: Annotated[str | None, typer.Option(help="Look at the rows of this file instead of recorded ones.")] = None,
    labels: Annotated[str | None, typer.Option(help="With --data: a file of labels by id.")] = None,
    windows: Annotated[
        int, typer.Option(min=0, help="With --data: first each of so many equal parts, side by side.")
    ] = 0,
    separability: Annotated[
        bool, typer.Option("--separability", help="Also whether a model can tell these rows from the reference.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how a model does, and what is wrong with it."""
    model_id = choose_model(model, model_option)
    if data is None and labels is not None:
        raise InvalidRequest("--labels goes with --data; recorded labels are taken as they are")
    if data is None and windows:
        raise InvalidRequest("--windows goes with --data")

    async def look(agent: "OptimizationAgent") -> "list[ModelReport]":
        asked = (analysis_type, time_range, version, separability)
        if data is None:
            asked = (analysis_type, time_range or "24h", version, separability)
            reports = [await agent.analyze_model(model_id, *asked)]
        elif windows:
            from optagent.domain.command import AnalyzeModel

            reports = await agent.analyze_windows(AnalyzeModel(model_id, *asked), data, labels, windows)
        else:
            reports = [await agent.analyze_files(model_id, data, labels, *asked)]
        if html is not None:
            await agent.draw_report(reports[-1], html)
        return reports

    from optagent import terminal_report

    for report in with_agent(look, register):
        print_json(plain(report)) if as_json else terminal_report.show_report(OUT, report)
    if html is not None:
        ERR.print(f"drawn: {html}", highlight=False, soft_wrap=True)


@app.command()
def labels(model: RegisteredModel, as_json: AsJson = False) -> None:
    """Say at what age the labels of a model come, and which label delay that suggests."""
    from optagent import terminal_report

    maturity = with_agent(lambda agent: agent.label_maturity(model))
    print_json(plain(maturity)) if as_json else terminal_report.show_labels(OUT, maturity)


@app.command()
def intervals(model: RegisteredModel, as_json: AsJson = False) -> None:
    """Say how much a model's intervals were to cover, and how much they did: in all, by level and by tenth of time."""
    from optagent import terminal_intervals

    status = with_agent(lambda agent: agent.intervals(model))
    print_json(plain(status)) if as_json else terminal_intervals.show_intervals(OUT, status)


@app.command()
def alerts(
    model: Annotated[str | None, typer.Argument(help="Only those of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what is wrong, and what was: open alerts first."""
    from optagent import terminal_report

    all_alerts = with_agent(lambda agent: agent.alerts(model, limit))
    print_json([plain(alert) for alert in all_alerts]) if as_json else terminal_report.show_alerts(OUT, all_alerts)


@app.command()
def watch(
    model: Annotated[str | None, typer.Argument(help="A registered model.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop watching.")] = False,
    shards: Annotated[int, typer.Option(min=1, help="Actors that archive what is recorded.")] = 1,
    live: Annotated[bool, typer.Option("--live", help="Show all models in this terminal, until Ctrl-C.")] = False,
) -> None:
    """Have a running Ray cluster watch a model: that of `up`, or OPT_AGENT_RAY_ADDRESS; or show all models, live."""
    if live:
        if model is not None or stop:
            raise InvalidRequest("--live shows all models: optagent fleet WORDS --live shows some")
        return show_live("", "health", 25, 30.0)
    if model is None:
        raise InvalidRequest("name a model to watch, or show all of them: optagent watch --live")
    if _running_cluster() is None:
        raise InvalidRequest(
            "a monitor lives as long as its cluster: start one (optagent up), or set OPT_AGENT_RAY_ADDRESS=auto"
        )
    verb = (lambda agent: agent.stop_monitor(model)) if stop else (lambda agent: agent.start_monitor(model, shards))
    with_agent(verb)
    OUT.print(f"{'stopped watching' if stop else 'watching'} {model}", highlight=False)


@app.command()
def monitors(as_json: AsJson = False) -> None:
    """List the monitors of a running Ray cluster."""
    if _running_cluster() is None:
        raise InvalidRequest("start a cluster (optagent up), or name one: set OPT_AGENT_RAY_ADDRESS=auto")
    states = with_agent(lambda agent: agent.monitors())
    if as_json:
        return print_json([plain(state) for state in states])
    rows = [
        [
            state.model_id,
            str(state.shard),
            "yes" if state.alive else "no",
            f"{state.drained:,}",
            *("" if at is None else time_text(at) for at in (state.since, state.last_report)),
            state.error or "",
        ]
        for state in states
    ]
    terminal.show_table(OUT, ["model", "shard", "alive", "archived", "since", "last report", "error"], rows)


def _running_cluster() -> str | None:
    """The address of the cluster that monitors run on; None where none is up."""
    from optagent.bootstrap import running_cluster

    return running_cluster(load_settings())
