"""Doctor command: checks the installation and what it needs, and says what to do about it."""

import typer
from rich.markup import escape

from optagent.cli.app import OUT, AsJson, app, load_settings, print_json
from optagent.domain.checkup import CheckLevel, CheckResult

_COLOURS = {CheckLevel.OK: "green", CheckLevel.WARNING: "yellow", CheckLevel.FAULT: "red"}


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check Ray, Serve, Redis, MLflow, disk, port, clock and versions; exit with 1 where something is at fault.

    Nothing is started, made or changed, but for an empty task that a running Ray cluster is given.
    """
    from optagent.bootstrap.checkup import check_installation

    checkup = check_installation(load_settings())
    if as_json:
        from optagent.codec import plain

        print_json({"has_faults": checkup.has_faults, **plain(checkup)})
    else:
        for result in checkup.results:
            _show(result)
    if checkup.has_faults:
        raise typer.Exit(1)


def _show(result: CheckResult) -> None:
    level = f"[{_COLOURS[result.level]}]{result.level:<8}[/]"
    OUT.print(f"{level} {result.name:<10} {escape(result.message)}", highlight=False, soft_wrap=True)
    if result.remedy:
        OUT.print(f"{'':<20}{escape(result.remedy)}", highlight=False, soft_wrap=True)
