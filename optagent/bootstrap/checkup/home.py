"""Checks of the home folder: that it can be written, is closed to others, and has room on its disk."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optagent.bootstrap.usable_home import nearest_folder, write_probe
from optagent.domain.checkup import CheckResult, fault, ok, warning

_ELSEWHERE = "make it writable, or set OPT_AGENT_HOME to another folder"
_LEAST_FREE, _LITTLE_FREE = 200_000_000, 2_000_000_000
_LEAST_FILES = 1000


def check_home(home: Path, probe: Callable[[Path], None] = write_probe) -> CheckResult:
    """A home that is not there yet is fine where it can be made; nothing is made here."""
    place = nearest_folder(home)
    if not place.is_dir():
        return fault("home", f"{place} is no folder", _ELSEWHERE)
    try:
        probe(place)
    except OSError as error:
        return fault("home", f"{place} cannot be written: {error.strerror}", _ELSEWHERE)
    if place != home:
        return ok("home", f"{home} is made at the first use")
    mode = stat.S_IMODE(home.stat().st_mode)
    if os.name != "nt" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warning("home", f"{home} has mode {mode:04o}: other users may read it", f"chmod 700 {home}")
    return ok("home", f"{home} can be written, mode {mode:04o}")


def check_disk(home: Path, statvfs: Callable[[Path], Any] = os.statvfs) -> CheckResult:
    """Free bytes and files on the disk of the home folder."""
    place = nearest_folder(home)
    status = statvfs(place)
    free = status.f_bavail * status.f_frsize
    message = f"{free / 1e9:,.1f} GB free on the disk of {place}"
    remedy = "free some space (optagent prune drops old records), or set OPT_AGENT_HOME to another disk"
    if free < _LEAST_FREE:
        return fault("disk", message, remedy)
    if status.f_files > 0 and status.f_favail < _LEAST_FILES:
        return fault("disk", f"{status.f_favail:,} more files fit on the disk of {place}", remedy)
    return warning("disk", message, remedy) if free < _LITTLE_FREE else ok("disk", message)
