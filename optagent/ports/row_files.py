"""Row file ports: files of any size are read in tables of some rows, and written whole or not at all."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from optagent.training.columns import Kind


class RowBatches(Protocol):
    """The rows of one or more files, in the order of the files' names. `where` names them in messages."""

    where: str
    names: Sequence[str]
    paths: Sequence[str]
    """The files, empty where they are not on this machine."""

    def read(self, columns: Mapping[str, Kind | None], most_rows: int) -> Generator[pa.Table]:
        """The rows in tables of `most_rows`, of fewer at the end of each file; the first is empty where there is none.

        A column whose kind is given is read as that kind where its values have no type of their own, as in CSV; one
        without a kind is a text there. Raises InvalidData for a file that cannot be read, or that has changed since it
        was opened.
        """
        ...


class RowOutput(Protocol):
    """A file that is being written; all tables have the schema of the first."""

    def write(self, table: pa.Table) -> None:
        """Raises InvalidRequest where the file cannot be written."""
        ...


class RowScratch(Protocol):
    """Tables that are kept on disk for a while. Their schemas may differ."""

    def write(self, table: pa.Table) -> None: ...

    def read(self) -> Iterator[pa.Table]:
        """The tables that were written, in their order; nothing is written afterwards."""
        ...


class RowFiles(Protocol):
    """Files of rows: Parquet, CSV and Arrow."""

    def open(self, uri: str) -> RowBatches:
        """The files of a path, a folder, a glob or an address as they are now; raises InvalidData."""
        ...

    def create(
        self, path: Path, overwrite: bool = False, inputs: Sequence[str] = ()
    ) -> AbstractContextManager[RowOutput]:
        """A new file. It gets its name at the end of its context, and is gone where that ends by an error.

        Raises InvalidRequest for a path that exists unless `overwrite`, that is one of the `inputs`, whose ending names
        no format, or that cannot be written.
        """
        ...

    def scratch(self, beside: Path) -> AbstractContextManager[RowScratch]:
        """Room on disk in the folder of a path, which is given back at the end of its context."""
        ...
