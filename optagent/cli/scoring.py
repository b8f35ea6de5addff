"""Scoring command: files of any size are answered by a model."""

from pathlib import Path
from typing import Annotated

import typer

from optagent.cli.app import ERR, OUT, AsJson, RegisteredModel, app, print_json, with_agent
from optagent.codec import plain
from optagent.errors import InvalidRequest


@app.command()
def score(
    model: RegisteredModel,
    data: Annotated[str, typer.Option(help="Parquet, CSV or Arrow: a path, a folder, a glob, or an address.")],
    out: Annotated[Path, typer.Option(help="A new Parquet, CSV or Arrow file, by its name.")],
    version: Annotated[
        str | None, typer.Option(help="A version or an alias, instead of the champion or the mixture.")
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Record the rows as predictions of the model.")] = False,
    columns: Annotated[
        str | None, typer.Option(help="Columns to carry over, separated by commas; by default: id.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output where it exists.")] = False,
    interval: Annotated[
        float | None, typer.Option(help="Add the range, or the set of labels, of this coverage, such as 0.9.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer the rows of a file by a model's champion or mixture."""
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    if names is not None and not all(names):
        raise InvalidRequest(f"--columns takes names separated by commas, got {columns!r}")
    result = with_agent(lambda agent: agent.score(model, data, out, version, record, names, overwrite, interval))
    if as_json:
        return print_json(plain(result))
    for note in result.notes:
        ERR.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    by = "the mixture" if result.version == "mixture" else f"version {result.version}"
    recorded = f", {result.recorded:,} recorded" if record else ""
    OUT.print(f"{result.rows:,} rows by {by} in {result.path}{recorded}", markup=False, highlight=False, soft_wrap=True)
