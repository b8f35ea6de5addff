"""SQL queries: reads the rows of a query by SQLAlchemy URL, streamed from the server in batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import exc

from optagent.adapters.datasets.choice import choose_columns
from optagent.adapters.datasets.database_url import DatabaseUrl, fill_url
from optagent.adapters.datasets.limits import Meter
from optagent.adapters.datasets.read_only import forbid_writes, read_only_options, read_only_url, require_one_select
from optagent.domain.dataset import SqlSource
from optagent.errors import InvalidData, Unavailable

_BATCH_ROWS = 20_000
_CONNECT_S = 4
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
    """The rows of the query, and the template of the database's URL for messages, which never has a secret."""
    place = fill_url(source.url)
    require_one_select(source.query, place.url, place.where)
    engine = _engine(place)
    try:
        with _translate_errors(Unavailable, place, "does not answer"):
            connection = engine.connect()
        with connection, _translate_errors(InvalidData, place, "refused the query"):
            options = {"stream_results": True, "no_parameters": True, "yield_per": _BATCH_ROWS}
            options |= read_only_options(engine)
            result = connection.execution_options(**options).exec_driver_sql(source.query)
            return _read_table(result, columns, meter, place.where), place.where
    finally:
        engine.dispose()


def _engine(place: DatabaseUrl) -> sa.Engine:
    url, where = read_only_url(place.url, place.where), place.where
    try:
        name = _TIMEOUTS.get(url.get_driver_name())
        arguments = {name: _CONNECT_S} if name and name not in url.query else {}
        engine = sa.create_engine(url, connect_args=arguments, poolclass=sa.NullPool)
    except ModuleNotFoundError as error:
        raise InvalidData(f"{where}: its driver is not installed: pip install {error.name}") from None
    except exc.NoSuchModuleError:
        raise InvalidData(f"{where}: unknown database {url.drivername!r}") from None
    except exc.SQLAlchemyError as error:
        raise InvalidData(f"{where}: {place.describe_error(error)}") from None
    forbid_writes(engine)
    return engine


@contextmanager
def _translate_errors(refusal: type[InvalidData] | type[Unavailable], place: DatabaseUrl, what: str) -> Iterator[None]:
    try:
        yield
    except exc.DBAPIError as error:
        kind = Unavailable if error.connection_invalidated else refusal
        raise kind(f"{place.where}: {what}: {place.describe_error(error)}") from None
    except (exc.SQLAlchemyError, OSError) as error:
        raise refusal(f"{place.where}: {what}: {place.describe_error(error)}") from None


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
    except (pa.ArrowException, OverflowError):  # their texts quote the value
        type_names = sorted(kind.__name__ for kind in kinds - {type(None)})
        raise InvalidData(f"{where}: column {name!r} holds {' and '.join(type_names)} values") from None


def _concat_arrays(arrays: Sequence[pa.Array], name: str, where: str) -> pa.ChunkedArray:
    try:
        tables = [pa.table({name: array}) for array in arrays]
        return pa.concat_tables(tables, promote_options="permissive").column(0)
    except pa.ArrowException:
        type_names = sorted({str(array.type) for array in arrays} - {"null"})
        raise InvalidData(f"{where}: column {name!r} mixes {' and '.join(type_names)} values") from None
