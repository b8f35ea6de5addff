"""In-memory datasets: tables by name in the place of files."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from optagent.adapters.datasets.choice import choose_columns
from optagent.adapters.datasets.limits import Meter
from optagent.adapters.datasets.open_rows import OpenTable
from optagent.domain.dataset import DataSource, FileSource, SqlSource
from optagent.errors import InvalidData


class InMemoryDatasets:
    """Reads from tables, by the path of a file source or the query of a SQL source."""

    def __init__(self, tables: Mapping[str, pa.Table], row_limit: int | None = None) -> None:
        self._tables = dict(tables)
        self._row_limit = row_limit

    def read(self, source: DataSource, columns: Sequence[str] | None = None) -> pa.Table:
        name = source.query if isinstance(source, SqlSource) else source.uri
        if name not in self._tables:
            raise InvalidData(f"{name}: no such file; the tables are {sorted(self._tables)}")
        table = self._tables[name]
        names = choose_columns(table.schema, columns, name)
        if self._row_limit is not None:
            Meter(self._row_limit, byte_limit=2**62).expect(table.num_rows, 0, len(names), name)
        if not table.num_rows:
            raise InvalidData(f"{name}: no rows")
        return table.select(names)

    def open(self, source: FileSource) -> OpenTable:
        return OpenTable(self.read(source), source.uri)
