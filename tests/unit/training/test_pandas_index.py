"""A pandas index is no feature, unless the model names it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent import codec
from optagent.adapters.datasets import FileDatasets
from optagent.domain.dataset import FileSource
from optagent.loop.train.prepare import prepare
from optagent.loop.train.training_rows import _decode_dictionaries
from optagent.training.pandas_index import index_columns, mark_index

DATASETS = FileDatasets(row_limit=10_000)


def frame(index: Any = None) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=300), "y": rng.integers(0, 2, 300)}, index=index)


def shuffled(name: str | None = None) -> pd.Index:
    return pd.Index(np.random.default_rng(1).permutation(300), name=name)


def prepared(path: Path, **fields: Any) -> Any:
    spec = codec.model_from({"id": "m", "task": "binary", "target": "y", "data": str(path), **fields})
    return prepare(spec, DATASETS)


@pytest.mark.parametrize("name", [None, "customer"])
def test_an_index_in_a_parquet_file_is_left_out_and_a_note_says_so(tmp_path: Path, name: str | None) -> None:
    frame(shuffled(name)).to_parquet(tmp_path / "rows.parquet")
    rows = prepared(tmp_path / "rows.parquet")
    assert rows.schema.names == ("x",)
    assert any("the index of a pandas frame" in note and (name or "__index_level_0__") in note for note in rows.notes)


def test_an_index_of_an_arrow_file_is_left_out(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(frame(shuffled("customer")))
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    assert prepared(tmp_path / "rows.arrow").schema.names == ("x",)


def test_the_unnamed_first_column_of_a_csv_file_is_left_out(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "rows.csv")
    rows = prepared(tmp_path / "rows.csv")
    assert rows.schema.names == ("x",)
    assert any("the first column, which has no name" in note for note in rows.notes)


def test_an_index_that_the_model_names_is_learned_from(tmp_path: Path) -> None:
    frame(shuffled("customer")).to_parquet(tmp_path / "rows.parquet")
    rows = prepared(tmp_path / "rows.parquet", features=["customer", "x"])
    assert rows.schema.names == ("customer", "x")
    assert rows.notes == ()


def test_an_index_of_times_is_the_time_column_without_a_note(tmp_path: Path) -> None:
    frame(pd.date_range("2024-01-01", periods=300, name="day")).to_parquet(tmp_path / "rows.parquet")
    rows = prepared(tmp_path / "rows.parquet", time_column="day")
    assert rows.schema.names == ("x",)
    assert rows.notes == ()


def test_a_range_of_whole_numbers_is_no_column_and_leaves_no_note(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "rows.parquet")
    assert index_columns(pq.read_schema(tmp_path / "rows.parquet")) == ()
    assert prepared(tmp_path / "rows.parquet").notes == ()


def test_the_files_of_a_folder_share_their_index(tmp_path: Path) -> None:
    for part in range(2):
        frame(shuffled("customer")).to_parquet(tmp_path / f"{part}.parquet")
    table = DATASETS.read(FileSource(str(tmp_path)))
    assert table.num_rows == 600
    assert index_columns(table.schema) == ("customer",)


def test_rows_keep_the_mark_when_they_are_chosen_and_joined_with_live_rows() -> None:
    table = pa.table({"i": [1, 2], "x": pa.array(["a", "b"]).dictionary_encode()})
    table = table.replace_schema_metadata(mark_index(table.schema, ["i"]).metadata)
    joined = pa.concat_tables([_decode_dictionaries(table), pa.table({"i": [3], "x": ["c"]})])
    for rows in (joined, joined.take(pa.array([0])), joined.filter(pa.array([True, False, True])), joined.slice(1)):
        assert index_columns(rows.schema) == ("i",)


def test_metadata_that_is_not_of_pandas_names_no_index() -> None:
    for text in (b"no json", b"{}", b'{"index_columns": 3}', b'"i"', b'{"index_columns": [{"kind": "range"}]}'):
        assert index_columns(pa.schema({"i": pa.int8()}, metadata={b"pandas": text})) == ()


async def test_registration_says_that_the_index_is_left_out(
    tmp_path: Path, agent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    frame(shuffled()).to_parquet(tmp_path / "rows.parquet")
    fields = {"id": "m", "task": "binary", "target": "y", "data": str(tmp_path / "rows.parquet")}
    await agent.register_model(fields)
    assert "__index_level_0__: left out, it is the index of a pandas frame" in caplog.text
