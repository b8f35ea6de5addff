"""Open rows: a file whose columns and rows are read as they are asked for, so that a long or wide one is looked at."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from optagent.adapters.datasets.files import Files, reading
from optagent.adapters.datasets.limits import Meter
from optagent.adapters.datasets.typed_files import open_dataset, read_columns


class OpenTypedFiles:
    """Parquet or Arrow files: a read takes the columns that it names from the disk, and no others."""

    def __init__(self, files: Files, row_limit: int, byte_limit: int) -> None:
        self.where = files.where
        self._files = files
        self._limits = row_limit, byte_limit
        with reading(files.where, files.remote):
            self._dataset: ds.Dataset = open_dataset(files)
        self.schema: pa.Schema = self._dataset.schema

    def read(self, columns: Sequence[str]) -> pa.Table:
        return read_columns(self._dataset, self._files, columns, Meter(*self._limits))

    def take(self, places: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        with reading(self._files.where, self._files.remote):
            return self._dataset.take(pa.array(places), columns=list(columns))


class OpenTable:
    """Rows that are in memory already: those of a CSV file, whose types only its whole text tells."""

    def __init__(self, table: pa.Table, where: str) -> None:
        self.where = where
        self.schema: pa.Schema = table.schema
        self._table = table

    def read(self, columns: Sequence[str]) -> pa.Table:
        return self._table.select(list(columns))

    def take(self, places: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        return self._table.select(list(columns)).take(pa.array(places))
