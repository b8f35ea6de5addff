"""Local MLflow databases: quick to make, safe to make twice at once, and never silently of another schema."""

import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.models.mlflow_database import prepare_database
from optagent.errors import Unavailable


@pytest.fixture(scope="module")
def cache(mlflow_templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of templates, after a first database."""
    first = tmp_path_factory.mktemp("first")
    prepare_database(first / "mlflow.db", str(first / "artifacts"), mlflow_templates)
    return mlflow_templates


def experiments(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT name, artifact_location FROM experiments").fetchall()
    finally:
        connection.close()


def test_a_database_made_from_the_template_is_complete_and_its_files_lie_beside_it(cache: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    path = tmp_path / "new folder" / "mlflow.db"
    uri = prepare_database(path, (tmp_path / "artifacts").as_uri(), cache)
    assert experiments(path) == [("Default", f"{(tmp_path / 'artifacts').as_uri()}/0")]
    client = MlflowClient(uri)
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "auc", 0.5)
    assert client.get_run(run.info.run_id).data.metrics == {"auc": 0.5}


def test_a_second_database_is_made_without_migrating_again(cache: Path, tmp_path: Path) -> None:
    template = next(cache.glob("mlflow-*.db"))
    written = template.stat().st_mtime_ns
    prepare_database(tmp_path / "mlflow.db", str(tmp_path), cache)
    assert template.stat().st_mtime_ns == written


def test_an_existing_database_is_left_as_it_is(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    prepare_database(path, str(tmp_path), cache)
    content = path.read_bytes()
    prepare_database(path, "somewhere-else", cache)
    assert path.read_bytes() == content


def test_processes_that_start_at_once_share_one_template_and_one_database_and_say_nothing(
    tmp_path: Path, forked: Any
) -> None:
    load = """
        import sys
        from pathlib import Path
        from optagent.adapters.models.mlflow_connection import MlflowConnection
        from optagent.adapters.models.mlflow_client import quiet_mlflow
        with quiet_mlflow():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    """
    then = """
        server = MlflowConnection(f"sqlite:///{sys.argv[1]}/mlflow.db", "optagent", None, Path(sys.argv[1], "cache"))
        with server.session() as client:
            run = client.create_run(server.experiment_id())
    """
    done = forked(3, load, then, str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [name for name, _ in experiments(tmp_path / "mlflow.db")] == ["Default", "optagent"]
    assert [path.suffix for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"] == [".db"]


def test_a_database_of_another_schema_is_refused_with_the_command_that_upgrades_it(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    uri = prepare_database(path, str(tmp_path), cache)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.close()
    with pytest.raises(Unavailable, match=f"451aebb31d03.*mlflow db upgrade {uri}"):
        prepare_database(path, str(tmp_path), cache)


def test_a_file_that_is_no_mlflow_database_is_refused_and_left_alone(cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    with connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    connection.close()
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    for path in (other, tmp_path / "notes.txt"):
        content = path.read_bytes()
        with pytest.raises(Unavailable, match=f"{path.name}: not an MLflow database"):
            prepare_database(path, str(tmp_path), cache)
        assert path.read_bytes() == content


def test_a_cache_or_a_folder_that_cannot_be_written_is_unavailable_by_name(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        prepare_database(tmp_path / "file" / "mlflow.db", str(tmp_path), cache)
    with pytest.raises(Unavailable, match="file"):
        prepare_database(tmp_path / "mlflow.db", str(tmp_path), tmp_path / "file")


def test_the_users_log_levels_are_as_before(cache: Path, tmp_path: Path) -> None:
    import mlflow  # noqa: F401

    before = {name: logging.getLogger(name).level for name in ("mlflow", "alembic")}
    prepare_database(tmp_path / "mlflow.db", str(tmp_path), cache)
    assert {name: logging.getLogger(name).level for name in before} == before
