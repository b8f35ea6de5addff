"""The command line: each command is one verb of the agent. A refused request exits with 2, another failure with 1."""

import logging
import sys
from typing import Annotated, NoReturn

import typer
from rich.logging import RichHandler

from optagent.cli import (
    admin,
    audit,
    backtest,
    building,
    models,
    monitoring,
    optimization,
    rollouts,
    search,
    serving,
    tokens,
)
from optagent.cli.app import ERR, app
from optagent.errors import Conflict, InvalidRequest, NotFound, OptAgentError
from optagent.settings import load_settings

__all__ = ["COMMANDS", "app", "configure_logging", "main"]

COMMANDS = (admin, audit, backtest, building, models, monitoring, optimization, rollouts, search, serving, tokens)
"""The modules whose commands are the program's; each registers them with `app` as it is imported."""


@app.callback()
def _log(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Debug mode.")] = False) -> None:
    configure_logging("DEBUG" if verbose else None)


def configure_logging(level: str | None = None) -> None:
    """Logs of optagent to standard error, at `level` or at the level of the settings."""
    logger = logging.getLogger("optagent")
    logger.setLevel(level or load_settings().log_level)
    logger.handlers = [RichHandler(console=ERR, show_path=False)]


def main() -> NoReturn:
    """Runs the command line."""
    try:
        app()
    except OptAgentError as error:
        ERR.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, InvalidRequest | NotFound | Conflict) else 1)
    except KeyboardInterrupt:
        ERR.print("stopped")
        sys.exit(130)
    sys.exit(0)
