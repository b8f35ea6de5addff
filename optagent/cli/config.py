"""The command that shows the settings."""

from optagent import terminal
from optagent.cli.door import OUT, AsJson, app, print_json
from optagent.settings import load_settings


@app.command()
def config(as_json: AsJson = False) -> None:
    """Print every setting, its value, and where the value came from."""
    rows = load_settings().explained()
    if as_json:
        return print_json({name: {"value": value, "from": origin} for name, value, origin in rows})
    terminal.show_table(OUT, ["setting", "value", "from"], rows)
