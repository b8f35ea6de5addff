"""Folder of a demo: one demo at a time uses it, and each begins with an empty one."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from optagent.errors import Conflict, InvalidRequest

NAME = "demo"
LEAST_FREE_MB = 1000
_ELSEWHERE = "optagent demo --home FOLDER uses another folder"
_MARK = ".optagent-demo"
_MARKS = (_MARK, "turbulence.parquet")  # the second is in the folders of older programs


@contextmanager
def hold_demo_folder(home: Path, take_down: Callable[[], object]) -> Iterator[Path]:
    """The folder `demo` of the home, empty, which no other demo uses meanwhile.

    `take_down` ends what an earlier demo left running in it, before that folder is deleted. Raises Conflict where
    another demo runs there, and InvalidRequest for a home that cannot be written and for a folder that is no demo's.
    """
    folder, lock = home / NAME, FileLock(home / f"{NAME}.lock")
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            lock.acquire(timeout=0)
    except Timeout:
        other = "optagent demo --home FOLDER gives this one a home of its own"
        raise Conflict(f"another demo is running in {folder}: wait for its end, or {other}") from None
    except OSError as error:
        raise _refuse_home(home, error) from None
    try:
        _check_free(home)
        _empty(folder, take_down)
        yield folder
    finally:
        lock.release()


def check_report_path(path: Path) -> None:
    """Raises InvalidRequest where a report could not be written at the end."""
    path = path.absolute()
    try:
        if path.is_dir():
            raise InvalidRequest(f"{path} is a folder, the report needs a file: --report FILE names it")
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        reason = error.strerror or error
        raise InvalidRequest(
            f"the report cannot be written to {path.parent}: {reason}; --report FILE names another"
        ) from None


def _empty(folder: Path, take_down: Callable[[], object]) -> None:
    try:
        if folder.exists():
            if any(folder.iterdir()) and not any((folder / mark).exists() for mark in _MARKS):
                raise InvalidRequest(f"{folder} is not of a demo, and would be deleted: {_ELSEWHERE}")
            take_down()
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        (folder / _MARK).touch()
    except OSError as error:
        raise _refuse_home(folder, error) from None


def _check_free(home: Path) -> None:
    for folder in (home, Path(tempfile.gettempdir())):  # Ray works in the second
        free = shutil.disk_usage(folder).free // 1_000_000
        if free < LEAST_FREE_MB:
            raise InvalidRequest(
                f"a demo needs {LEAST_FREE_MB} MB of disk, {folder} has {free} MB: make room, or {_ELSEWHERE}"
            )


def _refuse_home(home: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"OPT_AGENT_HOME: {home} cannot be written: {error.strerror or error}; {_ELSEWHERE}")
