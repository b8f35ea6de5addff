"""Own process of a command: its start, before Python had loaded anything of it, and its end."""

import atexit
import os
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

PROCESS_START: ContextVar[float | None] = ContextVar("process_start", default=None)
"""The start of the process that runs one command, in seconds of `time.monotonic`; None where it runs others too."""

_START_TICKS = 19  # the 22nd field of proc(5), the third one after the command's closing parenthesis being 0


def process_start() -> float | None:
    """The start of this process in seconds of `time.monotonic`; None on systems other than Linux."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        started_at = int(fields[_START_TICKS]) / os.sysconf("SC_CLK_TCK")
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started_at
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return time.monotonic() - max(0.0, age_s)


def end_process(code: int) -> NoReturn:
    """Ends this process once its exit handlers are done, and leaves its memory to the system.

    Python would take thousands of modules apart one by one first, for a second or, on a busy machine, for eight.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
