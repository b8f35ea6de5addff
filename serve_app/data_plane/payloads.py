"""What is sent to the data plane and what it answers: JSON, or streams of Arrow."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from optagent.errors import InvalidData, InvalidRequest, Malformed, UnsupportedFormat

JSON, ARROW = b"application/json", b"application/vnd.apache.arrow.stream"

_LONGEST = 200
_FORMATS = f"{JSON.decode()} or {ARROW.decode()}"


class PredictionRequest(NamedTuple):
    """Rows to be answered, as they came: a list of objects, columns by name, or a table. `ids` may be empty."""

    rows: Any
    size: int
    ids: Sequence[str]
    key: str | None


class _Predict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    rows: list[dict[str, Any]] | dict[str, list[Any]] | msgspec.UnsetType = msgspec.UNSET
    row: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    ids: list[str | int] | None = None
    key: str | int | None = None


class _Labels(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[dict[str, Any]]


_decode_predict = msgspec.json.Decoder(_Predict).decode
_decode_labels = msgspec.json.Decoder(_Labels).decode
encode_json = msgspec.json.Encoder().encode


def is_arrow(content_type: bytes, content_encoding: bytes) -> bool:
    """Whether it is a stream of Arrow rather than JSON, which no type means too; UnsupportedFormat for all else."""
    if content_encoding not in (b"", b"identity"):
        raise UnsupportedFormat(f"Content-Encoding {_shown(content_encoding)}: send the body as it is")
    if content_type in (JSON, b""):
        return False
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type not in (JSON, ARROW):
        raise UnsupportedFormat(f"Content-Type {_shown(content_type)} is not read: send {_FORMATS}")
    return media_type == ARROW


def read_question(body: bytes, arrow: bool) -> PredictionRequest:
    """Rows to predict; Malformed or InvalidRequest say where it is wrong."""
    if arrow:
        return _of_table(read_table(body))
    sent: _Predict = _decoded(_decode_predict, body)
    rows: Any = sent.rows
    if (rows is msgspec.UNSET) is (sent.row is msgspec.UNSET):
        raise InvalidRequest("give 'rows' (a list of objects, or lists by column) or 'row' (an object)")
    if rows is msgspec.UNSET:
        rows = [sent.row]
    size = len(rows) if type(rows) is list else len(next(iter(rows.values()), ()))
    key = sent.key
    if key is not None:
        key = _checked_key(str(key))
    return PredictionRequest(rows, size, () if sent.ids is None else _checked_ids(sent.ids, size), key)


def read_labels(body: bytes, arrow: bool) -> Any:
    """Labels as `agent.record_labels` takes them."""
    return read_table(body) if arrow else _decoded(_decode_labels, body).labels


def read_table(body: bytes) -> pa.Table:
    """A stream of Arrow, checked before anything relies on it."""
    try:
        for message in pa.ipc.MessageReader.open_stream(body):
            if _is_compressed(message):
                raise UnsupportedFormat("Arrow: compressed buffers are not read, send them as they are")
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, struct.error, IndexError, EOFError) as error:
        raise Malformed(f"Arrow: {str(error)[:_LONGEST]}") from None
    return table


def key_of(header: bytes) -> str:
    """The sticky key of a header."""
    return _checked_key(header.decode("latin-1"))


def table_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _of_table(table: pa.Table) -> PredictionRequest:
    """A column `id` names the rows."""
    if "id" not in table.schema.names:
        return PredictionRequest(table, table.num_rows, (), None)
    ids = table["id"]
    if not (pa.types.is_integer(ids.type) or pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        raise InvalidData(f"column 'id': a text or whole number is needed, got {ids.type}")
    found = _checked_ids(ids.to_pylist(), table.num_rows)
    return PredictionRequest(table.drop_columns(["id"]), table.num_rows, found, None)


def _decoded(decode: Any, body: bytes) -> Any:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body: {str(error)[:_LONGEST]}") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"the body is no JSON: {str(error)[:_LONGEST]}") from None
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is no JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise Malformed("the body is nested too deeply") from None


def _checked_ids(ids: Sequence[Any], size: int) -> Sequence[str]:
    if len(ids) != size:
        raise InvalidData(f"ids: {len(ids)} for {size} rows; each row needs one")
    texts = [str(name) for name in ids]
    for row, (name, text) in enumerate(zip(ids, texts, strict=True)):
        if name is None or not 0 < len(text) <= _LONGEST:
            raise InvalidData(f"row {row}: an id has 1 to {_LONGEST} characters")
    if len(set(texts)) < size:
        twice = next(text for text in texts if texts.count(text) > 1)
        raise InvalidData(f"ids: {twice!r} stands twice")
    return texts


def _checked_key(key: str) -> str:
    if not 0 < len(key) <= _LONGEST:
        raise InvalidRequest(f"key: 1 to {_LONGEST} characters are needed")
    return key


def _is_compressed(message: pa.ipc.Message) -> bool:
    """Whether a message says that its buffers are compressed: a few of their bytes could fill the memory."""
    if message.type not in ("record batch", "dictionary"):
        return False
    data = message.metadata.to_pybytes()
    header = _field(data, _table(data, 0), 2)
    if header and message.type == "dictionary":
        header = _field(data, _table(data, header), 1)
    return bool(header and _field(data, _table(data, header), 3))


def _table(data: bytes, at: int) -> int:
    """Where the table is that a FlatBuffers offset at `at` points to."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a FlatBuffers table is; 0 where it has none."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    size = struct.unpack_from("<H", data, vtable)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + slot)[0] if slot < size else 0
    return table + int(offset) if offset else 0


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
