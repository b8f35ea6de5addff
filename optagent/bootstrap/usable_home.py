"""Usable home: the refusal of a home folder that cannot be written or whose disk is full, before anything is begun."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optagent.errors import UnusableHome
from optagent.settings import Settings

_LEAST_BYTES = 1_000_000
_ELSEWHERE = "or set OPT_AGENT_HOME to another folder; optagent doctor looks at all of it"


def write_probe(folder: Path) -> None:
    """Makes and removes a file in the folder; raises OSError."""
    tempfile.TemporaryFile(dir=folder).close()


def require_usable_home(
    settings: Settings,
    probe: Callable[[Path], None] = write_probe,
    statvfs: Callable[[Path], Any] = os.statvfs,
) -> None:
    """Raises UnusableHome; with Redis and MLflow elsewhere, the home need not be written, and is not asked."""
    if settings.redis_url is not None and settings.mlflow_tracking_uri is not None:
        return
    place = nearest_folder(settings.home)
    if not place.is_dir():
        return  # making the home names it
    try:
        probe(place)
    except OSError as error:
        raise UnusableHome(
            f"the home {settings.home} cannot be written: {error.strerror}; make it writable, {_ELSEWHERE}"
        ) from None
    status = statvfs(place)
    if status.f_bavail * status.f_frsize < _LEAST_BYTES:
        raise UnusableHome(f"the disk of the home {settings.home} is full: free some space, {_ELSEWHERE}")


def nearest_folder(path: Path) -> Path:
    """The path, or the first of its parents that is there."""
    return next(each for each in (path, *path.parents) if each.exists())
