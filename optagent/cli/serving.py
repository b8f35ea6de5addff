"""Serving commands: bring the whole product up and take it down."""

import asyncio

from optagent.bootstrap import Serving, ServingState
from optagent.cli.app import ERR, OUT, AsJson, app, print_json
from optagent.settings import load_settings


@app.command()
def up(as_json: AsJson = False) -> None:
    """Bring up the API, the prediction endpoint and the monitors, on this machine or on OPT_AGENT_RAY_ADDRESS."""
    serving = Serving(load_settings())
    state = serving.up(_say)
    token = asyncio.run(serving.first_token())
    if as_json:
        where = {"api": state.api, "dashboard": f"{state.api}/dashboard", "ray_dashboard": state.dashboard}
        return print_json({"started": state.started, **where, "token": token})
    _show(state, token)


@app.command()
def down() -> None:
    """Take down what `up` has brought up; what is recorded and registered stays."""
    OUT.print("down" if Serving(load_settings()).down(_say) else "nothing is up", highlight=False)


def _show(state: ServingState, token: str | None) -> None:
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
