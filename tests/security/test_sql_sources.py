"""A query of a SQL source reads its database and nothing else, and its messages hold no secrets and no values."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from optagent.adapters.datasets import FileDatasets
from optagent.adapters.datasets.database_url import fill_url
from optagent.adapters.datasets.read_only import read_only_options, require_one_select, restrict_connection
from optagent.adapters.models.mlflow_health import check_server
from optagent.adapters.search.trial_storage import open_storage
from optagent.domain.dataset import FileSource, SqlSource
from optagent.errors import InvalidData, InvalidRequest, OptAgentError, Unavailable


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "orders.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?)", [(1,), (2,), (3,)])
    return path


def read(url: str, query: str) -> list[object]:
    return FileDatasets(1000).read(SqlSource(url, query)).to_pylist()


def refusal(url: str, query: str = "SELECT 1") -> str:
    with pytest.raises(OptAgentError) as caught:
        read(url, query)
    return str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE orders",
        "DELETE FROM orders",
        "DELETE FROM orders RETURNING id",
        "INSERT INTO orders VALUES (4) RETURNING id",
        "UPDATE orders SET id = 9 RETURNING id",
        "CREATE TABLE copies AS SELECT * FROM orders",
        "CREATE TEMP TABLE copies (id INTEGER)",
        "VACUUM INTO '{folder}/copy.db'",
        "ATTACH DATABASE '{folder}/copy.db' AS copy",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('{folder}/code')",
        "SELECT 1; DROP TABLE orders",
    ],
)
def test_a_query_cannot_write_to_sqlite_or_reach_another_file(database: Path, tmp_path: Path, query: str) -> None:
    content = database.read_bytes()
    refusal(f"sqlite:///{database}", query.format(folder=tmp_path))
    assert (database.read_bytes(), sorted(path.name for path in tmp_path.iterdir())) == (content, ["orders.db"])


def test_a_query_reads_as_before(database: Path) -> None:
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT sum(id * i) AS s"
    assert read(f"sqlite:///{database}", f"{query} FROM orders, n WHERE id = i") == [{"s": 14}]
    assert read(f"sqlite:///{database}", "SELECT id, ';' AS word FROM orders WHERE id = 2") == [{"id": 2, "word": ";"}]


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:{folder}/new.db?mode=rwc&uri=true",
        "sqlite:///{folder}/new.db?mode=rwc&uri=true",
        "sqlite+pysqlcipher:///{folder}/orders.db",
    ],
)
def test_sqlite_makes_no_database_in_memory_or_on_disk(database: Path, tmp_path: Path, url: str) -> None:
    refusal(url.format(folder=tmp_path), f"VACUUM INTO '{tmp_path}/copy.db'")
    assert [path.name for path in tmp_path.iterdir()] == ["orders.db"]


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE orders",
        "CALL fill()",
        "DO $$ x $$",
        "select 1; commit; drop table orders",
        "commit",
        "/* x */ copy x",
    ],
)
def test_elsewhere_one_select_is_needed(query: str) -> None:
    with pytest.raises(InvalidData, match="needed"):
        require_one_select(query, sa.make_url("postgresql://db/orders"), "db")


@pytest.mark.parametrize(
    "query", ["select 1", " -- all\n(SELECT 1) ", "/* x */ with a as (select 1) table a;", "VALUES (1)"]
)
def test_one_select_is_taken_in_each_of_its_forms(query: str) -> None:
    require_one_select(query, sa.make_url("postgresql://db/orders"), "db")


def test_the_transaction_of_a_query_only_reads_where_the_database_has_such_transactions() -> None:
    assert read_only_options(sa.create_mock_engine("postgresql://", print)) == {"postgresql_readonly": True}  # type: ignore[arg-type]
    statements: list[str] = []

    class Connection:
        def cursor(self) -> "Connection":
            return self

        def execute(self, statement: str) -> None:
            statements.append(statement)

        def close(self) -> None: ...

    restrict_connection(Connection(), "mysql")
    assert statements == ["SET SESSION TRANSACTION READ ONLY"]


def test_messages_show_the_template_and_never_what_it_is_filled_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "topsecret")
    for url in (
        "postgresql+pg8000://${PLANTED}@127.0.0.1:1/x",
        "postgresql+pg8000://me:${PLANTED}@127.0.0.1:1/x",
        "postgresql+pg8000://${PLANTED}/x",
        "nosuchdb://host/${PLANTED}",
        "sqlite:////nowhere/${PLANTED}",
        "sqlite:////tmp/${PLANTED}/..?detect_types=${PLANTED}",
        "postgresql://me:${PLANTED}@host:port/${PLANTED}",
    ):
        message = refusal(url)
        assert "topsecret" not in message, url
        assert "${PLANTED}" in message or "not a SQLAlchemy URL" in message, url


def test_what_a_driver_says_is_shown_without_the_secrets_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "top secret/1")
    place = fill_url("postgresql://me:${PLANTED}@db/${PLANTED}?password=hunter2")
    said = place.describe_error(sa.exc.SQLAlchemyError("no top secret/1 nor top%20secret%2F1 nor top+secret%2F1 at db"))
    assert said == "no ${PLANTED} nor ${PLANTED} nor ${PLANTED} at db"
    error = sa.exc.DataError("SELECT", None, ValueError('invalid input for integer: "planted value"'))
    assert place.describe_error(error) == "a value does not fit (ValueError)"


def test_what_a_file_holds_is_not_quoted_in_messages(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root:$6$planted:19000:0:99999:7:::\nbin:*:18000:0:99999:7:::\n")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n1,planted,3\n")
    (tmp_path / "mixed.csv").write_text("a,b\n1,2\nplanted value\n")
    for source in (
        FileSource(f"{tmp_path}/shadow", "csv"),
        *map(FileSource, (f"{tmp_path}/rows.csv", f"{tmp_path}/mixed.csv")),
    ):
        with pytest.raises(InvalidRequest) as caught:
            FileDatasets(1000).read(source)
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me:hunter2@127.0.0.1:1/mlflow",
        "postgresql://me:hun/ter2@127.0.0.1:1/mlflow",
        "postgresql://127.0.0.1:1/mlflow?password=hunter2",
        "http://me:hunter2@127.0.0.1:1",
        "http://me:hun/ter2@127.0.0.1:1",
    ],
)
def test_the_health_of_mlflow_is_told_without_its_password(uri: str) -> None:
    with pytest.raises(Unavailable) as caught:
        check_server(uri, limit_s=2)
    assert not re.search("hunter2|ter2", str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    "url", ["nosuchdb://me:hunter2@db/x", "nosuchdb://db/x?password=hunter2", "nosuchdb://me:hun/ter2@db/x"]
)
def test_a_trial_store_that_does_not_open_is_named_without_its_password(url: str) -> None:
    with pytest.raises(Unavailable) as caught:
        open_storage(url)
    assert not re.search("hunter2|ter2", str(caught.value)), str(caught.value)
