"""Bodies that were made to be bad: wide, deep, ragged, repeated, empty, null, run-end encoded, with huge texts."""

import struct
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa

from tests.fakes.data_plane import ROW, SCHEMAS, stream

COUNTS = st.sampled_from([0, 1, 2, 255, 300, 3_000, 9_999, 10_001, 40_000, 300_000])
VALUES = st.sampled_from(
    ["{}", "[]", "[[[]]]", '{"":0}', "null", "1", "1.5", "1e308", "9" * 4_000, '""', '"ā"', '"Oslo"', '"2024-01-31"',
     '"' + "x" * 3_000 + '"', '"\\u0101\\\\\\""', '{"a":1}', '{"a":1.5,"city":"Oslo","day":null,"flag":true}']
)  # fmt: skip
NAMES = st.sampled_from(["a", "city", "day", "flag", "id", "label", "time", "", "x" * 150, "x" * 300_000])
MOST_BYTES = 3_000_000


def repeated(value: str, count: int) -> str:
    """A list of equal values, of a few megabytes at most."""
    return "[" + ",".join([value] * min(count, MOST_BYTES // (len(value) + 1))) + "]"


def distinct(count: int, value: str, suffix: str = "") -> str:
    """An object of many fields, each of its own name."""
    count = min(count, MOST_BYTES // (len(value) + len(suffix) + 10))
    return "{" + ",".join(f'"{at:x}{suffix}":{value}' for at in range(count)) + "}"


def ids_of(count: int, text: str) -> str:
    return "[" + ",".join(f'"{at}{text}"' for at in range(min(count, MOST_BYTES // (len(text) + 8)))) + "]"


@st.composite
def json_bodies(draw: Callable[[Any], Any]) -> bytes:
    """Bodies of JSON for predictions or labels."""
    count, value = draw(COUNTS), draw(VALUES)
    columns = ",".join(f'"{name}":{repeated(value, draw(COUNTS) // 4)}' for name in ROW)
    rows = draw(st.sampled_from([
        repeated(value, count),
        "[" + distinct(count, value) + "]",
        "[" + ",".join(f'{{"id":{at},"label":1,"k{at}":1}}' for at in range(min(count, 50_000))) + "]",
        "[" * count + "]" * count,
        "{" + columns + "}",
        distinct(count, "[1]"),
        '[{"' + draw(NAMES) + '":' + value + "}]",
    ]))  # fmt: skip
    field = draw(st.sampled_from(["rows", "rows", "labels", "labels", "row"]))
    ids = draw(st.sampled_from(["null", repeated(value, count), ids_of(count, ""), ids_of(count, "é" * 100)]))
    key = draw(st.sampled_from(["null", '"k"', '"' + "k" * 50_000 + '"']))
    rest = "" if field == "labels" else f',"ids":{ids},"key":{key}'
    return f'{{"{field}":{rows}{rest}}}'.encode()


def views_of(text: str, count: int) -> pa.Array:
    views = struct.pack("<i4sii", len(text), text[:4].encode(), 0, 0) * count
    return pa.Array.from_buffers(pa.string_view(), count, [None, pa.py_buffer(views), pa.py_buffer(text.encode())])


COLUMNS: dict[str, Callable[[int], pa.Array]] = {
    "null": pa.nulls,
    "number": lambda count: pa.array([1.5] * count),
    "small": lambda count: pa.array([1] * count, pa.int8()),
    "flag": lambda count: pa.array([True] * count),
    "text": lambda count: pa.array(["Oslo"] * count),
    "ā": lambda count: pa.array(["ā"] * count),
    "no text": lambda count: pa.array([""] * count),
    "numbers of rows": lambda count: pa.array(range(count)),
    "long text": lambda count: pa.array(["x" * (500_000 // (count + 1))] * count),
    "one long text": lambda count: pa.array(["x" * 900_000, *[""] * (count - 1)][:count]),
    "date": lambda count: pa.array([10**5] * count, pa.date32()),
    "late": lambda count: pa.array([2**62] * count, pa.timestamp("s", "Nowhere/Land")),
    "dictionary": lambda count: pa.DictionaryArray.from_arrays(
        pa.array([0] * count, pa.int32()), pa.array(["x" * 900])
    ),
    "long dictionary": lambda count: pa.DictionaryArray.from_arrays(
        pa.array([0] * count, pa.int32()), pa.array(["x" * 60_000])
    ),
    "views": lambda count: views_of("x" * 50_000, count),
    "runs": lambda count: pa.RunEndEncodedArray.from_arrays(pa.array([count or 1], pa.int32()), pa.array([1.5])),
    "structs": lambda count: pa.array([{}] * count, pa.struct([])),
    "lists": lambda count: pa.array([[[]]] * count),
    "nothing": lambda count: pa.array([b""] * count, pa.binary(0)),
}
"""Columns by kind, of any number of rows."""


@st.composite
def arrow_bodies(draw: Callable[[Any], Any]) -> bytes:
    """Streams of Arrow for predictions or labels."""
    count = draw(COUNTS)
    kinds = st.sampled_from(sorted(COLUMNS))
    names = draw(st.sampled_from([
        list(ROW), [*ROW, "id"], ["id", "label", "time"], ["a"] * 2_000, [f"{at:x}" for at in range(3_000)],
        [column.name for column in SCHEMAS["wide"]], ["id", "label", *(f"k{at}" for at in range(300))],
    ]))  # fmt: skip
    count = min(count, 3_000_000 // len(names))
    if len(names) > 10:
        count = min(count, draw(st.sampled_from([1, 256, 10_001])))
        array = COLUMNS[draw(kinds)](count)
        names = names[: 1 + MOST_BYTES // (len(stream(pa.table({"a": array}))))]
        arrays = [array] * len(names)
    else:
        arrays = [COLUMNS[draw(kinds)](count) for _ in names]
    batch = pa.RecordBatch.from_arrays(arrays, names=names)
    batches = [batch] * min(draw(st.sampled_from([1, 1, 2, 50])), 1 + MOST_BYTES // len(stream(batch)))
    if draw(st.booleans()):
        batch = pa.RecordBatch.from_arrays(arrays, schema=batch.schema.with_metadata({"pandas": "{" * draw(COUNTS)}))
        batches = [batch]
    body = stream(*batches)
    if draw(st.booleans()):
        body = body.replace(struct.pack("<q", count), struct.pack("<q", draw(st.sampled_from([2**40, 2**63 - 1, -1]))))
    return body


FEW = st.sampled_from([1, 2, 256, 257, 3_000, 10_000])
GOOD_VALUES = {
    "a": ["null", "1", "1.25", "true", "123456789012345678901234567890"],
    "city": ['"Oslo"', '"ā"', "null", "1.5", '"' + "x" * 300 + '"', '"' + "é" * 60_000 + '"'],
    "day": ['"2024-01-31"', '"2024-01-31T10:00:00.123456+02:00"', "null", "1700000000"],
    "flag": ["true", "null", "0"],
}
GOOD_COLUMNS = {
    "a": ["null", "number", "small", "numbers of rows"],
    "city": ["text", "ā", "no text", "dictionary", "null", "long text"],
    "day": ["date", "null"],
    "flag": ["flag", "null", "small"],
}


@st.composite
def answered_json(draw: Callable[[Any], Any]) -> bytes:
    """Bodies of JSON that are answered, as dear as they may be."""
    values = {name: draw(st.sampled_from(texts)) for name, texts in GOOD_VALUES.items()}
    count = min(draw(FEW), MOST_BYTES // sum(len(value) + 8 for value in values.values()))
    fields = ",".join(f'"{name}":{value}' for name, value in values.items())
    rows = [
        repeated("{" + fields + "}", count),
        "{" + ",".join(f'"{name}":{repeated(value, count)}' for name, value in values.items()) + "}",
    ]
    ids = draw(st.sampled_from(["null", ids_of(count, ""), ids_of(count, "é" * 100)]))
    return f'{{"rows":{draw(st.sampled_from(rows))},"ids":{ids}}}'.encode()


@st.composite
def answered_labels(draw: Callable[[Any], Any]) -> bytes:
    """Labels in JSON that are recorded, as dear as they may be."""
    outcomes, every = draw(st.sampled_from([0, 1, 100])), draw(st.sampled_from([1, 1_000]))
    count = min(draw(st.sampled_from([1, 300, 9_000, 40_000])), 1_000_000 // (outcomes + 3))
    extra = "".join(f',"k{at}":1' for at in range(outcomes))
    value = draw(st.sampled_from(["1", '"yes"', "true", '"' + "y" * 60 + '"']))
    labels = (f'{{"id":{at},"label":{value}{"" if at % every else extra}}}' for at in range(count))
    return ('{"labels":[' + ",".join(labels) + "]}").encode()


@st.composite
def answered_arrow(draw: Callable[[Any], Any], model_id: str) -> bytes:
    """Streams of Arrow that are answered, as dear as they may be."""
    count = draw(FEW)
    if model_id == "churn":
        arrays = {name: COLUMNS[draw(st.sampled_from(kinds))](count) for name, kinds in GOOD_COLUMNS.items()}
    else:
        kind = draw(st.sampled_from(["null", "number", "small", "flag"]))
        count = min(count, 1_000 if kind == "number" else 8_000)
        array = COLUMNS[kind](count)
        arrays = {column.name: array for column in SCHEMAS[model_id]}
    parts = draw(st.sampled_from([1, 1, 3, 100]))
    return stream(*pa.table(arrays).to_batches(max_chunksize=-(-count // parts)))
