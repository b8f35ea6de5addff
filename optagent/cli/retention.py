"""Retention commands: prune what is older than the settings say, and erase the rows of given ids."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optagent.cli.app import ERR, OUT, AsJson, RegisteredModel, app, print_json, with_agent
from optagent.codec import plain
from optagent.domain.instant import time_text
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.domain.retention import Pruning


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let go of rows, versions, processes and rollouts that are older than the settings say."""
    prunings: tuple[Pruning, ...] = with_agent(lambda agent: agent.prune(dry_run))
    if as_json:
        print_json([plain(pruning) for pruning in prunings])
    else:
        for pruning in prunings:
            OUT.print(_describe(pruning), highlight=False, markup=False, soft_wrap=True)
    for pruning in prunings:
        if pruning.error:
            ERR.print(f"{pruning.plan.model_id}: {pruning.error}", highlight=False, markup=False, soft_wrap=True)
    if any(pruning.error for pruning in prunings):
        raise typer.Exit(1)


@app.command()
def erase(
    model: RegisteredModel,
    names: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids of recorded rows.")] = None,
    ids: Annotated[Path | None, typer.Option(help="A text file with an id on each line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove all recorded rows of the given ids: predictions, labels, evidence and training rows."""
    every_id = [*(names or ()), *(_read_ids(ids) if ids else ())]
    rows = with_agent(lambda agent: agent.erase(model, every_id))
    if as_json:
        return print_json({"model": model, "ids": len(set(every_id)), "rows": dict(rows)})
    OUT.print(f"{model}: {_counts(rows) or 'no rows'} of {len(set(every_id))} ids are gone", highlight=False)


def _read_ids(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} cannot be read as lines of ids: {error}") from None


def _describe(pruning: "Pruning") -> str:
    plan, verb = pruning.plan, "would go" if pruning.dry_run else "went"
    if pruning.is_empty:
        return f"{plan.model_id}: nothing is old enough"
    counts = {
        **pruning.rows,
        "versions": len(plan.versions),
        "processes": len(plan.processes),
        "rollouts": len(plan.rollouts),
    }
    why = "; ".join((f"rows recorded before {time_text(plan.rows_before)}", *plan.reasons))
    return f"{plan.model_id}: {_counts(counts)} {verb} ({why})"


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number)
