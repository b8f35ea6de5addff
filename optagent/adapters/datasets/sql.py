"""SQL queries: reads the rows of a query by SQLAlchemy URL, streamed from the server in batches."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from optagent.adapters.datasets.choice import choose_columns
from optagent.adapters.datasets.limits import Meter
from optagent.domain.dataset import SqlSource
from optagent.errors import InvalidData, Unavailable

_BATCH_ROWS = 20_000
_CONNECT_S = 4
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TIMEOUTS = {  # each driver's name for the time limit of a connection
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pymysql": "connect_timeout",
    "mysqldb": "connect_timeout",
    "mysqlconnector": "connection_timeout",
    "pyodbc": "timeout",
    "pymssql": "login_timeout",
    "oracledb": "tcp_connect_timeout",
    "snowflake": "login_timeout",
    "pysqlite": "timeout",
}


def read_sql(source: SqlSource, columns: Sequence[str] | None, meter: Meter) -> tuple[pa.Table, str]:
    """The rows of the query, and the name of the database for messages, which never has the password.

    `${NAME}` in the URL is replaced by that variable unchanged: a password needs no percent-encoding there.
    """
    url = database_url(source.url)
    where = url.set(query={}).render_as_string(hide_password=True)
    engine = _engine(url, where)
    try:
        with _translate_errors(Unavailable, where, url, "does not answer"):
            connection = engine.connect()
        with connection, _translate_errors(InvalidData, where, url, "refused the query"):
            options = {"stream_results": True, "no_parameters": True, "yield_per": _BATCH_ROWS}
            result = connection.execution_options(**options).exec_driver_sql(source.query)
            return _read_table(result, columns, meter, where), where
    finally:
        engine.dispose()


def database_url(template: str) -> sa.URL:
    """The URL with `${NAME}` filled in from the environment."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InvalidData(f"data: the environment variable {match[1]} of the database URL is not set")
        return os.environ[match[1]]

    user, at, rest = template.rpartition("@")
    filled = _VARIABLE.sub(lambda match: quote(value(match), safe=""), user) + at + _VARIABLE.sub(value, rest)
    try:
        return sa.make_url(filled)
    except (exc.ArgumentError, ValueError):
        raise InvalidData("data: not a SQLAlchemy URL such as postgresql://user:${PASSWORD}@host/name") from None


def _engine(url: sa.URL, where: str) -> sa.Engine:
    on_disk = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":memory:", "file:"))
    if on_disk and not Path(str(url.database)).exists():  # SQLite would create the file
        raise InvalidData(f"{where}: no such file")
    try:
        name = _TIMEOUTS.get(url.get_driver_name())
        arguments = {name: _CONNECT_S} if name and name not in url.query else {}
        return sa.create_engine(url, connect_args=arguments, poolclass=sa.NullPool)
    except ModuleNotFoundError as error:
        raise InvalidData(f"{where}: its driver is not installed: pip install {error.name}") from None
    except exc.NoSuchModuleError:
        raise InvalidData(f"{where}: unknown database {url.drivername!r}") from None
    except exc.SQLAlchemyError as error:
        raise InvalidData(f"{where}: {_describe_error(error, url)}") from None


@contextmanager
def _translate_errors(
    refusal: type[InvalidData] | type[Unavailable], where: str, url: sa.URL, what: str
) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        kind = Unavailable if error.connection_invalidated else refusal
        raise kind(f"{where}: {what}: {_describe_error(error, url)}") from None
    except (exc.SQLAlchemyError, OSError) as error:
        raise refusal(f"{where}: {what}: {_describe_error(error, url)}") from None


def _describe_error(error: BaseException, url: sa.URL) -> str:
    """The database's message in one line, without the password and without SQLAlchemy's echo of the query."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    return text.replace(str(url.password), "***") if url.password else text


def _read_table(result: sa.CursorResult[Any], columns: Sequence[str] | None, meter: Meter, where: str) -> pa.Table:
    if not result.returns_rows:
        raise InvalidData(f"{where}: the query gives no rows; a SELECT is needed")
    names = [str(name) for name in result.keys()]  # noqa: SIM118, iterating gives rows
    selected = choose_columns(pa.schema([(name, pa.string()) for name in names]), columns, where)
    chunks: dict[str, list[pa.Array]] = {name: [pa.nulls(0)] for name in selected}
    for rows in result.partitions(_BATCH_ROWS):
        values = list(zip(*rows, strict=True))
        size = 0
        for name in selected:
            chunks[name].append(_to_array(values[names.index(name)], name, where))
            size += chunks[name][-1].nbytes
        meter.add(len(rows), size, len(selected), where)
    return pa.table({name: _concat_arrays(arrays, name, where) for name, arrays in chunks.items()})


def _to_array(values: Sequence[Any], name: str, where: str) -> pa.Array:
    kinds = {type(value) for value in values}
    if Decimal in kinds:  # their precision differs from batch to batch
        values = [float(value) if isinstance(value, Decimal) else value for value in values]
    if UUID in kinds:
        values = [str(value) if isinstance(value, UUID) else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        type_names = sorted(kind.__name__ for kind in kinds - {type(None)})
        raise InvalidData(f"{where}: column {name!r} holds {' and '.join(type_names)} values: {error}") from None


def _concat_arrays(arrays: Sequence[pa.Array], name: str, where: str) -> pa.ChunkedArray:
    try:
        tables = [pa.table({name: array}) for array in arrays]
        return pa.concat_tables(tables, promote_options="permissive").column(0)
    except pa.ArrowException:
        type_names = sorted({str(array.type) for array in arrays} - {"null"})
        raise InvalidData(f"{where}: column {name!r} mixes {' and '.join(type_names)} values") from None
