"""MLflow database: makes a local SQLite database in .1 s from a template that is migrated once per version (5 s)."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from filelock import FileLock, Timeout

from optagent.adapters.models.mlflow_client import quiet_mlflow
from optagent.adapters.private_folder import make_private_folder
from optagent.errors import Unavailable, UnusableHome

_LOCK_S = 120.0


def prepare_database(path: Path, artifact_root: str, cache_folder: Path) -> str:
    """The tracking URI of the SQLite database at `path`, which is made if there is none.

    Processes that start at once wait for one another. Raises Unavailable for a file that is no MLflow database, and for
    a database whose schema is not that of the installed MLflow, with the command that upgrades it.
    """
    path = path.absolute()
    uri = f"sqlite:///{path}"
    try:
        with quiet_mlflow():
            template = _template(cache_folder)
            if not _has_content(path):
                _create(path, template, artifact_root)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"MLflow database {path}: {error}") from error
    _check_revision(path, uri, template)
    return uri


def check_stored_revision(path: Path, cache_folder: Path) -> None:
    """Raises Unavailable as `prepare_database` does for a database of another version, without importing MLflow.

    Where this version of MLflow has not made a database yet there is nothing to compare with, and nothing is raised.
    """
    template = cache_folder / f"mlflow-{metadata.version('mlflow')}.db"
    if _has_content(path) and _has_content(template):
        _check_revision(path, f"sqlite:///{path}", template)


def _template(cache_folder: Path) -> Path:
    from mlflow.version import VERSION

    template = cache_folder / f"mlflow-{VERSION}.db"
    if not _has_content(template):
        make_private_folder(cache_folder)
        with _hold_lock(template):
            if not _has_content(template):
                with _sibling(template) as staging:
                    _migrate(staging)
                    staging.replace(template)
    return template


def _migrate(path: Path) -> None:
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")  # type: ignore[no-untyped-call]
    try:
        utils._initialize_tables(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


def _create(path: Path, template: Path, artifact_root: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    with _hold_lock(path):
        if _has_content(path):
            return
        with _sibling(path) as staging:
            shutil.copyfile(template, staging)
            # The store writes MLflow's experiment "Default", which otherwise points into the working directory.
            store = SqlAlchemyStore(f"sqlite:///{staging}", artifact_root)  # type: ignore[no-untyped-call]
            store.engine.dispose()
            staging.replace(path)


def _check_revision(path: Path, uri: str, template: Path) -> None:
    revision, needed = _revision(path), _revision(template)
    if revision is None:
        raise Unavailable(f"MLflow database {path}: not an MLflow database; give another path")
    if revision != needed:
        raise UnusableHome(
            f"MLflow database {path}: its schema is {revision}, the installed MLflow needs {needed}; "
            f"copy the file, then run: mlflow db upgrade {uri}"
        )


def _revision(path: Path) -> str | None:
    """The Alembic revision of the database's schema; None where there is none."""
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise Unavailable(f"MLflow database {path}: {error}") from error
    except sqlite3.DatabaseError:
        return None
    return row[0] if row else None


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@contextmanager
def _sibling(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to fill and rename; it is deleted afterwards in any case."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    try:
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=_LOCK_S):
            yield
    except Timeout:
        raise Unavailable(f"{path}.lock: another process holds it for more than {_LOCK_S:g} s") from None
