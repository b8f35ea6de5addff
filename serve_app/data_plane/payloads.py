"""Payloads of the data plane: bodies of requests and answers, as JSON or as streams of Arrow."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.types as pt

from optagent.arrays import Prediction
from optagent.errors import InvalidData, InvalidRequest, TooLarge, UnsupportedFormat
from optagent.serving.answer_interval import AskedInterval, add_intervals, interval_columns
from optagent.serving.column_readers import value_repr
from optagent.serving.engine import ServedModel
from optagent.serving.reasons import Reasons, reasons_column
from serve_app.data_plane.arrow_bodies import read_table, table_bytes
from serve_app.data_plane.body_limits import (
    FEW_COLUMNS,
    LONGEST_NAME,
    MOST_COLUMNS,
    MOST_EXPLAINED,
    SMALL_BODY,
    VALUE_BYTES,
    too_many_rows,
)
from serve_app.data_plane.interval_request import read_level
from serve_app.data_plane.json_bodies import read_predict_body

JSON, ARROW = b"application/json", b"application/vnd.apache.arrow.stream"

_LONGEST_COUNT = 10  # digits
_FORMATS = f"{JSON.decode()} or {ARROW.decode()}"

encode_json = msgspec.json.Encoder().encode


class AnswerExtras(NamedTuple):
    """The reasons of each row, and the interval of all answers, where a request asks for them."""

    reasons: Sequence[Reasons] | None = None
    interval: AskedInterval | None = None


class PredictionRequest(NamedTuple):
    """Rows to predict, as they came: a list of objects, columns by name, or a table. `ids` may be empty.

    `small` says that nothing in it takes long, whatever it says; `memory` is about the number of bytes that it takes.
    `level` is that of the intervals which the answer is to have, None for none.
    `explain` is the number of features to name for each row, 0 for none.
    """

    rows: Any
    size: int
    ids: Sequence[str]
    key: str | None
    small: bool
    memory: int
    level: float | None = None
    explain: int = 0


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


def read_predict_request(body: bytes, arrow: bool, most_rows: int) -> PredictionRequest:
    """The rows to predict in a body.

    Raises Malformed or InvalidRequest, which say where it is wrong, and TooLarge for more than `most_rows`.
    """
    if arrow:
        return _request_from_table(read_table(body, most_rows, MOST_COLUMNS), len(body))
    fields = read_predict_body(body, most_rows)
    rows: Any = fields.rows
    if (rows is msgspec.UNSET) is (fields.row is msgspec.UNSET):
        raise InvalidRequest("give 'rows' (a list of objects, or lists by column) or 'row' (an object)")
    if rows is msgspec.UNSET:
        rows = [fields.row]
    if type(rows) is list:
        size = len(rows)
        cells = size * len(rows[0]) if size else 0
    else:
        size = len(next(iter(rows.values()), ()))
        cells = size * len(rows)
    if size > most_rows:
        raise too_many_rows(size, most_rows)
    key = fields.key
    if key is not None:
        key = _checked_key(str(key))
    ids = () if fields.ids is None else _checked_ids(fields.ids, size)
    level = None if fields.interval is None else read_level(fields.interval)
    explain = 0 if fields.explain is None else _checked_count(fields.explain, size)
    memory = len(body) + VALUE_BYTES * cells
    return PredictionRequest(rows, size, ids, key, len(body) <= SMALL_BODY, memory, level, explain)


def read_key(header: bytes) -> str:
    """The sticky key in the value of a header."""
    return _checked_key(header.decode("latin-1"))


def read_explain(header: bytes) -> int:
    """The number of features to name in the value of a header."""
    text = header.decode("latin-1")
    return _checked_count(int(text) if text.isdecimal() and len(text) < _LONGEST_COUNT else text)


def ask_reasons(request: PredictionRequest, explain: int) -> PredictionRequest:
    """The request with the number of a header, unless its body has one."""
    if request.explain or not explain:
        return request
    return request._replace(explain=_checked_count(explain, request.size))


def encode_answer(
    model_id: str,
    model: ServedModel,
    scores: Prediction,
    ids: Sequence[str],
    arrow: bool,
    extras: AnswerExtras,
) -> bytes:
    """The body of an answer, with what was asked for beside it."""
    reasons, interval = extras
    if arrow:
        table = model.format_table(scores).add_column(0, "id", [list(ids)])
        beside = {} if interval is None else interval_columns(model, scores, interval)
        if reasons is not None:
            beside["reasons"] = reasons_column(reasons)
        for name, column in beside.items():
            table = table.append_column(name, column)
        return table_bytes(table)
    answers = model.format_answers(scores)
    if interval is not None:
        add_intervals(answers, model, scores, interval)
    for name, answer in zip(ids, answers, strict=True):
        answer["id"] = name
    for answer, reason in zip(answers, reasons or (), strict=False):
        answer["reasons"] = reason
    return encode_json({"model_id": model_id, "predictions": answers})


def _request_from_table(table: pa.Table, body_size: int) -> PredictionRequest:
    """A request of a table; its column `id`, if there is one, holds the ids of the rows."""
    size, names = table.num_rows, table.schema.names
    small = body_size <= SMALL_BODY and len(names) <= FEW_COLUMNS
    memory = body_size + 8 * size * len(names)
    if "id" not in names:
        return PredictionRequest(table, size, (), None, small, memory)
    if names.count("id") > 1:
        raise InvalidData("columns: 'id' stands twice")
    ids = table["id"]
    if not (pt.is_integer(ids.type) or pt.is_string(ids.type) or pt.is_large_string(ids.type)):
        raise InvalidData(f"column 'id': a text or whole number is needed, got {ids.type}")
    return PredictionRequest(
        table.drop_columns(["id"]), size, _checked_ids(ids.to_pylist(), size), None, small, memory + VALUE_BYTES * size
    )


def _checked_ids(ids: Sequence[Any], size: int) -> Sequence[str]:
    if len(ids) != size:
        raise InvalidData(f"ids: {len(ids)} for {size} rows; each row needs one")
    texts = [str(name) for name in ids]
    for row, (name, text) in enumerate(zip(ids, texts, strict=True)):
        if name is None or not 0 < len(text) <= LONGEST_NAME:
            raise InvalidData(f"row {row}: an id has 1 to {LONGEST_NAME} characters")
    if len(set(texts)) < size:
        rows_by_id: dict[str, int] = {}
        twice = next(text for row, text in enumerate(texts) if rows_by_id.setdefault(text, row) != row)
        raise InvalidData(f"ids: {twice!r} stands twice")
    return texts


def _checked_key(key: str) -> str:
    if not 0 < len(key) <= LONGEST_NAME:
        raise InvalidRequest(f"key: 1 to {LONGEST_NAME} characters are needed")
    return key


def _checked_count(explain: Any, size: int = 0) -> int:
    """The number of features to name for each of `size` rows."""
    if type(explain) is not int or explain < 1:
        shown = value_repr(explain)[:60]
        raise InvalidRequest(f"explain: a whole number from 1 to the number of features is needed, got {shown}")
    if size > MOST_EXPLAINED:
        raise TooLarge(f"rows: {size:,} to explain in one call, the limit is {MOST_EXPLAINED:,}")
    return explain


def _short_text(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
