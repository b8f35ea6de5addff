"""Command line: each command is one verb of the agent. A refused request exits with 2, another failure with 1."""

import errno
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from rich.logging import RichHandler
from rich.markup import escape

from optagent.cli import (
    admin,
    audit,
    backtest,
    building,
    demo,
    doctor,
    fleet,
    init,
    mixtures,
    models,
    monitoring,
    optimization,
    retention,
    rollouts,
    scoring,
    search,
    serving,
    tokens,
)
from optagent.cli.app import ERR, app, load_settings
from optagent.cli.own_process import PROCESS_START, end_process, process_start
from optagent.domain.actor import Door
from optagent.errors import REFUSALS, OptAgentError, Unavailable
from optagent.extras import missing_import
from optagent.log_filter import hide_in

__all__ = ["COMMANDS", "app", "configure_logging", "main", "run_job"]

COMMANDS = (
    admin,
    audit,
    backtest,
    building,
    demo,
    doctor,
    fleet,
    init,
    mixtures,
    models,
    monitoring,
    optimization,
    retention,
    rollouts,
    scoring,
    search,
    serving,
    tokens,
)
"""The modules of the program's commands; each registers its commands with `app` when it is imported."""


_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@app.callback()
def _log(verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Debug mode.")] = False) -> None:
    configure_logging("DEBUG" if verbose else None)


def configure_logging(level: str | None = None) -> None:
    """Sends the log of optagent to standard error, at `level` or at the level of the settings."""
    logger = logging.getLogger("optagent")
    logger.setLevel(level or load_settings().log_level)
    logger.handlers = hide_in([RichHandler(console=ERR, show_path=False)])


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line with these arguments, by default with those of this process, and ends with its exit code.

    In the latter case a time limit counts from the start of the process, which ends at once.
    """
    if arguments is not None:
        _run(arguments)
    PROCESS_START.set(process_start())
    try:
        _run(None)
    except SystemExit as end:
        end_process(end.code if isinstance(end.code, int) else int(end.code is not None))


def _run(arguments: Sequence[str] | None) -> NoReturn:
    """Runs the command line, and raises SystemExit."""
    try:
        app(arguments, prog_name="optagent")
    except OptAgentError as error:
        _print_error(str(error))
        if isinstance(error, Unavailable):
            ERR.print("optagent doctor checks what this installation needs", highlight=False)
        sys.exit(2 if isinstance(error, REFUSALS) else 1)
    except ModuleNotFoundError as error:
        refusal = missing_import(error)
        if refusal is None:
            raise
        _print_error(str(refusal))
        sys.exit(2)
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        _print_error(f"{error.filename or 'a file'}: {error.strerror}; optagent doctor looks at the home and its disk")
        sys.exit(2)
    except KeyboardInterrupt:
        ERR.print("stopped")
        sys.exit(130)
    sys.exit(0)


def _print_error(text: str) -> None:
    ERR.print(f"[red]error:[/red] {escape(text)}", highlight=False, soft_wrap=True)


def run_job(command: str) -> NoReturn:
    """Runs a command with the arguments of this process on the cluster of its Ray job; prints the result as JSON."""
    from optagent.agent.acts import acting_as, local_actor
    from optagent.bootstrap import find_job_cluster
    from optagent.settings import PREFIX

    os.environ[f"{PREFIX}RAY_ADDRESS"] = find_job_cluster() or os.environ.get("RAY_ADDRESS") or "auto"
    with acting_as(local_actor(Door.JOB)):
        main([command, "--json", *sys.argv[1:]])
