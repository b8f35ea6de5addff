"""Commands of the audit log."""

from typing import Annotated

import typer

from optagent import terminal
from optagent.cli.door import OUT, AsJson, group, print_json, time_text, with_agent
from optagent.codec import plain
from optagent.domain.audit import AuditEntry

audit = group("audit", "See who did what.")


@audit.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was done and what was refused, the newest first."""
    found: list[AuditEntry] = with_agent(lambda agent: agent.audit(limit))
    if as_json:
        return print_json([plain(entry) for entry in found])
    rows = [[time_text(entry.at), entry.actor, entry.action, entry.target, entry.outcome] for entry in found]
    terminal.show_table(OUT, ["time", "who", "action", "target", "outcome"], rows)
