"""Mixture columns: each record keeps what every slot said, and gives it back bit for bit."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent.adapters.state.archive.row_types import storable_rows
from optagent.errors import InvalidData
from optagent.serving.mixture_record import SaidRecord, is_said_column, read_said, said_columns

SLOTS = "champion|all|1/4"


def record_of(rows: int, digest: str = "d", outputs: int = 1, slots: str = SLOTS, seed: int = 0) -> SaidRecord:
    """Four mixers, the slots, their mean, and three layers."""
    width = 4 + slots.count("|") + 1 + 1 + 3
    return SaidRecord(slots, digest, np.random.default_rng(seed).random((rows, width, outputs)))


def recorded_table(records: list[SaidRecord]) -> pa.Table:
    """The table as it comes back from a Parquet file."""
    rows = sum(len(record.said) for record in records)
    facts = {
        "id": pa.array(map(str, range(rows)), pa.string()),
        "time": pa.array(range(rows), pa.timestamp("us", "UTC")),
    }
    file = io.BytesIO()
    pq.write_table(storable_rows(pa.table({**facts, **said_columns(records)})), file)
    return pq.read_table(file)


@pytest.mark.parametrize("outputs", [1, 3])
def test_each_record_keeps_what_every_slot_said(outputs: int) -> None:
    records = [record_of(2, "a", outputs), record_of(1, "b", outputs, seed=1)]
    records[0].said[1, 5] = np.nan
    slots, digests, said = read_said(recorded_table(records), outputs) or pytest.fail("no columns")
    assert slots.to_pylist() == [SLOTS] * 3
    assert digests.to_pylist() == ["a", "a", "b"]
    np.testing.assert_array_equal(said, np.concatenate([record.said for record in records]))


def test_a_slot_that_did_not_answer_has_nan_and_not_null_in_the_archive() -> None:
    record = record_of(1)
    record.said[0, 4] = np.nan
    column = recorded_table([record])["said_4"]
    assert column.null_count == 0
    assert np.isnan(column[0].as_py())


def test_rows_that_no_mixture_answered_have_no_slots_and_no_numbers() -> None:
    mixed = recorded_table([record_of(1)])
    alone = mixed.select(["id", "time"])
    assert read_said(alone, 1) is None
    slots, _, said = read_said(pa.concat_tables([alone, mixed], promote_options="default"), 1) or pytest.fail("none")
    assert slots.to_pylist() == [None, SLOTS]
    assert np.isnan(said[0]).all()
    assert np.isfinite(said[1]).all()


def test_rows_of_no_answers_are_read_as_none_of_them() -> None:
    _, _, said = read_said(recorded_table([record_of(0, outputs=3)]), 3) or pytest.fail("no columns")
    assert said.shape == (0, 11, 3)


def test_records_of_other_slots_have_another_layout_and_those_of_newer_weights_the_same() -> None:
    assert record_of(1, "a").layout == record_of(2, "b").layout
    assert record_of(1).layout != record_of(1, slots="champion|all|1/16").layout
    assert record_of(1).layout != record_of(1, outputs=3).layout


def test_a_width_that_is_no_multiple_of_the_outputs_is_refused() -> None:
    with pytest.raises(InvalidData, match="11 numbers a row"):
        read_said(recorded_table([record_of(1)]), 3)


def test_a_feature_that_only_looks_like_one_of_these_columns_is_none() -> None:
    assert [name for name in ("said_0", "said", "said_x", "mixture_slots", "mixture") if is_said_column(name)] == [
        "said_0",
        "mixture_slots",
    ]
