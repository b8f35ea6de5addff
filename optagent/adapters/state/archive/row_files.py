"""Row files: writes and reads the Parquet files of an archive, plain ones of equal types and packed ones of any types.

A plain file has the columns of its rows. A packed file has a row for each set of types: its digest, its first and last
time in microseconds, the number of its rows, and these as an Arrow IPC stream.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optagent.adapters.state.archive.durable_files import make_folder, sync
from optagent.adapters.state.archive.manifest import DataFile
from optagent.adapters.state.archive.partition import MIXED, PACKED
from optagent.adapters.state.archive.row_types import align_columns, first_and_last, types_of
from optagent.errors import Unavailable

EVER = (-(2**63), 2**63 - 1)
"""From the first to beyond the last time that a row may have, in microseconds."""

_THREADS_ROWS = 100_000
_GROUP_ROWS = 32_768  # of a file of many days: a reader of few days skips the other groups
_STREAM_ROWS = 100_000
_PACKED = pa.schema(
    {"types": pa.string(), "first": pa.int64(), "last": pa.int64(), "rows": pa.int64(), "data": pa.large_binary()}
)

TypedTable = tuple[str, pa.Table]
"""The digest of a table's types, and the table."""


def write_rows(folder: Path, path: str, types: str, tables: Sequence[pa.Table]) -> DataFile:
    """Writes rows as the file `path` below the folder; all are of `types`, unless that is PACKED."""
    if types == PACKED:
        packed = _pack_tables(tables)
        _write_whole(folder / path, packed)
        bounds = pc.min_max(packed["first"]).as_py()["min"], pc.min_max(packed["last"]).as_py()["max"]
        return DataFile(path, types, pc.sum(packed["rows"]).as_py(), *bounds)
    rows = pa.concat_tables(align_columns(tables))
    is_mixed = path.split("/")[1] == f"day={MIXED}"
    _write_whole(folder / path, rows.sort_by("time") if is_mixed else rows, _GROUP_ROWS if is_mixed else None)
    return DataFile(path, types, rows.num_rows, *first_and_last(rows))


def read_rows(folder: Path, file: DataFile, first: int = EVER[0], stop: int = EVER[1]) -> list[TypedTable]:
    """The rows with `first` <= time < `stop` (microseconds), a table for each set of types.

    Raises FileNotFoundError where the file has been replaced since its manifest was read, and Unavailable.
    """
    path = folder / file.path
    within = first <= file.first and file.last < stop
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            if file.types == PACKED:
                tables, count = _unpack_tables(opened.read(), first, stop)
            else:
                groups = _groups_between(opened.metadata, first, stop) if not within else None
                rows = _read_groups(opened, groups, file.rows > _THREADS_ROWS)
                tables, count = [(file.types, rows)], rows.num_rows if groups is None else opened.metadata.num_rows
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise Unavailable(f"archive: {path} cannot be read: {error}") from None
    if count != file.rows:
        raise Unavailable(f"archive: {path} cannot be read: it has {count} rows instead of {file.rows}")
    return tables if within else [(types, _between(rows, first, stop)) for types, rows in tables]


def read_ids(folder: Path, file: DataFile) -> pa.ChunkedArray:
    """The ids of a file's rows; raises as `read_rows`."""
    if file.types == PACKED:
        tables = [rows.select(["id"]) for _, rows in read_rows(folder, file)]
        return pa.concat_tables(tables)["id"]
    path = folder / file.path
    try:
        return pq.read_table(path, columns=["id"], partitioning=None)["id"]
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise Unavailable(f"archive: {path} cannot be read: {error}") from None


def _write_whole(path: Path, rows: pa.Table, group_rows: int | None = None) -> None:
    make_folder(path.parent)
    scratch = path.with_name(f".{path.name}")
    texts = [item.name for item in rows.schema if pa.types.is_large_string(item.type) and item.name != "id"]
    times = [name for name in ("time", "first", "last") if name in rows.schema.names]
    try:
        pq.write_table(
            rows, scratch, compression="zstd", use_dictionary=texts or False, write_statistics=times,
            write_page_checksum=True, row_group_size=group_rows,
        )  # fmt: skip
        sync(scratch)
        scratch.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def _groups_between(metadata: pq.FileMetaData, first: int, stop: int) -> list[int] | None:
    """The row groups that may hold rows of these times; None where all do, or where the file does not tell."""
    if metadata.num_row_groups < 2:
        return None
    column = metadata.schema.names.index("time")
    groups = []
    for number in range(metadata.num_row_groups):
        statistics = metadata.row_group(number).column(column).statistics
        if statistics is None or not statistics.has_min_max:
            return None
        if statistics.max_raw >= first and statistics.min_raw < stop:
            groups.append(number)
    return None if len(groups) == metadata.num_row_groups else groups


def _read_groups(opened: pq.ParquetFile, groups: list[int] | None, threads: bool) -> pa.Table:
    if groups is None:
        return opened.read(use_threads=threads)
    return opened.read_row_groups(groups, use_threads=threads)


def _between(rows: pa.Table, first: int, stop: int) -> pa.Table:
    times = rows["time"].cast(pa.int64())
    return rows.filter(pc.and_(pc.greater_equal(times, first), pc.less(times, stop)))


def _pack_tables(tables: Sequence[pa.Table]) -> pa.Table:
    by_types: dict[str, list[pa.Table]] = {}
    for rows in tables:
        by_types.setdefault(types_of(rows), []).append(rows)
    streams = [
        (types, *first_and_last(part), part.num_rows, _to_stream(part))
        for types, same in by_types.items()
        for part in _parts(pa.concat_tables(align_columns(same)))
    ]
    columns = zip(zip(*streams, strict=True), _PACKED, strict=True)
    return pa.table([pa.array(values, item.type) for values, item in columns], _PACKED)


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, _STREAM_ROWS):
        yield rows.slice(start, _STREAM_ROWS).combine_chunks()


def _to_stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def _unpack_tables(packed: pa.Table, first: int, stop: int) -> tuple[list[TypedTable], int]:
    """The tables that may hold rows of these times, and the number of all rows of the file."""
    count = pc.sum(packed["rows"]).as_py() or 0
    wanted = packed.filter(pc.and_(pc.greater_equal(packed["last"], first), pc.less(packed["first"], stop)))
    streams = zip(wanted["types"].to_pylist(), wanted["data"], strict=True)
    return [(types, pa.ipc.open_stream(data.as_buffer()).read_all()) for types, data in streams], count
