"""Local row files: the `RowFiles` port over Parquet, CSV and Arrow, read from disk, S3 and GCS and written to disk."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from optagent.adapters.datasets.files import find_files
from optagent.adapters.datasets.row_batches import FileBatches
from optagent.adapters.datasets.row_output import TableFile, TableScratch, create_file, keep_tables
from optagent.domain.dataset import FileSource


class LocalRowFiles:
    """Reads without a limit of rows: no more than a few tables are in memory."""

    def open(self, uri: str) -> FileBatches:
        return FileBatches(find_files(FileSource(uri)))

    def create(
        self, path: Path, overwrite: bool = False, inputs: Sequence[str] = ()
    ) -> AbstractContextManager[TableFile]:
        return create_file(path, overwrite, inputs)

    def scratch(self, beside: Path) -> AbstractContextManager[TableScratch]:
        return keep_tables(beside)
