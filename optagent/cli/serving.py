"""Commands that bring the whole product up and take it down."""

import asyncio

from optagent.bootstrap import Serving, ServingState
from optagent.cli.app import ERR, OUT, AsJson, app, print_json
from optagent.settings import load_settings


@app.command()
def up(as_json: AsJson = False) -> None:
    """Bring up the API, the prediction endpoint and the monitors, on this machine or on OPT_AGENT_RAY_ADDRESS."""
    serving = Serving(load_settings())
    found = serving.up(_say)
    token = asyncio.run(serving.first_token())
    if as_json:
        where = {"api": found.api, "dashboard": f"{found.api}/dashboard", "ray_dashboard": found.dashboard}
        return print_json({"started": found.started, **where, "token": token})
    _show(found, token)


@app.command()
def down() -> None:
    """Take down what `up` has brought up; what is recorded and registered stays."""
    OUT.print("down" if Serving(load_settings()).down(_say) else "nothing is up", highlight=False)


def _show(found: ServingState, token: str | None) -> None:
    lines = [
        "up" if found.started else "it is up already",
        f"API        {found.api}/api/v1",
        f"reference  {found.api}/docs",
        f"dashboard  {found.api}/dashboard",
    ]
    if found.dashboard is not None:
        lines.append(f"Ray's      {found.dashboard} (its token: ray get-auth-token)")
    if token is not None:
        lines.append(f"token      {token} (admin; shown this once)")
    else:
        lines.append("token      of `optagent token create NAME --scope predict`")
    for line in (*lines, *found.notes):
        OUT.print(line, highlight=False, soft_wrap=True)


def _say(step: str) -> None:
    ERR.print(f"{step} …", highlight=False, soft_wrap=True)
