"""Contract of `Datasets`: every adapter reads the same table alike, in memory, in a file and behind SQL."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from optagent.adapters.datasets import FileDatasets
from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.domain.dataset import DataSource, FileSource, SqlSource
from optagent.errors import InvalidData
from optagent.ports import Datasets

ROW_LIMIT = 100
Place = Callable[[pa.Table], tuple[Datasets, DataSource]]


@pytest.fixture(params=["in_memory", "parquet", "sql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Puts a table where the adapter finds it."""

    def store_table(table: pa.Table) -> tuple[Datasets, DataSource]:
        if request.param == "in_memory":
            return InMemoryDatasets({"rows": table}, row_limit=ROW_LIMIT), FileSource("rows")
        if request.param == "parquet":
            pq.write_table(table, tmp_path / "rows.parquet")
            return FileDatasets(row_limit=ROW_LIMIT), FileSource(str(tmp_path / "rows.parquet"))
        return FileDatasets(row_limit=ROW_LIMIT), sqlite_source(table, tmp_path / "rows.db")

    return store_table


def sqlite_source(table: pa.Table, path: Path) -> SqlSource:
    names = [f"c{index}" for index in range(table.num_columns)]
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE stored ({', '.join(names)})")
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        if rows:
            connection.exec_driver_sql(f"INSERT INTO stored VALUES ({', '.join('?' * len(names))})", rows)
    engine.dispose()
    shown = [f"{name} AS {real}" for name, real in zip(names, table.schema.names, strict=True)]
    return SqlSource(f"sqlite:///{path}", f"SELECT {', '.join(shown)} FROM stored ORDER BY rowid")


TABLE = pa.table({"n": [1, None, 3], "x": [0.5, 1.5, None], "word": ["a", None, "c"]})


def test_all_columns_come_in_their_order(place: Place) -> None:
    datasets, source = place(TABLE)
    assert datasets.read(source).equals(TABLE)


def test_named_columns_come_in_the_order_asked_for(place: Place) -> None:
    datasets, source = place(TABLE)
    assert datasets.read(source, ["word", "n", "word"]).equals(TABLE.select(["word", "n"]))


def test_an_unknown_column_is_refused_with_close_matches_first(place: Place) -> None:
    datasets, source = place(TABLE)
    with pytest.raises(InvalidData, match=r"no column 'wrd'; the columns are \['word', 'n', 'x'\]"):
        datasets.read(source, ["wrd"])


def test_duplicate_column_names_are_refused(place: Place) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    datasets, source = place(twice)
    with pytest.raises(InvalidData, match=r"duplicate column names \['a'\]"):
        datasets.read(source)


def test_no_rows_are_refused(place: Place) -> None:
    datasets, source = place(TABLE.slice(0, 0))
    with pytest.raises(InvalidData, match="no rows"):
        datasets.read(source)


def test_an_empty_choice_of_columns_is_refused(place: Place) -> None:
    datasets, source = place(TABLE)
    with pytest.raises(InvalidData, match="an empty list of columns"):
        datasets.read(source, [])


def test_as_many_rows_as_the_limit_are_read(place: Place) -> None:
    datasets, source = place(pa.table({"n": range(ROW_LIMIT)}))
    assert datasets.read(source).num_rows == ROW_LIMIT


def test_one_row_more_than_the_limit_is_refused_and_names_the_setting(place: Place) -> None:
    datasets, source = place(pa.table({"n": range(ROW_LIMIT + 1)}))
    with pytest.raises(InvalidData, match=r"101 rows, the limit is 100 \(OPT_AGENT_ROW_LIMIT\)"):
        datasets.read(source)


def test_what_is_not_there_is_refused(place: Place, tmp_path: Path) -> None:
    datasets, source = place(TABLE)
    missing: DataSource = FileSource(str(tmp_path / "missing.parquet"))
    if isinstance(source, SqlSource):
        missing = SqlSource(f"sqlite:///{tmp_path}/missing.db", "SELECT 1")
    with pytest.raises(InvalidData, match=r"missing.*no such file"):
        datasets.read(missing)
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("kind", ["in_memory", "parquet", "csv", "arrow"])
def test_open_rows_are_read_by_columns_and_by_places(tmp_path: Path, kind: str) -> None:
    source = FileSource("rows") if kind == "in_memory" else FileSource(str(tmp_path / f"rows.{kind}"))
    if kind == "parquet":
        pq.write_table(TABLE, source.uri)
    elif kind == "csv":
        pacsv.write_csv(TABLE, source.uri)
    elif kind == "arrow":
        with pa.ipc.new_file(source.uri, TABLE.schema) as writer:
            writer.write_table(TABLE)
    datasets = InMemoryDatasets({"rows": TABLE}) if kind == "in_memory" else FileDatasets(row_limit=ROW_LIMIT)
    rows = datasets.open(source)
    assert rows.schema.names == ["n", "x", "word"]
    assert rows.read(["x", "n"]).to_pydict() == TABLE.select(["x", "n"]).to_pydict()
    assert rows.take(np.array([0, 2]), ["word"]).to_pydict() == {"word": ["a", "c"]}
