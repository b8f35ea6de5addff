"""JSON bodies: requests decoded from JSON, the large ones part by part, so that no part holds Python's lock for long.

A large body is counted before it is decoded: empty objects and lists take some thirty times their bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from optagent.errors import InvalidRequest, Malformed, TooLarge
from serve_app.data_plane.body_limits import LONGEST_NAME, MOST_CELLS, MOST_COLUMNS, SMALL_BODY, too_many_rows

_PART = 500_000  # bytes that are decoded in one call, which takes some milliseconds at worst
_FRAME = 10  # lists and objects around the rows
_QUOTE = ord('"')


class PredictBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of a prediction request."""

    rows: list[dict[str, Any]] | dict[str, list[Any]] | UnsetType = UNSET
    row: dict[str, Any] | UnsetType = UNSET
    ids: Sequence[str | int] | None = None
    key: str | int | None = None
    interval: Any = None
    explain: Any = None


class _PredictOutline(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    rows: Raw = Raw(b"")
    row: Raw = Raw(b"")
    ids: Raw = Raw(b"null")
    key: str | int | None = None
    interval: Any = None
    explain: Any = None


class _LabelsOutline(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    labels: Raw


class _AnyObject(msgspec.Struct, gc=False):
    """An object whose fields are passed over."""


_decode_predict = msgspec.json.Decoder(PredictBody).decode
_decode_predict_outline = msgspec.json.Decoder(_PredictOutline).decode
_decode_labels_outline = msgspec.json.Decoder(_LabelsOutline).decode
_decode_any = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_parts_by_name = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_parts = msgspec.json.Decoder(list[Raw]).decode
_count_objects = msgspec.json.Decoder(list[_AnyObject]).decode
_decode_ids = msgspec.json.Decoder(list[str | int] | None).decode
_decode_id = msgspec.json.Decoder(str | int).decode
_decode_list = msgspec.json.Decoder(list[Any]).decode


def read_predict_body(body: bytes, most_rows: int) -> PredictBody:
    """The fields of a body; raises Malformed, InvalidRequest, and TooLarge for more rows, columns or values."""
    if len(body) <= SMALL_BODY:
        fields: PredictBody = decode(_decode_predict, body)
        return fields
    _check_counts(body, most_rows + MOST_COLUMNS)
    outline = decode(_decode_predict_outline, body)
    ids = _read_list(outline.ids, most_rows, "ids", _decode_ids, _decode_id)
    fields = PredictBody(ids=ids, key=outline.key, interval=outline.interval, explain=outline.explain)
    rows = bytes(memoryview(outline.rows)[:1])
    if rows == b"{":
        fields.rows = {
            name: _read_list(values, most_rows, f"rows: {name[:LONGEST_NAME]!r}", _decode_list, _decode_any)
            for name, values in _read_parts_by_name(outline.rows).items()
        }
    elif rows:
        fields.rows = read_objects(outline.rows, most_rows, "rows")
    if memoryview(outline.row).nbytes:
        fields.row = _read_object(outline.row, "row")
    return fields


def read_label_objects(body: bytes, most_rows: int) -> list[dict[str, Any]]:
    """The labels of a body, each as it came."""
    if len(body) > SMALL_BODY:
        _check_counts(body, most_rows)
    return read_objects(decode(_decode_labels_outline, body).labels, most_rows, "labels")


def read_objects(part: Raw, most_rows: int, where: str) -> list[dict[str, Any]]:
    """A list of objects, counted before one of them is made."""
    count = len(decode(_count_objects, part, where))
    if count > most_rows:
        raise too_many_rows(count, most_rows, where)
    return [_read_object(row, f"{where}[{number}]") for number, row in enumerate(decode(_decode_parts, part))]


def decode(decoder: Callable[[Any], Any], body: bytes | Raw, where: str = "the body") -> Any:
    """The content of JSON; raises Malformed for what is no JSON, and InvalidRequest for what is of other types."""
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{where}: {str(error)[:LONGEST_NAME]}") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"{where} is no JSON: {str(error)[:LONGEST_NAME]}") from None
    except UnicodeDecodeError as error:
        raise Malformed(f"{where} is no JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise Malformed(f"{where} is nested too deeply") from None


def _check_counts(body: bytes, most_objects: int) -> None:
    """Refuses bodies of more objects, lists and values than rows and columns could need."""
    containers = _count_marks(body, b"{[", most_objects + _FRAME)
    if containers > most_objects + _FRAME:
        raise TooLarge(
            f"the body: {containers:,} objects and lists in one call, the limit is {most_objects + _FRAME:,}"
        )
    values = _count_marks(body, b",", MOST_CELLS)
    if values > MOST_CELLS:
        raise TooLarge(f"the body: {values:,} values in one call, the limit is {MOST_CELLS:,}")


def _count_marks(part: bytes, marks: bytes, most: int) -> int:
    """The number of these marks outside of texts; one that is not above `most` may include those in texts."""
    count = sum(part.count(mark) for mark in marks)
    if count <= most:
        return count
    content = np.frombuffer(part.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)
    in_text = np.cumsum(content == _QUOTE, dtype=np.uint8) & 1  # the number of quotes so far is odd, also modulo 256
    return sum(int(np.count_nonzero((content == mark) & (in_text == 0))) for mark in marks)


def _read_object(part: Raw, where: str) -> dict[str, Any]:
    if memoryview(part).nbytes <= _PART:
        row: dict[str, Any] = decode(_decode_object, part, where)
        return row
    return {name: decode(_decode_any, value, where) for name, value in _read_parts_by_name(part).items()}


def _read_parts_by_name(part: Raw) -> Mapping[str, Raw]:
    """The fields of an object of few fields."""
    names = _count_marks(bytes(part), b":", MOST_COLUMNS)
    if names > MOST_COLUMNS:
        raise TooLarge(f"columns: {names:,} in one call, the limit is {MOST_COLUMNS:,}")
    parts: Mapping[str, Raw] = decode(_decode_parts_by_name, part)
    return parts


def _read_list(
    part: Raw, most: int, where: str, decode_list: Callable[[Any], Any], decode_one: Callable[[Any], Any]
) -> Any:
    """A list of few values; null where `decode_list` takes it."""
    content = bytes(part)
    count = _count_marks(content, b",", most - 1) + 1
    if count > most:
        raise too_many_rows(count, most, where)
    if len(content) <= _PART:
        return decode(decode_list, part, where)
    return [decode(decode_one, value, where) for value in decode(_decode_parts, part, where)]
