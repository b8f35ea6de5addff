"""Init command: writes a commented model.yaml from a file of rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from optagent import terminal
from optagent.cli.app import OUT, AsJson, app, load_settings, print_json

if TYPE_CHECKING:
    from optagent.training.outline.model_outline import ModelOutline

_REMARKS_SHOWN = 40


@app.command()
def init(
    model: Annotated[str, typer.Argument(metavar="ID", help="The id of the new model.")],
    data: Annotated[str, typer.Argument(metavar="ROWS", help="Its rows: Parquet, CSV or Arrow.")],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model.yaml from a file of rows: task, times, sensitive columns, leaks that it sees."""
    from optagent.agent.outline import describe_model
    from optagent.bootstrap.parts import datasets

    outline = describe_model(model, data, target, out, datasets(load_settings()), force=force)
    if as_json:
        from optagent.codec import plain

        return print_json({"file": str(out), **plain(outline)})
    _show(OUT, outline)
    OUT.print(f"wrote {out}; read it, then: optagent register {out}", highlight=False, markup=False, soft_wrap=True)


def _show(console: Console, outline: "ModelOutline") -> None:
    """Prints the task of a proposed model, and a line for each column that was thought about."""
    console.print(f"{outline.target.task}: {outline.target.reason}", highlight=False, markup=False, soft_wrap=True)
    kinds = {
        "time": outline.times,
        "dates": outline.unusable_times,
        "ignored": outline.ignored,
        "suspect": outline.suspects,
        "sensitive": outline.sensitive,
        "entity": outline.entities,
        "not read": outline.left_out,
    }
    rows = [[kind, remark.column, remark.reason] for kind, remarks in kinds.items() for remark in remarks]
    if rows:
        terminal.show_table(console, ["", "column", ""], rows[:_REMARKS_SHOWN])
    if len(rows) > _REMARKS_SHOWN:
        console.print(f"and {len(rows) - _REMARKS_SHOWN:,} more", highlight=False)
