"""Row output: a table file that grows beside its path, and gets its name once it is whole."""

import errno
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from optagent.errors import InvalidRequest

_GROUP_ROWS = 131_072
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}


class TableFile:
    """A file of tables of one schema, which is that of the first."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self._path, self._scratch = path, scratch
        self._format = _FORMATS[path.suffix.lower()]
        self._sink: Any = None
        self._writer: Any = None
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        """Rows reach a Parquet file in groups of 131,072. Lists are JSON in a CSV file."""
        with writing(self._path):
            if self._format == "csv":
                table = _write_lists_out(table)
            if self._writer is None:
                self._sink = pa.OSFile(str(self._scratch), "wb")
                self._writer = self._open(table.schema)
            self._waiting.append(table)
            self._rows += table.num_rows
            if self._format != "parquet" or self._rows >= _GROUP_ROWS:
                self._flush()

    def finish(self) -> None:
        """Writes what waits, and returns once the file is on the disk."""
        with writing(self._path):
            if self._writer is not None:
                self._flush()
                self._writer.close()
                self._sink.close()
            with self._scratch.open("rb") as file:
                os.fsync(file.fileno())

    def abandon(self) -> None:
        """Closes the file whatever is missing."""
        for part in (self._writer, self._sink):
            with suppress(Exception):
                part.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._rows = [], 0

    def _open(self, schema: pa.Schema) -> Any:
        if self._format == "csv":
            return pacsv.CSVWriter(self._sink, schema)
        if self._format == "arrow":
            return pa.ipc.new_file(self._sink, schema)
        texts = [field.name for field in schema if not pa.types.is_floating(field.type)]
        return pq.ParquetWriter(self._sink, schema, use_dictionary=texts or False)


def _write_lists_out(table: pa.Table) -> pa.Table:
    """The table with each list as a text, in JSON."""
    for at, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [
                None if value is None else json.dumps(value, ensure_ascii=False) for value in table[at].to_pylist()
            ]
            table = table.set_column(at, field.name, pa.array(texts, pa.large_string()))
    return table


class TableScratch:
    """Tables one after the other in a file, each with its schema."""

    def __init__(self, path: Path, near: Path) -> None:
        self._path, self._near = path, near
        self._file = path.open("xb")

    def write(self, table: pa.Table) -> None:
        with writing(self._near), pa.ipc.new_stream(self._file, table.schema) as writer:
            writer.write_table(table)

    def read(self) -> Iterator[pa.Table]:
        with writing(self._near):
            self._file.close()
        with self._path.open("rb") as file:
            end = self._path.stat().st_size
            while file.tell() < end:
                yield pa.ipc.open_stream(file).read_all()

    def close(self) -> None:
        """Gives the room back."""
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


@contextmanager
def create_file(path: Path, overwrite: bool = False, inputs: Sequence[str] = ()) -> Iterator[TableFile]:
    """A file that stands under its path once the context has ended without an error; otherwise nothing is left."""
    path = Path(path)
    check_output(path, overwrite, inputs)
    scratch = _scratch_path(path)
    with writing(path):
        scratch.touch(exist_ok=False)
    file = TableFile(path, scratch)
    try:
        yield file
        file.finish()
        with writing(path):
            _rename(scratch, path, overwrite)
    finally:
        file.abandon()
        scratch.unlink(missing_ok=True)


@contextmanager
def keep_tables(beside: Path) -> Iterator[TableScratch]:
    """Room for tables in the folder of a path, until the context ends."""
    with writing(beside):
        scratch = TableScratch(_scratch_path(beside), beside)
    try:
        yield scratch
    finally:
        scratch.close()


def check_output(path: Path, overwrite: bool, inputs: Sequence[str]) -> None:
    """Raises InvalidRequest for a path that a file cannot be written to."""
    if path.suffix.lower() not in _FORMATS:
        raise InvalidRequest(f"{path}: the name does not say the format; end it in one of {list(_FORMATS)}")
    if path.is_dir():
        raise InvalidRequest(f"{path}: is a folder, a file is needed")
    if not path.parent.is_dir():
        raise InvalidRequest(f"{path}: there is no folder {str(path.parent)!r}; make it first")
    if path.exists():
        if any(os.path.exists(name) and path.samefile(name) for name in inputs):
            raise InvalidRequest(f"{path}: is the file that is read; write to another one")
        if not overwrite:
            raise InvalidRequest(f"{path}: exists already; give --overwrite to replace it, or another name")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns errors of the disk and of Arrow into InvalidRequest."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise InvalidRequest(f"{path}: the disk is full; nothing was written, make room first") from None
        reason = error.strerror or " ".join(str(error).split())[:300]
        raise InvalidRequest(f"{path}: cannot be written, nothing was: {reason}") from None
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidRequest(f"{path}: cannot be written, nothing was: {reason}") from None


def _rename(scratch: Path, path: Path, overwrite: bool) -> None:
    """A file that came to stand at the path meanwhile is not replaced without `overwrite`."""
    if not overwrite:
        try:
            os.link(scratch, path)
        except FileExistsError:
            raise InvalidRequest(f"{path}: has come to exist meanwhile; give --overwrite to replace it") from None
        except OSError:  # a file system without links
            check_output(path, overwrite, ())
        else:
            return
    scratch.replace(path)


def _scratch_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
