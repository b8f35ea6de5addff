"""Demo command: the whole loop on market data, on this machine, in a page that moves."""

from pathlib import Path
from typing import Annotated

import typer

from optagent.cli.app import ERR, OUT, AsJson, app, print_json
from optagent.extras import require_library

_LIBRARIES = ("bokeh_sampledata", "fastapi", "mlflow", "plotly", "ray")


@app.command()
def demo(
    fast: Annotated[bool, typer.Option("--fast", help="A shorter history: about a minute instead of seven.")] = False,
    home: Annotated[
        Path | None, typer.Option(help="Folder of all its state, for a second demo at a time; the user's own without.")
    ] = None,
    report: Annotated[Path, typer.Option(help="File of the report.")] = Path("demo_report.html"),
    browser: Annotated[bool, typer.Option(help="Open the page in a browser, where there is a display.")] = True,
    as_json: AsJson = False,
) -> None:
    """Let the loop keep a model of market turbulence good: live endpoint, late labels, retraining, and a report."""
    for library in _LIBRARIES:
        require_library(library, "the demo", "demo")
    from optagent.codec import plain
    from optagent.demo.pace import FAST, WHOLE
    from optagent.demo.run import DemoAsk, run_demo

    ask = DemoAsk(FAST if fast else WHOLE, home, report, browser)
    result = run_demo(ask, ERR if as_json else OUT)
    if as_json:
        print_json(plain(result))
