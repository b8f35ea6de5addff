"""Row files: tables of even size out of files of any format, and outputs that are whole or not there."""

import gzip
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent.adapters.datasets.row_files import LocalRowFiles
from optagent.errors import InvalidData, InvalidRequest
from optagent.training.columns import Kind

FILES = LocalRowFiles()
NUMBERS = {"a": Kind.NUMERIC}


def read_all(uri: Path | str, columns: dict[str, Kind | None], most_rows: int = 4) -> list[pa.Table]:
    return list(FILES.open(str(uri)).read(columns, most_rows))


def test_tables_have_the_same_rows_whatever_the_groups_of_a_file(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(11.0), "b": ["x"] * 11})
    for name, group in (("one.parquet", 11), ("small.parquet", 3)):
        pq.write_table(table, tmp_path / name, row_group_size=group)
        tables = read_all(tmp_path / name, {"b": None, "a": Kind.NUMERIC})
        assert [each.num_rows for each in tables] == [4, 4, 3]
        assert pa.concat_tables(tables).equals(table.select(["b", "a"]))


def test_files_of_folders_have_the_values_of_the_folders_and_common_types(tmp_path: Path) -> None:
    for day, kind in ((1, pa.int32()), (2, pa.float64())):
        (tmp_path / f"day={day}").mkdir()
        pq.write_table(pa.table({"a": pa.array([1, 2], kind)}), tmp_path / f"day={day}" / "rows.parquet")
    whole = pa.concat_tables(read_all(tmp_path, {"a": Kind.NUMERIC, "day": Kind.NUMERIC}))
    assert whole["a"].type == pa.float64()
    assert whole["day"].to_pylist() == [1, 1, 2, 2]


def test_csv_is_typed_by_the_kinds_and_not_by_its_first_rows(tmp_path: Path) -> None:
    lines = ["a;city;seen;id", *["1;007;2024-01-31;1"] * 5, "2.5;Oslo;2024-01-31 10:00:00;x;"[:-1]]
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    kinds = {"a": Kind.NUMERIC, "city": Kind.CATEGORICAL, "seen": Kind.DATETIME, "id": None}
    whole = pa.concat_tables(read_all(tmp_path / "rows.csv.gz", kinds))
    assert whole.num_rows == 6
    assert whole.to_pylist()[5] == {"a": 2.5, "city": "Oslo", "seen": "2024-01-31 10:00:00", "id": "x"}
    assert whole["city"][0].as_py() == "007"


def test_a_text_among_the_numbers_of_csv_is_refused_without_the_line(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,secret\nmuch,secret\n")
    with pytest.raises(InvalidData, match="CSV conversion error to double") as refused:
        read_all(tmp_path / "rows.csv", NUMBERS)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.arrow"])
def test_a_file_without_rows_is_one_empty_table(tmp_path: Path, name: str) -> None:
    table = pa.table({"a": pa.array([], pa.float64()), "b": pa.array([], pa.string())})
    with FILES.create(tmp_path / name) as output:
        output.write(table)
    [empty] = read_all(tmp_path / name, NUMBERS)
    assert (empty.num_rows, empty.schema.names, empty["a"].type) == (0, ["a"], pa.float64())


def test_a_file_of_no_bytes_and_one_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").touch()
    with pytest.raises(InvalidData, match=r"rows\.parquet: the file is empty"):
        FILES.open(str(tmp_path / "rows.parquet"))
    (tmp_path / "rows.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidData, match="read as Parquet, but it holds text"):
        FILES.open(str(tmp_path / "rows.parquet"))


def test_a_column_that_one_file_lacks_is_refused_with_the_name_of_the_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": [1.0]}), tmp_path / "2.parquet")
    with pytest.raises(InvalidData, match=r"2\.parquet: no column 'a'"):
        read_all(tmp_path / "*.parquet", NUMBERS)


def test_numbers_survive_csv_bit_for_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1_000) ** 9
    with FILES.create(tmp_path / "out.csv") as output:
        output.write(pa.table({"a": values}))
    [table] = read_all(tmp_path / "out.csv", NUMBERS, 1_000)
    assert table["a"].to_pylist() == values.tolist()


def test_an_output_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    with FILES.create(path) as output:
        output.write(pa.table({"a": [1]}))
        assert not path.exists()
    assert pq.read_table(path).to_pydict() == {"a": [1]}
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]


def test_a_file_that_came_to_exist_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"

    def write_too_late() -> None:
        with FILES.create(path) as output:
            output.write(pa.table({"a": [1]}))
            path.write_text("theirs")

    with pytest.raises(InvalidRequest, match="has come to exist meanwhile"):
        write_too_late()
    assert path.read_text() == "theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


def test_a_killed_program_leaves_no_output(tmp_path: Path) -> None:
    program = run_writer(tmp_path, "print('written', flush=True); sys.stdin.read()")
    assert program.stdout is not None
    assert program.stdout.readline() == "written\n"
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=30)
    assert not (tmp_path / "out.arrow").exists()


def test_a_disk_without_room_leaves_nothing(tmp_path: Path) -> None:
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    program = run_writer(
        tmp_path,
        f"{limit}; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))",
        "output.write(pa.table({'a': list(range(100_000))}))",
    )
    _, errors = program.communicate(timeout=30)
    assert "InvalidRequest" in errors
    assert "out.arrow: cannot be written, nothing was: " in errors
    assert list(tmp_path.iterdir()) == []


def run_writer(folder: Path, *statements: str) -> "subprocess.Popen[str]":
    """A program that has begun to write `out.arrow` when it comes to the statements."""
    code = f"""
    import sys
    from pathlib import Path
    import pyarrow as pa
    from optagent.adapters.datasets.row_files import LocalRowFiles
    with LocalRowFiles().create(Path({str(folder)!r}) / "out.arrow") as output:
        output.write(pa.table({{"a": [1]}}))
    """
    body = textwrap.dedent(code) + "".join(f"    {statement}\n" for statement in statements)
    return subprocess.Popen(
        [sys.executable, "-c", body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
