"""Read-only database access: connections over which a query can read and cannot write, as far as the database can tell.

SQLite opens the file read-only, and an authorizer refuses everything but reading, so that no other file is attached or
written. PostgreSQL, MySQL, MariaDB and Oracle get a read-only transaction. Elsewhere (SQL Server, Snowflake) nothing is
committed; only a database user without the right to write is safe there.
"""

import re
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

from optagent.errors import InvalidData

_READS = ("select", "with", "values", "table", "show", "describe", "from")
_BEGINNING = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]*)", re.DOTALL)
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_TRANSACTION)
_HARMLESS_PRAGMAS = ("read_uncommitted",)  # SQLAlchemy asks for it as it connects
_FORBIDDEN_FUNCTIONS = ("load_extension", "writefile", "readfile", "edit", "fts3_tokenizer")
_IN_TRANSACTION = {  # sent before the query; PostgreSQL has an option of SQLAlchemy instead
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
}


def require_one_select(query: str, url: sa.URL, where: str) -> None:
    """Raises InvalidData for a query that does not begin as a SELECT does, or that may hold several statements.

    A second statement could end the read-only transaction, and write. Databases differ in what is a string or a
    comment, so a semicolon is refused within these too. SQLite runs one statement only, and its authorizer is asked
    about each thing that this does.
    """
    if url.get_backend_name() == "sqlite":
        return
    beginning = _BEGINNING.match(query)
    if beginning is None or beginning[1].lower() not in _READS:
        raise InvalidData(f"{where}: a SELECT is needed, the query begins with none of {', '.join(_READS).upper()}")
    if ";" in query.strip().removesuffix(";"):
        raise InvalidData(f"{where}: one statement is needed: a semicolon may end the query, elsewhere write CHR(59)")


def read_only_url(url: sa.URL, where: str) -> sa.URL:
    """The URL by which a SQLite file is opened read-only, any other URL as it is; InvalidData for SQLite in memory."""
    if url.get_backend_name() != "sqlite":
        return url
    database = str(url.database or "")
    if url.get_driver_name() != "pysqlite":
        raise InvalidData(f"{where}: only sqlite:///FILE is read, not with the driver {url.get_driver_name()!r}")
    if not database or ":memory:" in database or database.startswith("file:"):
        raise InvalidData(f"{where}: the path of a SQLite file is needed, as in sqlite:////data/rows.db")
    path = Path(database).absolute()
    if not path.exists():
        raise InvalidData(f"{where}: no such file")
    known = {name: url.query[name] for name in ("detect_types", "timeout") if name in url.query}
    return url.set(database=f"file:{quote(str(path))}", query={**known, "mode": "ro", "uri": "true"})


def forbid_writes(engine: sa.Engine) -> None:
    """Makes every new connection of the engine read-only where its database has a statement or a hook for that."""
    backend = engine.url.get_backend_name()
    event.listen(engine, "connect", lambda connection, record: restrict_connection(connection, backend))


def restrict_connection(connection: Any, backend: str) -> None:
    """Makes a new connection of a driver read-only."""
    if backend == "sqlite":
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorize)
    elif backend in _IN_TRANSACTION:
        cursor = connection.cursor()
        cursor.execute(_IN_TRANSACTION[backend])
        cursor.close()


def read_only_options(engine: sa.Engine) -> dict[str, Any]:
    """The execution options of a connection whose transactions only read."""
    return {"postgresql_readonly": True} if engine.dialect.name == "postgresql" else {}


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """SQLite's question for each thing that a statement does."""
    if action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second not in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first in _HARMLESS_PRAGMAS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
