"""Operator commands: show the settings, and test the channels of notices."""

from optagent import terminal
from optagent.cli.app import OUT, AsJson, app, load_settings, print_json, with_agent


@app.command()
def config(as_json: AsJson = False) -> None:
    """Print every setting, its value, and where the value came from."""
    rows = load_settings().explain()
    if as_json:
        return print_json({name: {"value": value, "from": origin} for name, value, origin in rows})
    terminal.show_table(OUT, ["setting", "value", "from"], rows)


@app.command("notify-test")
def notify_test() -> None:
    """Send a test notice over every channel that notifications go to."""
    with_agent(lambda agent: agent.test_notification())
    OUT.print("a test notice was sent over every channel", highlight=False)
