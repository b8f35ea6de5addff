import gzip
import socket
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from optagent.adapters.datasets import FileDatasets
from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.domain.dataset import FileSource, SqlSource
from optagent.errors import InvalidData, InvalidRequest, Unavailable

TABLE = pa.table({"n": [1, 2, 3], "word": ["a", "b", "c"]})
REAL_DATA = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.fixture
def datasets() -> FileDatasets:
    return FileDatasets(row_limit=10_000)


def refusal(datasets: FileDatasets, source: Any, columns: list[str] | None = None) -> str:
    with pytest.raises(InvalidData) as caught:
        datasets.read(FileSource(str(source)) if isinstance(source, Path | str) else source, columns)
    return str(caught.value)


def write_file(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def arrow_file(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


WRITERS = {
    "rows.parquet": pq.write_table,
    "rows.pq": pq.write_table,
    "rows.csv": pacsv.write_csv,
    "rows.csv.gz": lambda table, path: pacsv.write_csv(table, pa.output_stream(path, compression="gzip")),
    "rows.arrow": arrow_file,
    "rows.ipc": arrow_file,
    "rows.feather": feather.write_feather,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read_by_its_name(datasets: FileDatasets, tmp_path: Path, name: str) -> None:
    WRITERS[name](TABLE, str(tmp_path / name))
    assert datasets.read(FileSource(str(tmp_path / name))).equals(TABLE)
    assert datasets.read(FileSource((tmp_path / name).as_uri()), ["word"]).equals(TABLE.select(["word"]))


def test_a_format_given_stands_above_the_name(datasets: FileDatasets, tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "rows.data")
    assert datasets.read(FileSource(str(tmp_path / "rows.data"), "parquet")).equals(TABLE)
    assert "the name does not say the format" in refusal(datasets, tmp_path / "rows.data")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.arrow"])
def test_a_folder_is_read_in_the_order_of_names_with_its_partitions(
    datasets: FileDatasets, tmp_path: Path, name: str
) -> None:
    for day in (2, 1):
        folder = tmp_path / "x=9" / "rows" / f"day={day}" / "side=buy"
        folder.mkdir(parents=True)
        WRITERS[name](TABLE, str(folder / name))
    write_file(tmp_path / "x=9" / "rows" / "_SUCCESS", "")
    write_file(tmp_path / "x=9" / "rows" / "README.md", "hello")
    table = datasets.read(FileSource(str(tmp_path / "x=9" / "rows")))
    assert table.to_pydict() == {
        "n": [1, 2, 3, 1, 2, 3],
        "word": ["a", "b", "c", "a", "b", "c"],
        "day": [1, 1, 1, 2, 2, 2],
        "side": ["buy"] * 6,
    }
    assert datasets.read(FileSource(str(tmp_path / "x=9" / "rows")), ["day"]).column_names == ["day"]
    globbed = datasets.read(FileSource(f"{tmp_path}/x=9/rows/day=*/**/{name}"), ["day", "n"])
    assert globbed["day"].to_pylist() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.arrow"])
def test_a_column_that_widens_from_file_to_file_is_read(datasets: FileDatasets, tmp_path: Path, name: str) -> None:
    WRITERS[name](pa.table({"x": [1]}), str(tmp_path / f"a-{name}"))
    WRITERS[name](pa.table({"x": [1.5]}), str(tmp_path / f"b-{name}"))
    assert datasets.read(FileSource(f"{tmp_path}/*"))["x"].to_pylist() == [1.0, 1.5]


def test_csv_types_come_from_the_whole_file(datasets: FileDatasets, tmp_path: Path) -> None:
    rows = ["0,1,"] * 9_000
    path = write_file(tmp_path / "rows.csv", "x,y,z\n" + "\n".join([*rows, "0.5,word,2024-01-31"]) + "\n")
    big = FileDatasets(row_limit=9_001).read(FileSource(str(path)))
    assert big.schema.types == [pa.float64(), pa.string(), pa.date32()]


def test_csv_dialects_are_told_apart(datasets: FileDatasets, tmp_path: Path) -> None:
    for separator in ",;\t|":
        path = write_file(
            tmp_path / "rows.csv", f'\ufeffn{separator}word\n1{separator}"a{separator}\nb"\n2{separator}\n'
        )
        assert datasets.read(FileSource(str(path))).to_pydict() == {"n": [1, 2], "word": [f"a{separator}\nb", None]}


def test_quoted_line_ends_are_not_rows(tmp_path: Path) -> None:
    path = write_file(tmp_path / "rows.csv", 'word\n"a\nb\n""c"\nd\n')
    assert FileDatasets(row_limit=2).read(FileSource(str(path))).num_rows == 2


def test_compressed_csv_is_known_by_its_content(datasets: FileDatasets, tmp_path: Path) -> None:
    path = write_file(tmp_path / "rows.csv", gzip.compress(b"n\n1\n", mtime=0))
    assert datasets.read(FileSource(str(path)))["n"].to_pylist() == [1]


def test_unsupported_columns_matter_only_when_asked_for(datasets: FileDatasets, tmp_path: Path) -> None:
    nested = pa.table({"n": [1], "list": [[1]], "struct": [{"a": 1}], "bytes": [b"x"]})
    pq.write_table(nested, tmp_path / "rows.parquet")
    assert datasets.read(FileSource(str(tmp_path / "rows.parquet"))).column_names == ["n"]
    assert "'list' is of type list<" in refusal(datasets, tmp_path / "rows.parquet", ["n", "list"])
    pq.write_table(nested.select(["list"]), tmp_path / "rows.parquet")
    assert "no column of a supported type" in refusal(datasets, tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", "", "the file is empty"),
        ("rows.csv", "\n\n", "the file is empty"),
        ("rows.csv.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("rows.parquet", "", "the file is empty"),
        ("rows.csv", "a,b\n", "no rows"),
        ("rows.csv", "a,b\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
        ("rows.csv", "a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
        ("rows.csv", "a,a\n1,2\n", "duplicate column names ['a']"),
        ("rows.csv", b"a,b\n1,\xff\xfe\n", "column 'b' holds bytes that are not UTF-8 text"),
        ("rows.csv", "a,b\n1,2\n".encode("utf-16"), "holds UTF-16 text"),
        ("rows.csv", b"%PDF-1.7\n...", "read as CSV, but it holds PDF"),
        ("rows.csv", b"PAR1....", "read as CSV, but it holds Parquet"),
        ("rows.csv", b"PK\x03\x04....", "read as CSV, but it holds ZIP or Excel"),
        ("rows.csv", '{"a": 1}', "read as CSV, but it holds JSON"),
        ("rows.csv", "<!DOCTYPE html>", "read as CSV, but it holds HTML"),
        ("rows.csv.gz", gzip.compress(b"%PDF-1.7", mtime=0), "read as CSV, but it holds PDF"),
        ("rows.csv.gz", "a,b\n1,2\n", "named .gz, but it holds text"),
        ("rows.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 5000, mtime=0)[:-20], "cannot be read"),
        ("rows.parquet", "a,b\n1,2\n", "read as Parquet, but it holds text"),
        ("rows.parquet", b"PAR1" + b"x" * 100, "cannot be read"),
        ("rows.arrow", "a,b\n1,2\n", "read as an Arrow file, but it holds text"),
        ("rows.xlsx", "a,b\n", "the name does not say the format"),
    ],
)
def test_a_bad_file_is_refused(datasets: FileDatasets, tmp_path: Path, name: str, content: Any, said: str) -> None:
    message = refusal(datasets, write_file(tmp_path / name, content))
    assert said in message
    assert name in message


def test_what_names_no_file_is_refused(datasets: FileDatasets, tmp_path: Path) -> None:
    assert "no such file" in refusal(datasets, tmp_path / "missing.csv")
    assert "no file matches" in refusal(datasets, tmp_path / "*.csv")
    write_file(tmp_path / "folder" / "notes.txt", "hello")
    assert "no Parquet, CSV or Arrow file among 1 files" in refusal(datasets, tmp_path / "folder")
    assert "not a usable address" in refusal(datasets, "ftp://host/rows.csv")


def test_a_folder_of_several_formats_is_refused(datasets: FileDatasets, tmp_path: Path) -> None:
    write_file(tmp_path / "a.csv", "n\n1\n")
    pq.write_table(TABLE, tmp_path / "b.parquet")
    assert "files of several formats (csv, parquet)" in refusal(datasets, tmp_path)


def test_csv_files_with_other_columns_are_refused_by_name(datasets: FileDatasets, tmp_path: Path) -> None:
    write_file(tmp_path / "a.csv", "n\n1\n")
    write_file(tmp_path / "b.csv", "m\n1\n")
    assert "b.csv has columns ['m'], the first file has ['n']" in refusal(datasets, tmp_path)


def test_a_long_csv_is_refused_before_it_is_read_to_its_end(tmp_path: Path) -> None:
    path = write_file(tmp_path / "rows.csv", "n\n" + "1\n" * 3_000_000 + "1,2,3\n")  # the last row would be refused too
    said = refusal(FileDatasets(row_limit=1000), path)
    assert "at least" in said
    assert "the limit is 1,000 (OPT_AGENT_ROW_LIMIT)" in said


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.arrow"])
def test_more_than_the_memory_allowed_is_refused(tmp_path: Path, name: str) -> None:
    WRITERS[name](pa.table({"n": range(50_000), "word": ["abc"] * 50_000}), str(tmp_path / name))
    frugal = FileDatasets(row_limit=10**6, memory_fraction=1e-7)
    assert "rows of 2 columns need about" in refusal(frugal, tmp_path / name)


@pytest.mark.parametrize("values", [{"row_limit": 0}, {"row_limit": 1, "memory_fraction": 0}])
def test_nonsense_limits_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        FileDatasets(**values)


def test_a_store_that_does_not_answer_is_unavailable_and_its_secrets_stay_hidden(datasets: FileDatasets) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        address = f"endpoint_override=127.0.0.1:{unused.getsockname()[1]}&scheme=http&retry_limit_seconds=1"
        with pytest.raises(Unavailable) as caught:
            datasets.read(FileSource(f"gs://anonymous@bucket/rows.parquet?{address}"))
    assert "gs://***@bucket/rows.parquet" in str(caught.value)


@pytest.fixture
def database(tmp_path: Path) -> str:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/trades.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE trades (id INTEGER, price, side TEXT)")
        rows = [
            (number, number if number < 25_000 else number + 0.5, "b" if number else None) for number in range(30_000)
        ]
        connection.exec_driver_sql("INSERT INTO trades VALUES (?, ?, ?)", rows)
    engine.dispose()
    return str(tmp_path / "trades.db")


def sql(database: str, query: str) -> SqlSource:
    return SqlSource(f"sqlite:///{database}", query)


def test_a_query_is_read_in_batches_whose_types_are_joined(database: str) -> None:
    table = FileDatasets(row_limit=30_000).read(sql(database, "SELECT * FROM trades ORDER BY id"))
    assert table.schema.types == [pa.int64(), pa.float64(), pa.string()]
    assert table["price"].to_pylist()[24_999:25_001] == [24_999.0, 25_000.5]
    assert table["side"].null_count == 1


def test_percent_and_colon_in_a_query_are_left_alone(datasets: FileDatasets, database: str) -> None:
    table = datasets.read(sql(database, "SELECT ' :x %s %%' AS word WHERE 'abc' LIKE '%b%'"))
    assert table["word"].to_pylist() == [" :x %s %%"]


def test_a_query_over_the_row_limit_stops(datasets: FileDatasets, database: str) -> None:
    assert "at least 20,000 rows, the limit is 10,000 (OPT_AGENT_ROW_LIMIT)" in refusal(
        datasets, sql(database, "SELECT * FROM trades")
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM nope", "no such table: nope"),
        ("SELEC 1", "syntax error"),
        ("CREATE TABLE t (a INTEGER)", "not authorized"),
        ("SELECT 1 AS a, 2 AS a", "duplicate column names ['a']"),
        ("SELECT id FROM trades WHERE 0", "no rows"),
        ("SELECT 1 AS a UNION ALL SELECT 'x'", "column 'a' holds int and str values"),
        ("SELECT x'00' AS a", "no column of a supported type"),
    ],
)
def test_a_bad_query_is_refused(datasets: FileDatasets, database: str, query: str, said: str) -> None:
    assert said in refusal(datasets, sql(database, query))


def test_a_query_that_writes_leaves_nothing_behind(datasets: FileDatasets, database: str) -> None:
    refusal(datasets, sql(database, "DELETE FROM trades"))
    assert datasets.read(sql(database, "SELECT count(*) AS n FROM trades"))["n"].to_pylist() == [30_000]


def test_the_url_is_filled_from_the_environment(
    datasets: FileDatasets, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SqlSource("sqlite:///${TRADES_DB}", "SELECT 1 AS one")
    assert "the environment variable TRADES_DB of the database URL is not set" in refusal(datasets, source)
    monkeypatch.setenv("TRADES_DB", database)
    assert datasets.read(source)["one"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nosuchdb://user:${DB_PASSWORD}@host/name", "unknown database 'nosuchdb'"),
        ("postgresql+pg8000://user:${DB_PASSWORD}@host/name", "pip install pg8000"),
        ("postgresql://user:${DB_PASSWORD}@host:port/name", "not a SQLAlchemy URL"),
    ],
)
def test_a_password_is_never_shown(
    datasets: FileDatasets, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "p@ss/w:rd?")
    message = refusal(datasets, SqlSource(url, "SELECT 1"))
    assert said in message
    assert "p@ss" not in message
    assert "p%40ss" not in message


def test_a_database_that_cannot_be_opened_is_unavailable(datasets: FileDatasets, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        datasets.read(sql(str(tmp_path), "SELECT 1"))


def test_decimals_become_numbers(datasets: FileDatasets, tmp_path: Path) -> None:
    sqlite3.register_converter("MONEY", lambda text: Decimal(text.decode()))
    with closing(sqlite3.connect(tmp_path / "rows.db")) as connection, connection:
        connection.execute("CREATE TABLE rows (price MONEY)")
        connection.executemany("INSERT INTO rows VALUES (?)", [("1.5",), (None,), ("10.125",)])
    source = SqlSource(f"sqlite:///{tmp_path}/rows.db?detect_types={sqlite3.PARSE_DECLTYPES}", "SELECT * FROM rows")
    assert datasets.read(source)["price"].to_pylist() == [1.5, None, 10.125]


def test_tables_in_memory_answer_queries_too() -> None:
    datasets = InMemoryDatasets({"SELECT 1": TABLE})
    assert datasets.read(SqlSource("sqlite://", "SELECT 1")).equals(TABLE)
    with pytest.raises(InvalidData, match=r"SELECT 2: no such file; the tables are \['SELECT 1'\]"):
        datasets.read(SqlSource("sqlite://", "SELECT 2"))


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"the real data sets are not at {REAL_DATA}")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("elec2.csv.gz", (45_312, 9)),
        ("bank_additional.csv.gz", (41_188, 21)),
        ("car_loan_synthetic.parquet", (100_000, 12)),
    ],
)
def test_real_files_are_read(name: str, shape: tuple[int, int]) -> None:
    assert FileDatasets(row_limit=100_000).read(FileSource(str(REAL_DATA / name))).shape == shape
