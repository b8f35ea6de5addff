"""Dataset reader: the `Datasets` port over files and SQL."""

from collections.abc import Sequence

import pyarrow as pa

from optagent.adapters.datasets.choice import choose_columns, refuse_duplicates
from optagent.adapters.datasets.limits import Meter, available_bytes
from optagent.domain.dataset import DataSource, FileSource, SqlSource
from optagent.errors import InvalidData, InvalidRequest
from optagent.extras import require_library
from optagent.ports import OpenRows


class FileDatasets:
    """Parquet, CSV and Arrow files on disk, S3 and GCS, and SQL queries.

    A read is refused above `row_limit` rows, or if the table and the float32 matrix made of it would take more than
    `memory_fraction` of the memory that is free when it starts. A read without `columns` leaves out the columns of
    unsupported types (lists, structs, binary).
    """

    def __init__(self, row_limit: int, memory_fraction: float = 0.5) -> None:
        if row_limit < 1:
            raise InvalidRequest(f"row_limit must be at least 1, got {row_limit}")
        if not 0 < memory_fraction <= 1:
            raise InvalidRequest(f"memory_fraction must be above 0 and at most 1, got {memory_fraction}")
        self._row_limit = row_limit
        self._memory_fraction = memory_fraction

    def read(self, source: DataSource, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of `source`, with all supported columns or those in `columns`, in that order."""
        meter = Meter(self._row_limit, self._byte_limit)
        if isinstance(source, SqlSource):
            table, where = _read_query(source, columns, meter)
        else:
            table, where = _read_files(source, columns, meter)
        table = table.select(choose_columns(table.schema, columns, where))
        if not table.num_rows:
            raise InvalidData(f"{where}: no rows")
        return table

    def open(self, source: FileSource) -> OpenRows:
        """The files of `source`, of which columns and rows are read as they are asked for; a CSV file is read now."""
        rows = _open_files(source, self._row_limit, self._byte_limit)
        refuse_duplicates(rows.schema.names, rows.where)
        return rows

    @property
    def _byte_limit(self) -> int:
        return int(available_bytes() * self._memory_fraction)


def _open_files(source: FileSource, row_limit: int, byte_limit: int) -> OpenRows:
    from optagent.adapters.datasets.csv_files import read_csv_files
    from optagent.adapters.datasets.files import find_files
    from optagent.adapters.datasets.open_rows import OpenTable, OpenTypedFiles

    files = find_files(source)
    if files.format == "csv":
        return OpenTable(read_csv_files(files, None, Meter(row_limit, byte_limit)), files.where)
    return OpenTypedFiles(files, row_limit, byte_limit)


def _read_query(source: SqlSource, columns: Sequence[str] | None, meter: Meter) -> tuple[pa.Table, str]:
    require_library("sqlalchemy", "a query")
    from optagent.adapters.datasets.sql import read_sql  # SQLAlchemy takes a while to load

    return read_sql(source, columns, meter)


def _read_files(source: FileSource, columns: Sequence[str] | None, meter: Meter) -> tuple[pa.Table, str]:
    from optagent.adapters.datasets.csv_files import read_csv_files  # pyarrow.dataset takes a while to load
    from optagent.adapters.datasets.files import find_files
    from optagent.adapters.datasets.typed_files import read_typed_files

    files = find_files(source)
    read = read_csv_files if files.format == "csv" else read_typed_files
    return read(files, columns, meter), files.where
