"""Payloads of the data plane: bodies of requests and answers, as JSON or as streams of Arrow."""

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
    """Rows to predict, as they came: a list of objects, columns by name, or a table. `ids` may be empty."""

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
    """True for a stream of Arrow, False for JSON, the default; raises UnsupportedFormat for all else."""
    if content_encoding not in (b"", b"identity"):
        raise UnsupportedFormat(f"Content-Encoding {_short_text(content_encoding)}: send the body as it is")
    if content_type in (JSON, b""):
        return False
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type not in (JSON, ARROW):
        raise UnsupportedFormat(f"Content-Type {_short_text(content_type)} is not read: send {_FORMATS}")
    return media_type == ARROW


def read_predict_request(body: bytes, arrow: bool) -> PredictionRequest:
    """The rows to predict in a body; raises Malformed or InvalidRequest, which say where it is wrong."""
    if arrow:
        return _request_from_table(read_table(body))
    body_fields: _Predict = _decode_json(_decode_predict, body)
    rows: Any = body_fields.rows
    if (rows is msgspec.UNSET) is (body_fields.row is msgspec.UNSET):
        raise InvalidRequest("give 'rows' (a list of objects, or lists by column) or 'row' (an object)")
    if rows is msgspec.UNSET:
        rows = [body_fields.row]
    size = len(rows) if type(rows) is list else len(next(iter(rows.values()), ()))
    key = body_fields.key
    if key is not None:
        key = _checked_key(str(key))
    return PredictionRequest(rows, size, () if body_fields.ids is None else _checked_ids(body_fields.ids, size), key)


def read_labels(body: bytes, arrow: bool) -> Any:
    """The labels in a body, in a form that `agent.record_labels` takes."""
    return read_table(body) if arrow else _decode_json(_decode_labels, body).labels


def read_table(body: bytes) -> pa.Table:
    """The table of a stream of Arrow, validated before anything relies on it."""
    try:
        for message in pa.ipc.MessageReader.open_stream(body):
            if _is_compressed(message):
                raise UnsupportedFormat("Arrow: compressed buffers are not read, send them as they are")
        table = pa.ipc.open_stream(body).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, struct.error, IndexError, EOFError) as error:
        raise Malformed(f"Arrow: {str(error)[:_LONGEST]}") from None
    return table


def read_key(header: bytes) -> str:
    """The sticky key in the value of a header."""
    return _checked_key(header.decode("latin-1"))


def table_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _request_from_table(table: pa.Table) -> PredictionRequest:
    """A request of a table; its column `id`, if there is one, holds the ids of the rows."""
    if "id" not in table.schema.names:
        return PredictionRequest(table, table.num_rows, (), None)
    ids = table["id"]
    if not (pa.types.is_integer(ids.type) or pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        raise InvalidData(f"column 'id': a text or whole number is needed, got {ids.type}")
    id_texts = _checked_ids(ids.to_pylist(), table.num_rows)
    return PredictionRequest(table.drop_columns(["id"]), table.num_rows, id_texts, None)


def _decode_json(decode: Any, body: bytes) -> Any:
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
    """True where a message says that its buffers are compressed, so that a few bytes could fill the memory."""
    if message.type not in ("record batch", "dictionary"):
        return False
    data = message.metadata.to_pybytes()
    header = _field_position(data, _table_position(data, 0), 2)
    if header and message.type == "dictionary":
        header = _field_position(data, _table_position(data, header), 1)
    return bool(header and _field_position(data, _table_position(data, header), 3))


def _table_position(data: bytes, at: int) -> int:
    """The position of the table that a FlatBuffers offset at `at` points to."""
    return at + int(struct.unpack_from("<I", data, at)[0])


def _field_position(data: bytes, table: int, number: int) -> int:
    """The position of a field of a FlatBuffers table; 0 where the table lacks it."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    size = struct.unpack_from("<H", data, vtable)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + slot)[0] if slot < size else 0
    return table + int(offset) if offset else 0


def _short_text(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
