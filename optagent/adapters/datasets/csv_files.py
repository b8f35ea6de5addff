"""CSV files: reads them once, in a stream that counts rows before they are parsed."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as ds

from optagent.adapters.datasets.choice import choose_columns
from optagent.adapters.datasets.content import check_content, compression_of
from optagent.adapters.datasets.files import Files, is_named_as_data, reading
from optagent.adapters.datasets.limits import Meter
from optagent.errors import InvalidData

HEAD_BYTES = 1 << 18
_VALUE_BYTES = 8
_PLAIN_NAME = re.compile(r"[\w .()%/-]{1,100}")


def read_csv_files(files: Files, columns: Sequence[str] | None, meter: Meter) -> pa.Table:
    """The rows of all files, in the order of their names, types inferred from the whole of each file.

    The separator is a comma, or the semicolon, tab or bar of a header without commas. Empty fields, NA, NULL and NaN
    are null, as in pandas.
    """
    tables = [_read_file(files, path, columns, meter) for path in files.paths]
    with reading(files.where, files.remote):
        if len(tables) == 1:
            return tables[0]
        names = tables[0].schema.names
        for path, table in zip(files.paths, tables, strict=True):
            if set(table.schema.names) != set(names):
                raise InvalidData(f"{files.where}: {path} has columns {table.schema.names}, the first file has {names}")
        return pa.concat_tables(tables, promote_options="permissive")


def _read_file(files: Files, path: str, columns: Sequence[str] | None, meter: Meter) -> pa.Table:
    where = files.where if len(files.paths) == 1 else f"{files.where}: {path}"
    with reading(where, files.remote):
        with files.filesystem.open_input_stream(path, compression=None) as stream:
            compression = compression_of(stream.read(8))
        with files.filesystem.open_input_stream(path, compression=compression) as stream:
            names, separator = read_header(stream.read(HEAD_BYTES), where)
        if not is_named_as_data(path):
            _require_plain_header(names, where)
        partitions = partition_values(files, path)
        placeholder = pa.schema([(name, pa.string()) for name in [*names, *partitions]])
        selected = choose_columns(placeholder, columns, where)
        stored = [name for name in selected if name in names]
        with files.filesystem.open_input_stream(path, compression=compression) as stream:
            table = pacsv.read_csv(
                _MeteredStream(stream, meter, len(names), where),
                parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(include_columns=stored or names[:1], strings_can_be_null=True),
            )
        for field in table.schema:
            if pa.types.is_binary(field.type):
                raise InvalidData(f"{where}: column {field.name!r} holds bytes that are not UTF-8 text")
        for name, value in partitions.items():
            table = table.append_column(name, pa.repeat(value, table.num_rows))
        return table.select(selected)


def read_header(head: bytes, where: str) -> tuple[list[str], str]:
    """The names of the columns and the separator, by the first bytes of a file; raises InvalidData."""
    if not head.strip():
        raise InvalidData(f"{where}: the file is empty")
    check_content(head, "csv", "", where)
    text = io.StringIO(head.decode("utf-8-sig", errors="ignore"))
    line = next(line for line in text if line.strip())
    separator = "," if "," in line else max(";\t|", key=line.count)
    text.seek(0)
    names = next(row for row in csv.reader(text, delimiter=separator) if row)
    return names, separator


def _require_plain_header(names: Sequence[str], where: str) -> None:
    """Raises InvalidData, without quoting the line, for a first line that does not look like names of columns.

    Messages list the columns of a file. One that is only said to be CSV may be anything, such as a list of passwords.
    """
    if not all(_PLAIN_NAME.fullmatch(name) for name in names):
        raise InvalidData(
            f"{where}: its name is not that of a data file, and its first line holds more than names of columns"
            " (letters, digits, spaces and any of _.()%/-)"
        )


def partition_values(files: Files, path: str) -> dict[str, pa.Scalar]:
    """Values of the folders such as `day=3` between the root and the file, typed over all files."""
    options = ds.FileSystemFactoryOptions(
        partition_base_dir=files.root, partitioning=ds.HivePartitioning.discover(), exclude_invalid_files=False
    )
    factory = ds.FileSystemDatasetFactory(files.filesystem, list(files.paths), ds.CsvFileFormat(), options)
    schema = factory.inspect(fragments=0)  # the paths alone
    for fragment in factory.finish(schema).get_fragments():
        if fragment.path == path:
            keys = ds.get_partition_keys(fragment.partition_expression)
            return {name: pa.scalar(value, schema.field(name).type) for name, value in keys.items()}
    return {}


class _MeteredStream(io.RawIOBase):
    """A stream that counts the rows and bytes read from it, so that a file over the limits is not read to its end."""

    def __init__(self, stream: Any, meter: Meter, columns: int, where: str) -> None:
        self._stream, self._meter, self._columns, self._where = stream, meter, columns, where
        self._quoted = False
        self._header_seen = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._stream.read(size)
        rows = self._count_line_ends(block)
        if rows and not self._header_seen:
            self._header_seen = True
            rows -= 1
        self._meter.add(rows, len(block) + rows * self._columns * _VALUE_BYTES, self._columns, self._where)
        return block

    def _count_line_ends(self, block: bytes) -> int:
        """The number of line ends outside quotes."""
        if not self._quoted and b'"' not in block:
            return block.count(b"\n")
        parts = block.split(b'"')
        count = sum(part.count(b"\n") for part in parts[self._quoted :: 2])
        self._quoted ^= len(parts) % 2 == 0
        return count
