"""MLflow health check: tests that a tracking server answers, without importing MLflow and within a time limit."""

import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from optagent.errors import Unavailable
from optagent.secret_text import HIDDEN, hide_secrets

LIMIT_S = 4.0


def hide_credentials(uri: str) -> str:
    """The address without its user, password and options."""
    shown = hide_secrets(uri)
    parts = urlsplit(shown)
    if "@" not in parts.netloc:
        return shown
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def sqlite_path(uri: str) -> Path | None:
    """The file behind `sqlite:///relative` or `sqlite:////absolute`; None for other addresses."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None


def check_server(uri: str, limit_s: float = LIMIT_S) -> None:
    """Raises Unavailable, with the address, if no server or database answers there within `limit_s`."""
    path = sqlite_path(uri)
    if path is not None:
        _check_within(uri, limit_s, lambda: _check_sqlite(path))
    elif uri.startswith(("http://", "https://")):
        from optagent.adapters.models.mlflow_http import check_http  # requests takes a while to load

        _check_within(uri, limit_s, lambda: check_http(uri, limit_s))
    elif "://" in uri and not uri.startswith("databricks"):
        _check_within(uri, limit_s, lambda: _check_database(uri))


def _check_within(uri: str, limit_s: float, check: Callable[[], None]) -> None:
    # The check runs in a thread, since looking up a host name has no time limit of its own.
    problems: list[str] = []
    thread = threading.Thread(target=_report, args=(check, problems), name="mlflow-health", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        problems.append(f"no answer within {limit_s:g} s")
    if problems:
        raise Unavailable(f"MLflow at {hide_credentials(uri)}: {_without_login(problems[0], uri)}")


def _without_login(text: str, uri: str) -> str:
    """A driver's message without the password of the address, of which it may quote a part."""
    login = uri.partition("://")[2].rpartition("@")[0]
    password = login.partition(":")[2]
    for secret in (login, password, unquote(password)):
        text = text.replace(secret, HIDDEN) if secret else text
    return text


def _report(check: Callable[[], None], problems: list[str]) -> None:
    try:
        check()
    except Exception as error:
        problems.append(str(error) or type(error).__name__)


def _check_sqlite(path: Path) -> None:
    if path.exists():
        if path.is_dir():
            raise Unavailable("this is a folder, not a database file")
        # Not `with sqlite3.connect`, which commits but does not close.
        connection = sqlite3.connect(path, timeout=2)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
        return
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise Unavailable(f"{nearest} cannot be written ({error.strerror})") from None


def _check_database(uri: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
