"""Trial storage: the Optuna storage that a URL names, in a SQL database or as a journal on Redis."""

import os
import warnings
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import make_url

from optagent.errors import Unavailable
from optagent.secret_text import hide_secrets

_LOCK_S = 60.0


def open_storage(url: str | None) -> BaseStorage | None:
    """The Optuna storage at a SQLAlchemy or Redis URL, None for none; Unavailable where it cannot be opened.

    Trials in Redis are Optuna's journal.
    """
    if url is None:
        return None
    try:
        if url.startswith(("redis://", "rediss://")):
            from optuna.storages.journal import JournalRedisBackend, JournalStorage

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return JournalStorage(JournalRedisBackend(url))
        return _database(url)
    except Exception as error:
        raise Unavailable(f"the trial store {hide_secrets(url)} cannot be opened: {error}") from error


class NewStorage:
    """A SQLite file that is still to be made, which takes a second, mostly for the disk: a search begins meanwhile."""

    def __init__(self, url: str) -> None:
        self.url = url


def find_storage(url: str | None) -> BaseStorage | NewStorage | None:
    """The storage at a URL, opened unless it is a file that nobody has made; raises Unavailable."""
    if url is not None and url.startswith("sqlite"):
        file = Path(make_url(url).database or "")
        if not file.exists() and os.access(file.parent, os.W_OK):
            return NewStorage(url)
    return open_storage(url)


def _database(url: str) -> RDBStorage:
    """Opens a database under a file lock, since Optuna creates its tables without one: of two processes on a new
    SQLite file, one would find the tables incomplete."""
    file = make_url(url).database if url.startswith("sqlite") else None
    if not file:
        return RDBStorage(url)
    if not Path(file).parent.is_dir():
        raise FileNotFoundError(f"{Path(file).parent}: no such folder")
    with FileLock(f"{file}.lock", timeout=_LOCK_S):
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _LOCK_S}})
