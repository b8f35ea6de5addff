"""Arrow stream headers: the sizes that the messages of a stream declare, read before anything is made of those sizes.

A header is a FlatBuffer of a few bytes that may claim any number of rows, and in which many entries may share one text
that a library copies for each of them. https://arrow.apache.org/docs/format/Columnar.html, Message.fbs and Schema.fbs.
"""

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from operator import add
from typing import NamedTuple

from optagent.errors import InvalidData, Malformed, TooLarge, UnsupportedFormat
from serve_app.data_plane.body_limits import LONGEST_NAME, MOST_CELLS, MOST_COLUMNS, too_many_rows

_MOST_BATCHES = 10_000
_MOST_CHUNKS = 100_000  # columns times batches; each chunk takes some hundred bytes of memory
_MOST_TEXTS = 1_000_000  # of a dictionary
_FIELD_BYTES = 20  # the fewest that a field takes in a header
_ENTRY_BYTES = 16  # the fewest that a key and a value of metadata take besides their texts

_SMALL_HEADER = 4_000  # bytes
_KNOWN_HEADERS = 64  # small ones whose columns are remembered: a caller sends the same ones again and again

_CONTINUES = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3  # MessageHeader
_INT, _UTF8, _TIMESTAMP, _NULL, _UTF8_VIEW = 2, 5, 10, 1, 24  # Type
_BINARY, _LARGE_BINARY, _LARGE_UTF8 = 4, 19, 20
_OF_DICTIONARIES = frozenset({_INT, 3, _UTF8, 6, 7, 8, 9, _TIMESTAMP, 18, _LARGE_UTF8})
_READ = _OF_DICTIONARIES | {_NULL, _BINARY, _LARGE_BINARY, _UTF8_VIEW}

_U16, _I32, _U32, _I64 = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<q")
_ZONE = re.compile(rb"[A-Za-z0-9_+\-:/]{0,64}")


class StreamShape(NamedTuple):
    """The names of a stream's columns and its rows; `expands` where values refer to texts that are stored elsewhere."""

    names: tuple[str, ...]
    rows: int
    expands: bool


def read_shape(body: bytes, most_rows: int, most_columns: int) -> StreamShape:
    """The shape of a stream.

    Raises TooLarge for more rows, columns or cells, Malformed for sizes that contradict each other, InvalidData for
    columns of nested types and UnsupportedFormat for what is compressed.
    """
    try:
        return _read_shape(body, most_rows, most_columns)
    except (struct.error, IndexError) as error:
        raise Malformed(f"Arrow: {error}") from None


def _read_shape(body: bytes, most_rows: int, most_columns: int) -> StreamShape:
    names: tuple[str, ...] | None = None
    rows = batches = 0
    expands = False
    for kind, header, body_size in _messages(body):
        if kind == _SCHEMA and names is None:
            names, expands = (_read_known_fields if len(header.data) <= _SMALL_HEADER else _read_fields)(header.data)
            if len(names) > most_columns:
                raise _too_many_columns(len(names), most_columns)
            continue
        if names is None or kind not in (_DICTIONARY, _BATCH):
            raise Malformed("Arrow: a stream is a schema and its batches")
        batches += 1
        if kind == _DICTIONARY:
            _check_dictionary(header, body_size)
        else:
            rows += _batch_rows(header, body_size, len(names))
            if rows > most_rows:
                raise too_many_rows(rows, most_rows)
        if batches > _MOST_BATCHES or batches * len(names) > _MOST_CHUNKS:
            raise TooLarge(f"Arrow: {batches:,} batches of {len(names):,} columns; send the rows in one batch")
    if names is None:
        raise Malformed("Arrow: there is no schema")
    if rows * len(names) > MOST_CELLS:
        raise TooLarge(f"rows: {rows:,} of {len(names):,} columns in one call, the limit is {MOST_CELLS:,} cells")
    return StreamShape(names, rows, expands)


class _Table:
    """A table of a FlatBuffer: `at` is its position in the bytes."""

    __slots__ = ("_at", "_size", "_vtable", "data")

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self._at = at
        self._vtable = at - int(_I32.unpack_from(data, at)[0])
        if self._vtable < 0:
            raise Malformed("Arrow: a header points in front of itself")
        self._size = int(_U16.unpack_from(data, self._vtable)[0])

    def find_field(self, number: int) -> int:
        """The position of a field; 0 where the table lacks it."""
        slot = 4 + 2 * number
        if slot >= self._size:
            return 0
        offset = int(_U16.unpack_from(self.data, self._vtable + slot)[0])
        return self._at + offset if offset else 0

    def read_byte(self, number: int) -> int:
        at = self.find_field(number)
        return self.data[at] if at else 0

    def read_long(self, number: int) -> int:
        at = self.find_field(number)
        return int(_I64.unpack_from(self.data, at)[0]) if at else 0

    def read_table(self, number: int) -> "_Table | None":
        at = self.find_field(number)
        return _Table(self.data, at + int(_U32.unpack_from(self.data, at)[0])) if at else None

    def find_vector(self, number: int) -> tuple[int, int]:
        """The position of the first element of a vector, or the first byte of a text, and their number."""
        at = self.find_field(number)
        if not at:
            return 0, 0
        at += int(_U32.unpack_from(self.data, at)[0])
        return at + 4, int(_U32.unpack_from(self.data, at)[0])

    def read_text(self, number: int) -> bytes:
        at, size = self.find_vector(number)
        return self.data[at : at + size]

    def read_tables(self, number: int) -> Iterator["_Table"]:
        """The tables of a vector."""
        first, count = self.find_vector(number)
        for at in range(first, first + 4 * count, 4):
            yield _Table(self.data, at + int(_U32.unpack_from(self.data, at)[0]))

    def read_longs(self, number: int, width: int) -> tuple[int, ...]:
        """The whole numbers of a vector of structs of `width` numbers."""
        at, count = self.find_vector(number)
        return struct.unpack_from(f"<{width * count}q", self.data, at) if count else ()


def _messages(body: bytes) -> Iterator[tuple[int, _Table, int]]:
    """The kind of each message, its header and the size of its buffers."""
    at = 0
    while at < len(body):
        size = int(_U32.unpack_from(body, at)[0])
        at += 4
        if size == _CONTINUES:
            size = int(_U32.unpack_from(body, at)[0])
            at += 4
        if not size:
            return
        if at + size > len(body):
            raise Malformed(f"Arrow: a header of {size:,} bytes, {len(body) - at:,} are left")
        data = body[at : at + size]
        message = _Table(data, int(_U32.unpack_from(data, 0)[0]))
        header, body_size = message.read_table(2), message.read_long(3)
        at += size + body_size
        if header is None or body_size < 0 or at > len(body):
            raise Malformed("Arrow: the stream ends within a message")
        _count_metadata(message, 4, 0)
        yield message.read_byte(1), header, body_size


def _read_fields(data: bytes) -> tuple[tuple[str, ...], bool]:
    """The names of columns, and True where values of one refer to texts that are stored elsewhere."""
    schema = _Table(data, int(_U32.unpack_from(data, 0)[0])).read_table(2)
    if schema is None or schema.read_byte(0):
        raise UnsupportedFormat("Arrow: send numbers as little-endian")
    _, count = schema.find_vector(1)
    if count > MOST_COLUMNS:
        raise _too_many_columns(count, MOST_COLUMNS)
    if count * _FIELD_BYTES > len(schema.data):
        raise Malformed("Arrow: columns share their descriptions")
    names: list[str] = []
    expands, metadata = False, _count_metadata(schema, 2, 0)
    for field in schema.read_tables(1):
        name = _read_name(field, len(names))
        kind, coded = field.read_byte(2), bool(field.find_field(4))
        if kind not in (_OF_DICTIONARIES if coded else _READ) or field.find_vector(5)[1]:
            raise InvalidData(f"column {name!r}: nested, run-end encoded and fixed-size types are not read")
        if kind == _TIMESTAMP and not _ZONE.fullmatch(_zone_name(field)):
            raise InvalidData(f"column {name!r}: the time zone has no name of up to 64 characters")
        metadata = _count_metadata(field, 6, metadata)
        names.append(name)
        expands = expands or coded or kind == _UTF8_VIEW
    return tuple(names), expands


_read_known_fields = lru_cache(_KNOWN_HEADERS)(_read_fields)


def _too_many_columns(count: int, most_columns: int) -> TooLarge:
    return TooLarge(f"columns: {count:,} in one call, the limit is {most_columns:,}")


def _read_name(field: _Table, number: int) -> str:
    text = field.read_text(0)
    if len(text) > 4 * LONGEST_NAME:
        raise InvalidData(f"column {number}: a name has at most {LONGEST_NAME} characters")
    try:
        name = text.decode()
    except UnicodeDecodeError:
        raise Malformed(f"Arrow: the name of column {number} is not UTF-8") from None
    if len(name) > LONGEST_NAME:
        raise InvalidData(f"column {number}: a name has at most {LONGEST_NAME} characters")
    return name


def _zone_name(field: _Table) -> bytes:
    kind = field.read_table(3)
    return b"" if kind is None else kind.read_text(1)


def _count_metadata(owner: _Table, number: int, size: int) -> int:
    """`size` and the bytes of keys and values, which a header may share between entries and a library copies."""
    for entry in owner.read_tables(number):
        size += _ENTRY_BYTES + entry.find_vector(0)[1] + entry.find_vector(1)[1]
        if size > len(owner.data):
            raise Malformed("Arrow: metadata are larger than their header")
    return size


def _check_dictionary(header: _Table, body_size: int) -> None:
    texts = header.read_table(1)
    if texts is None or header.read_byte(2):
        raise UnsupportedFormat("Arrow: a dictionary is sent whole, not in parts")
    count = _batch_rows(texts, body_size, 1)
    if count > _MOST_TEXTS:
        raise TooLarge(f"Arrow: {count:,} texts in a dictionary, the limit is {_MOST_TEXTS:,}")


def _batch_rows(batch: _Table, body_size: int, columns: int) -> int:
    """The rows of a batch, whose columns are that long and whose buffers are stored once each."""
    if batch.find_field(3):
        raise UnsupportedFormat("Arrow: compressed buffers are not read, send them as they are")
    rows = batch.read_long(0)
    lengths = batch.read_longs(1, 2)[::2]
    if rows < 0 or len(lengths) != columns or lengths.count(rows) != columns:
        raise Malformed("Arrow: the columns of a batch are of different lengths")
    buffers = batch.read_longs(2, 2)
    sizes = buffers[1::2]
    if buffers and (min(buffers) < 0 or sum(sizes) > body_size or max(map(add, buffers[::2], sizes)) > body_size):
        raise Malformed("Arrow: the buffers of a batch are larger than its body")
    counts = batch.read_longs(4, 1)
    if counts and (min(counts) < 0 or sum(counts) > len(sizes)):
        raise Malformed("Arrow: a batch has fewer buffers than it says")
    return rows
