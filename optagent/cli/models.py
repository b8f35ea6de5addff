"""Model commands: register, import and list models and their versions."""

from pathlib import Path
from typing import Annotated

import typer

from optagent import terminal
from optagent.cli.app import OUT, AsJson, RegisteredModel, app, print_json, with_agent
from optagent.codec import plain
from optagent.domain.instant import time_text


@app.command()
def register(
    file: Annotated[Path, typer.Argument(help="The YAML file that describes the model.")], as_json: AsJson = False
) -> None:
    """Register a model from a YAML file, or replace it."""
    spec = with_agent(lambda agent: agent.register_model(file))
    print_json(plain(spec)) if as_json else OUT.print(f"registered {spec.model_id}", highlight=False)


@app.command("import")
def import_(
    uri: Annotated[str, typer.Argument(help="models:/NAME/3, runs:/ID/path, or the folder of an MLflow model.")],
    model: Annotated[str, typer.Option("--as", help="The registered model of which it becomes a version.")],
    trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="Open a pickle: it can run any code.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import an existing MLflow model as a version of a registered model."""
    version = with_agent(lambda agent: agent.import_model(uri, model, trust_pickle))
    message = f"imported {uri} as version {version.version} of {model} {' '.join(version.aliases)}".rstrip()
    print_json(plain(version)) if as_json else OUT.print(message, highlight=False)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the registered models."""
    specs = with_agent(lambda agent: agent.models())
    if as_json:
        return print_json([plain(spec) for spec in specs])
    rows = [[spec.model_id, str(spec.task), spec.target, ", ".join(spec.families) or "default"] for spec in specs]
    terminal.show_table(OUT, ["model", "task", "target", "families"], rows)


@app.command()
def versions(model: RegisteredModel, as_json: AsJson = False) -> None:
    """List the versions of a model, the newest first."""
    all_versions = with_agent(lambda agent: agent.versions(model))
    if as_json:
        return print_json([plain(version) for version in all_versions])
    rows = [
        [
            item.version,
            ", ".join(item.aliases),
            item.tags.get("family", ""),
            "  ".join(f"{name} {value:.5f}" for name, value in sorted(item.metrics.items())),
            time_text(item.created_at),
        ]
        for item in all_versions
    ]
    terminal.show_table(OUT, ["version", "alias", "family", "metrics", "created"], rows)
    for version in all_versions:
        for warning in version.warnings:
            terminal.show_warning(OUT, f"version {version.version}: {warning}")
