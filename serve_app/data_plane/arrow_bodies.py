"""Arrow bodies: tables read from streams whose shape was checked, validated before anything relies on them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.errors import Malformed, TooLarge
from serve_app.data_plane.arrow_messages import read_shape
from serve_app.data_plane.body_limits import LONGEST_NAME

_MOST_EXPANDED = 16_000_000
"""Bytes of texts that values refer to, each time that a value does: 10,000 rows of 80 columns of 20 characters."""


def read_table(body: bytes, most_rows: int, most_columns: int) -> pa.Table:
    """The table of a stream; raises Malformed, InvalidData, UnsupportedFormat and TooLarge."""
    shape = read_shape(body, most_rows, most_columns)
    try:
        table = pa.ipc.open_stream(body).read_all()
        if shape.expands:
            table.validate()  # that buffers are long enough for the sizes that are added up
            _check_expanded(sum(map(_stored_bytes, _chunks(table))))
        table.validate(full=True)
        if shape.expands:
            _check_expanded(sum(map(_expanded_bytes, _chunks(table))))
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        if isinstance(error, TooLarge):
            raise
        raise Malformed(f"Arrow: {str(error)[:LONGEST_NAME]}") from None
    return table


def table_bytes(table: pa.Table) -> bytes:
    """A table as a stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _chunks(table: pa.Table) -> Iterator[pa.Array]:
    for column in table.columns:
        yield from column.chunks


def _check_expanded(size: int) -> None:
    if size > _MOST_EXPANDED:
        raise TooLarge(f"Arrow: {size:,} bytes of texts once they are written out, the limit is {_MOST_EXPANDED:,}")


def _stored_bytes(chunk: pa.Array) -> int:
    """The bytes that a full validation reads: the dictionary of each chunk, and each view of a text."""
    if pt.is_dictionary(chunk.type):
        return int(chunk.dictionary.get_total_buffer_size())
    return _viewed_bytes(chunk) if pt.is_string_view(chunk.type) else 0


def _viewed_bytes(chunk: pa.Array) -> int:
    views = chunk.buffers()[1]
    if views is None or not len(chunk):
        return 0
    sizes = np.frombuffer(views, np.int32).reshape(-1, 4)[chunk.offset : chunk.offset + len(chunk), 0]
    return int(np.maximum(sizes, 0).sum(where=chunk.is_valid().to_numpy(zero_copy_only=False), dtype=np.int64))


def _expanded_bytes(chunk: pa.Array) -> int:
    """The bytes of the texts that a validated chunk of codes refers to."""
    if not pt.is_dictionary(chunk.type) or not (
        pt.is_string(chunk.type.value_type) or pt.is_large_string(chunk.type.value_type)
    ):
        return 0
    return pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
