"""Serving commands: bring the whole product up and take it down."""

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from optagent.cli.app import ERR, OUT, AsJson, app, load_settings, print_json

if TYPE_CHECKING:
    from optagent.bootstrap import ServingState

Foreground = Annotated[
    bool,
    typer.Option("--foreground", help="Stay until SIGTERM or Ctrl-C, then take it down: for containers and services."),
]


@app.command()
def up(as_json: AsJson = False, foreground: Foreground = False) -> None:
    """Bring up the API, the prediction endpoint and the monitors, on this machine or on OPT_AGENT_RAY_ADDRESS."""
    if foreground:
        raise typer.Exit(_stay_up(["--json"] if as_json else []))
    from optagent.bootstrap import Serving
    from optagent.bootstrap.usable_home import require_usable_home

    settings = load_settings()
    require_usable_home(settings)
    serving = Serving(settings)
    state = serving.up(_say)
    token = asyncio.run(serving.first_token())
    if as_json:
        where = {"api": state.api, "dashboard": f"{state.api}/dashboard", "ray_dashboard": state.dashboard}
        return print_json({"started": state.started, **where, "token": token})
    _show(state, token)


@app.command()
def down() -> None:
    """Take down what `up` has brought up; what is recorded and registered stays."""
    from optagent.bootstrap import Serving

    OUT.print("down" if Serving(load_settings()).down(_say) else "nothing is up", highlight=False)


def _stay_up(options: list[str]) -> int:
    """Brings everything up, watches it until a signal, and takes it down; the exit code of what failed, else 0."""
    from threading import Event

    from optagent.bootstrap import Serving

    serving, stop = Serving(load_settings()), Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    code = _run_apart("up", *options)
    try:
        if code == 0:
            serving.watch(stop)
    finally:
        code = code or _run_apart("down")
    return code


def _run_apart(*words: str) -> int:
    """The exit code of a command of ours in a process that no signal for this one reaches: Ray would end with it."""
    import subprocess

    return subprocess.run(
        [sys.executable, "-m", "optagent.cli", *words], start_new_session=True, check=False
    ).returncode


def _show(state: "ServingState", token: str | None) -> None:
    lines = [
        "up" if state.started else "it is up already",
        f"API        {state.api}/api/v1",
        f"reference  {state.api}/docs",
        f"dashboard  {state.api}/dashboard",
    ]
    if state.dashboard is not None:
        lines.append(f"Ray's      {state.dashboard} (its token: ray get-auth-token)")
    if token is not None:
        lines.append(f"token      {token} (admin; shown this once)")
    else:
        lines.append("token      of `optagent token create NAME --scope predict --scope label`")
    for line in (*lines, *state.notes):
        OUT.print(line, highlight=False, soft_wrap=True)


def _say(step: str) -> None:
    ERR.print(f"{step} …", highlight=False, soft_wrap=True)
