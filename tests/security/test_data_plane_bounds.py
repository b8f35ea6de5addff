"""Bodies that declare or repeat more than they contain are refused before the work that they ask for is done."""

import json
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pytest

from optagent.ports import RecordKind
from tests.fakes.data_plane import ARROW, JSON, NOW, ROW, PlaneCaller, started_plane, stream

LOOP_S = 0.15  # of the event loop's own processor time; what these bodies took before was seconds
DAY = 86_400.0


@pytest.fixture
async def caller() -> AsyncIterator[PlaneCaller]:
    async with started_plane() as caller:
        await caller.post(json.dumps({"row": ROW}).encode())
        yield caller


async def assert_refused(
    caller: PlaneCaller, body: bytes, content_type: str, status: int, reason: str, **options: Any
) -> None:
    started_s = time.thread_time()
    answered_status, detail = await caller.refusal(body, content_type, **options)
    took_s = time.thread_time() - started_s
    assert (answered_status, reason in detail) == (status, True), (answered_status, detail[:300])
    assert len(detail) < 20_000
    assert took_s < LOOP_S


NULLS = stream(pa.table({name: pa.nulls(1_000_003) for name in ROW}))


def declare_rows(rows: int) -> bytes:
    """A stream of 400 bytes that says that it has so many rows."""
    return NULLS.replace(struct.pack("<q", 1_000_003), struct.pack("<q", rows))


@pytest.mark.parametrize("rows", [10_001, 1_000_000, 2**62, 2**63 - 1])
async def test_columns_without_bytes_cannot_declare_rows(caller: PlaneCaller, rows: int) -> None:
    await assert_refused(caller, declare_rows(rows), ARROW, 413, f"{rows:,} in one call, the limit is 10,000")


def of_type(column: pa.Array) -> bytes:
    return stream(pa.table({"a": column}))


COLUMNS_WITHOUT_BYTES = {
    "run-end encoded": of_type(pa.RunEndEncodedArray.from_arrays(pa.array([10**9], pa.int32()), pa.array([1.5]))),
    "struct without fields": of_type(pa.array([{}] * 10, pa.struct([]))),
    "binary of width 0": of_type(pa.array([b""] * 10, pa.binary(0))),
    "lists": of_type(pa.array([[[]]] * 10)),
}


@pytest.mark.parametrize("kind", COLUMNS_WITHOUT_BYTES)
async def test_columns_that_expand_are_not_read(caller: PlaneCaller, kind: str) -> None:
    await assert_refused(caller, COLUMNS_WITHOUT_BYTES[kind], ARROW, 422, "nested, run-end encoded and fixed-size")


async def test_a_batch_without_columns_has_no_rows_to_answer(caller: PlaneCaller) -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}] * 4, pa.struct([])))
    await assert_refused(caller, stream(batch), ARROW, 422, "'a' is missing")
    many = stream(batch).replace(struct.pack("<q", 4), struct.pack("<q", 2**40))
    await assert_refused(caller, many, ARROW, 413, "in one call")


def a_text_for_every_row(kind: str) -> bytes:
    text = "x" * 60_000
    if kind == "dictionary":
        cities: pa.Array = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int8()), pa.array([text]))
    else:
        views = struct.pack("<i4sii", len(text), b"xxxx", 0, 0) * 10_000
        cities = pa.Array.from_buffers(
            pa.string_view(), 10_000, [None, pa.py_buffer(views), pa.py_buffer(text.encode())]
        )
    columns = {"a": pa.nulls(10_000), "city": cities, "day": pa.nulls(10_000), "flag": pa.nulls(10_000)}
    return stream(pa.table(columns))


@pytest.mark.parametrize("kind", ["dictionary", "views"])
async def test_texts_that_many_rows_share_are_not_written_out(caller: PlaneCaller, kind: str) -> None:
    await assert_refused(caller, a_text_for_every_row(kind), ARROW, 413, "600,000,000 bytes of texts")


async def test_a_name_that_is_not_utf_8_is_the_callers_fault(caller: PlaneCaller) -> None:
    body = stream(pa.table({"city": ["Oslo"]})).replace(b"city", b"ci\xff\xfe")
    await assert_refused(caller, body, ARROW, 400, "the name of column 0 is not UTF-8")


async def test_columns_of_one_name_are_counted_once(caller: PlaneCaller) -> None:
    body = stream(pa.table([pa.nulls(1)] * 8_000, names=["a"] * 4_000 + ["b"] * 4_000))
    await assert_refused(caller, body, ARROW, 422, "'a' stands twice")


def json_body(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


LONG = "x" * 8_800_000
BAD_JSON = {
    "objects without fields": (b'{"rows":[' + b",".join([b"{}"] * 3_300_000) + b"]}", 413, "objects and lists"),
    "few objects without fields": (json_body(rows=[{}] * 12_000), 413, "12,000 in one call"),
    "ids that stand twice": (
        json_body(rows=[{}] * 9_000, ids=[*map(str, range(8_999)), "8998"]),
        422,
        "ids: '8998' stands twice",
    ),
    "more ids than rows": (json_body(row=ROW, ids=[*map(str, range(200_000))]), 413, "200,000 in one call"),
    "columns of a million": (json_body(rows={"a": [1] * 1_000_000}), 413, "1,000,000 in one call"),
    "a row of many columns": (json_body(row={str(at): 1 for at in range(200_000)}), 413, "columns: 200,000"),
    "lists in a cell": (b'{"row":{"a":[' + b",".join([b"[]"] * 1_000_000) + b"]}}", 413, "objects and lists"),
    "a column of a long name": (json_body(row={**ROW, LONG: 1}), 422, "no column 'xxx"),
    "a long text": (json_body(row={**ROW, "city": LONG}), 422, "got one of 8,800,000"),
    "a long date": (json_body(row={**ROW, "day": LONG}), 422, "takes an ISO 8601 text"),
    "a long text for a number": (json_body(row={**ROW, "a": LONG}), 422, "takes a number"),
}


@pytest.mark.parametrize("kind", BAD_JSON)
async def test_json_that_repeats_itself_is_refused_at_once(caller: PlaneCaller, kind: str) -> None:
    body, status, reason = BAD_JSON[kind]
    await assert_refused(caller, body, JSON, status, reason)


async def test_texts_with_commas_and_brackets_count_as_texts(caller: PlaneCaller) -> None:
    cities = ['{"a": [1, 2], "\\": {,,,' * 20] * 9_000
    columns = {"a": [1.5] * 9_000, "city": cities, "day": [None] * 9_000, "flag": [True] * 9_000}
    status, _ = await caller.post(json_body(rows=columns, ids=[f'"{row}",' for row in range(9_000)]))
    assert status == 200


@pytest.mark.parametrize("rows", [2, 9_000])
async def test_large_bodies_get_the_answers_of_small_ones(caller: PlaneCaller, rows: int) -> None:
    ids = [str(row) for row in range(rows)]
    by_row = await caller.post(json_body(rows=[ROW] * rows, ids=ids, key="k"))
    by_column = await caller.post(json_body(rows={name: [value] * rows for name, value in ROW.items()}, ids=ids))
    assert by_row == by_column
    assert [answer["id"] for answer in json.loads(by_row[1])["predictions"]] == ids
    table = pa.Table.from_pylist([{**ROW, "id": name} for name in ids])
    assert (await caller.post(stream(table), ARROW))[0] == 200
    assert (await caller.post(json_body(row={**ROW, "city": "x" * 60_000}, key="é" * 100)))[0] == 200
    assert (await caller.post(json_body(row=ROW, ids=["a"]), chunk=1))[0] == 200


def labels_body(*labels: dict[str, Any]) -> bytes:
    return json_body(labels=labels)


BAD_LABELS = {
    "a label of many outcomes": (
        labels_body({"id": 1, "label": 1, **{f"k{at}": 1 for at in range(20_000)}}),
        "more than 100 outcomes",
    ),
    "outcomes of their own": (
        labels_body(*({"id": row, "label": 1, **{f"k{row}_{at}": 1 for at in range(10)}} for row in range(2_000))),
        "more than 100 outcomes",
    ),
    "a cell for what one label has": (
        labels_body(*({"id": row, "label": 1} for row in range(20_000)), {f"k{at}": 1 for at in range(100)}),
        "the limit is 1,000,000 cells",
    ),
    "labels without fields": (b'{"labels":[' + b",".join([b"{}"] * 1_000_000) + b"]}", "objects and lists"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
async def test_labels_have_few_columns(caller: PlaneCaller, kind: str) -> None:
    body, reason = BAD_LABELS[kind]
    await assert_refused(caller, body, JSON, 413, reason, verb="labels")
    assert caller.observations.shapes(RecordKind.LABELS) == []


async def test_labels_of_arrow_have_few_rows_and_columns(caller: PlaneCaller) -> None:
    await assert_refused(caller, declare_rows(2**40), ARROW, 413, "the limit is 100,000", verb="labels")
    wide = pa.table([pa.nulls(1)] * 200, names=[str(at) for at in range(200)])
    await assert_refused(caller, stream(wide), ARROW, 413, "columns: 200 in one call", verb="labels")


@pytest.mark.parametrize(
    ("time_s", "reason"),
    [
        (NOW - 367 * DAY, "in row 1 is more than 366 days ago"),
        ("2022-01-01", "'2022-01-01 00:00:00.000000Z' in row 1 is more than 366 days ago"),
        (NOW + 600, "in row 1 is more than 5 minutes ahead"),
        ("2100-01-01T00:00:00Z", "in row 1 is more than 5 minutes ahead"),
    ],
)
async def test_a_label_is_of_the_last_year(caller: PlaneCaller, time_s: float | str, reason: str) -> None:
    now = "2023-11-14T22:00:00Z" if isinstance(time_s, str) else NOW
    body = labels_body({"id": 1, "label": 1, "time": now}, {"id": 2, "label": 1, "time": time_s})
    await assert_refused(caller, body, JSON, 422, reason, verb="labels")
    assert caller.observations.shapes(RecordKind.LABELS) == []


async def test_a_label_of_last_month_and_of_a_clock_that_is_fast_is_recorded(caller: PlaneCaller) -> None:
    body = labels_body({"id": 1, "label": 1, "time": NOW - 30 * DAY}, {"id": 2, "label": 0, "time": NOW + 60})
    assert (await caller.post(body, verb="labels"))[0] == 200
    assert caller.observations.shapes(RecordKind.LABELS) == [(2, 3)]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ({"id": "x" * 201, "label": 1}, "has more than 200 characters"),
        ({"id": "x", "label": "y" * 70_000}, "at most 65,536"),
        ({"id": "x", "label": 1, "n" * 201: 1}, "a name has at most 200 characters"),
        ({"id": "x", "label": {"of": "its own"}}, "is a list or an object"),
        ({"id": "x", "label": 1, "time": "z" * 60_000}, "is no time"),
    ],
)
async def test_labels_have_short_texts_and_names(caller: PlaneCaller, label: dict[str, Any], reason: str) -> None:
    await assert_refused(caller, labels_body(label), JSON, 422, reason, verb="labels")
    [(_, detail)] = [await caller.refusal(labels_body(label), verb="labels")]
    assert len(detail) < 500


async def test_rows_that_wait_to_be_recorded_are_bounded_by_their_bytes(caller: PlaneCaller) -> None:
    caller.observations.are_away = True
    columns = {name: [value] * 150 for name, value in {**ROW, "city": "x" * 60_000}.items()}
    body = json_body(rows=columns)  # 9 MB
    for _ in range(16):
        assert (await caller.post(body))[0] == 200
    assert caller.plane.metrics.record_dropped >= 2 * 150
    caller.observations.are_away = False
