"""Row batches: files of any size as tables of so many rows, with the memory of a few tables."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from optagent.adapters.datasets.choice import refuse_duplicates
from optagent.adapters.datasets.content import compression_of
from optagent.adapters.datasets.csv_files import HEAD_BYTES, partition_values, read_header
from optagent.adapters.datasets.files import Files, reading
from optagent.errors import InvalidData
from optagent.training.columns import Kind, require_columns

_BUFFER_BYTES = 1 << 20
_CSV_TYPES = {Kind.NUMERIC: pa.float64(), Kind.BOOLEAN: pa.bool_()}


class FileBatches:
    """The rows of files as they are when this is made: one that has changed by the end of reading it is refused."""

    def __init__(self, files: Files) -> None:
        self.where = files.where
        self.paths: Sequence[str] = () if files.remote else files.paths
        self._files = files
        self._stamps = {path: self._stamp(path) for path in files.paths}
        self._partitions = {path: partition_values(files, path) if "=" in path else {} for path in files.paths}
        with reading(files.where, files.remote):
            schemas = [self._read_schema(path) for path in files.paths]
            self._schema = schemas[0] if len(schemas) == 1 else pa.unify_schemas(schemas, promote_options="permissive")
        self.names: Sequence[str] = self._schema.names

    def read(self, columns: Mapping[str, Kind | None], most_rows: int) -> Generator[pa.Table]:
        """The rows of one file after another in tables of these columns."""
        require_columns(list(columns), self.names, self.where)
        empty = None
        for path in self._files.paths:
            where = self._name(path)
            with reading(where, self._files.remote):
                for table in even_tables(self._open(path, columns, most_rows), most_rows):
                    whole = self._complete(table, path, columns)
                    if whole.num_rows:
                        empty = False
                        yield whole
                    elif empty is None:
                        empty = whole
                self._check_unchanged(path, where)
        if isinstance(empty, pa.Table):
            yield empty

    def _open(self, path: str, columns: Mapping[str, Kind | None], most_rows: int) -> Iterator[pa.RecordBatch]:
        stored = [name for name in columns if name not in self._partitions[path]]
        if self._files.format == "csv":
            return self._read_csv(path, {name: columns[name] for name in stored})
        if self._files.format == "arrow":
            return self._read_arrow(path, stored)
        return self._read_parquet(path, stored, most_rows)

    def _read_parquet(self, path: str, names: Sequence[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        with self._files.filesystem.open_input_file(path) as stream:
            file = pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES)
            require_columns(names, file.schema_arrow.names, self._name(path))
            yield pa.RecordBatch.from_pylist([], pa.schema([file.schema_arrow.field(name) for name in names]))
            for batch in file.iter_batches(most_rows, columns=list(names), use_threads=False):
                yield batch.select(list(names))

    def _read_arrow(self, path: str, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._open_arrow(path) as stream:
            file = pa.ipc.open_file(stream)
            require_columns(names, file.schema.names, self._name(path))
            yield pa.RecordBatch.from_pylist([], pa.schema([file.schema.field(name) for name in names]))
            for number in range(file.num_record_batches):
                yield file.get_batch(number).select(list(names))

    def _read_csv(self, path: str, columns: Mapping[str, Kind | None]) -> Iterator[pa.RecordBatch]:
        """Types follow from the kinds: those that Arrow infers from the first rows need not fit the later ones."""
        names, separator, compression = self._read_head(path)
        require_columns(list(columns), names, self._name(path))
        types = {name: _csv_type(kind) for name, kind in columns.items()}
        with self._files.filesystem.open_input_stream(path, compression=compression) as stream:
            reader = pacsv.open_csv(
                stream,
                parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    include_columns=list(columns) or names[:1], column_types=types, strings_can_be_null=True
                ),
            )
            yield pa.RecordBatch.from_pylist([], reader.schema)
            for batch in reader:
                yield batch.select(list(columns)) if columns else batch

    def _complete(self, table: pa.Table, path: str, columns: Mapping[str, Kind | None]) -> pa.Table:
        """The table with the values of its folders, in the types that all files share."""
        for name, value in self._partitions[path].items():
            if name in columns:
                table = table.append_column(name, pa.repeat(value, table.num_rows))
        table = table.select(list(columns))
        if len(self._files.paths) == 1 or self._files.format == "csv":
            return table
        return table.cast(pa.schema([self._schema.field(name) for name in columns]))

    def _read_schema(self, path: str) -> pa.Schema:
        if self._files.format == "csv":
            schema = pa.schema([(name, pa.string()) for name in self._read_head(path)[0]])
        elif self._files.format == "arrow":
            with self._open_arrow(path) as stream:
                schema = pa.ipc.open_file(stream).schema
        else:
            with self._files.filesystem.open_input_file(path) as stream:
                schema = pq.read_schema(stream)
        schema = schema.remove_metadata()
        for name, value in self._partitions[path].items():
            schema = schema.append(pa.field(name, value.type))
        refuse_duplicates(schema.names, self._name(path))
        return schema

    def _read_head(self, path: str) -> tuple[list[str], str, str | None]:
        """The names, the separator and the compression of a CSV file."""
        with self._files.filesystem.open_input_stream(path, compression=None) as stream:
            compression = compression_of(stream.read(8))
        with self._files.filesystem.open_input_stream(path, compression=compression) as stream:
            names, separator = read_header(stream.read(HEAD_BYTES), self._name(path))
        return names, separator, compression

    def _open_arrow(self, path: str) -> Any:
        return pa.memory_map(path) if self.paths else self._files.filesystem.open_input_file(path)

    def _check_unchanged(self, path: str, where: str) -> None:
        before, now = self._stamps[path], self._stamp(path)
        if before != now:
            raise InvalidData(
                f"{where}: has changed while it was read ({before[0]:,} bytes at the beginning, {now[0]:,} now):"
                " write it under another name, and rename it when it is whole"
            )

    def _stamp(self, path: str) -> tuple[int, int]:
        """The size in bytes and the time of the last change in nanoseconds."""
        with reading(self._name(path), self._files.remote):
            info = self._files.filesystem.get_file_info(path)
        return info.size or 0, info.mtime_ns or 0

    def _name(self, path: str) -> str:
        return self.where if len(self._files.paths) == 1 else f"{self.where}: {path}"


def even_tables(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Tables of so many rows, the last one of fewer, or one empty table; the first batch gives the schema."""
    schema, parts, count, is_first = None, [], 0, True
    for batch in batches:
        schema = schema or batch.schema
        while batch.num_rows:
            part = batch.slice(0, rows - count)
            parts.append(part)
            count += part.num_rows
            batch = batch.slice(part.num_rows)
            if count == rows:
                yield pa.Table.from_batches(parts, schema)
                parts, count, is_first = [], 0, False
    if schema is not None and (count or is_first):
        yield pa.Table.from_batches(parts, schema)


def _csv_type(kind: Kind | None) -> pa.DataType:
    return pa.string() if kind is None else _CSV_TYPES.get(kind, pa.string())
