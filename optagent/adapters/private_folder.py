"""Private folders: folders of mode 0700, so that other users of the machine cannot read what lies below."""

import logging
import os
import stat
from pathlib import Path

_log = logging.getLogger(__name__)

PRIVATE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private_folder(folder: Path) -> None:
    """Makes the folder with mode 0700, whatever the umask; closes one of this user that is open to others.

    A folder of another user stays as it is: its owner has decided who may read it. Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=PRIVATE)
    except FileExistsError:
        _close_to_others(folder)


def _close_to_others(folder: Path) -> None:
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(20, "is not a folder", str(folder))
    if os.name == "nt" or status.st_uid != os.geteuid() or not status.st_mode & _OTHERS:
        return
    folder.chmod(PRIVATE)
    _log.warning("%s had mode %04o and could be read by others: it has mode 0700 now", folder, status.st_mode & 0o7777)
