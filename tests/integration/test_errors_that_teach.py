"""Each refusal that a newcomer meets names what is wrong and the next command."""

import os
import socket
import sqlite3
from collections import namedtuple
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent import cli, create_optimization_agent
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.models.mlflow_database import prepare_database
from optagent.bootstrap import Serving
from optagent.bootstrap.usable_home import require_usable_home
from optagent.errors import Conflict, InvalidRequest, NotFound, Unavailable, UnusableHome
from optagent.settings import load_settings

Disk = namedtuple("Disk", "f_bavail f_frsize")


async def no_model_file(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model(Path("model.yaml"))


async def no_target(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model({**churn, "target": "labl"})


async def one_class(agent: Any, churn: dict[str, Any]) -> None:
    table = pq.read_table(churn["data"])
    labels = pa.array(["no"] * table.num_rows)
    pq.write_table(table.set_column(table.schema.names.index("label"), "label", labels), churn["data"])
    await agent.register_model(churn)


async def horizon_without_times(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model({name: value for name, value in churn.items() if name != "time_column"})


async def backtest_without_times(agent: Any, churn: dict[str, Any]) -> None:
    untimed = ("time_column", "label_horizon")
    await agent.register_model({name: value for name, value in churn.items() if name not in untimed})
    await agent.backtest_model("churn", None, "5d")


async def unknown_model(agent: Any, churn: dict[str, Any]) -> None:
    await agent.tune_hyperparameters("chrn")


async def rollout_without_champion(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model(churn)
    await agent.start_rollout("churn", "1")


async def ensemble_without_champion(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model(churn)
    await agent.create_ensemble(["churn", "churn@champion"])


async def analysis_without_version(agent: Any, churn: dict[str, Any]) -> None:
    await agent.register_model(churn)
    await agent.analyze_model("churn")


REFUSALS = {
    no_model_file: ("model.yaml: no such file", "optagent init ID ROWS --target COLUMN"),
    no_target: ("no column 'labl'; the columns are ['label'", "optagent init ID ROWS --target COLUMN"),
    one_class: ("every row is of the class 'no'", "optagent init ID ROWS --target COLUMN"),
    horizon_without_times: ("label_horizon needs a time_column", "optagent init names candidates"),
    backtest_without_times: ("a backtest needs a time_column of dates", "optagent register"),
    unknown_model: ("no model 'chrn'", "optagent models"),
    rollout_without_champion: ("has no champion", "optagent tune churn"),
    ensemble_without_champion: ("churn alias champion", "optagent tune churn"),
    analysis_without_version: ("has no version and no reference", "optagent tune churn"),
}


@pytest.fixture
async def strict_agent(tmp_path, monkeypatch):
    """An agent in memory that raises what it refuses, in an empty working folder."""
    from optagent.adapters.in_memory.workers import SequentialWorkers
    from tests.fakes.ports_in_memory import ports_in_memory
    from tests.fakes.routes import InMemoryRoutes

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    ports = ports_in_memory()
    agent = await create_optimization_agent(
        strict=True,
        **ports,
        routes=InMemoryRoutes(ports["clock"]),
        workers=SequentialWorkers(),
        home=str(tmp_path / "home"),
    )
    async with agent:
        yield agent


@pytest.mark.parametrize("refused", REFUSALS, ids=lambda refused: refused.__name__)
async def test_a_refusal_names_the_value_and_the_next_command(strict_agent, churn, refused):
    with pytest.raises((InvalidRequest, NotFound, Conflict)) as caught:
        await refused(strict_agent, churn)
    for part in REFUSALS[refused]:
        assert part in str(caught.value)


def test_a_cluster_that_is_not_there_names_the_command_that_starts_one():
    with pytest.raises(Unavailable, match=r"no Ray cluster at 127\.0\.0\.1:1: .*ray start --head"):
        RayCluster("127.0.0.1:1").check_address()


def test_a_port_in_use_names_the_setting(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = load_settings(home=str(tmp_path), api_port=other.getsockname()[1])
        with pytest.raises(Conflict, match="set OPT_AGENT_API_PORT to another"):
            Serving(settings).up()


# homes


def refuse(folder: Path) -> None:
    raise OSError(30, "Read-only file system", str(folder))


def test_a_read_only_home_names_the_setting(tmp_path):
    with pytest.raises(UnusableHome, match=r"cannot be written: Read-only file system; .*OPT_AGENT_HOME"):
        require_usable_home(load_settings(home=str(tmp_path)), refuse)


def test_a_full_disk_names_the_setting(tmp_path):
    with pytest.raises(UnusableHome, match=r"is full: free some space, .*OPT_AGENT_HOME"):
        require_usable_home(load_settings(home=str(tmp_path)), statvfs=lambda _: Disk(10, 4096))


def test_a_home_that_holds_nothing_may_be_read_only(tmp_path):
    elsewhere = {"redis_host": "redis", "mlflow_tracking_uri": "http://mlflow"}
    require_usable_home(load_settings(home=str(tmp_path), **elsewhere), refuse)


def test_a_home_with_the_database_of_another_mlflow_names_the_command(tmp_path, mlflow_templates):
    path = tmp_path / "mlflow.db"
    prepare_database(path, str(tmp_path), mlflow_templates)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    connection.close()
    with pytest.raises(UnusableHome, match=f"mlflow db upgrade sqlite:///{path}"):
        prepare_database(path, str(tmp_path), mlflow_templates)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UnusableHome("the home /h cannot be written"), 2, "the home /h cannot be written"),
        (OSError(28, os.strerror(28), "/h/trials.db"), 2, "/h/trials.db: No space left on device; optagent doctor"),
        (Unavailable("Redis at r:1 does not answer"), 1, "optagent doctor checks"),
    ],
)
def test_a_command_ends_with_a_sentence_and_a_code(monkeypatch, capsys, error, code, sentence):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main(["models"])
    assert caught.value.code == code
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_read_only_home_ends_a_command_with_2_and_nothing_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPT_AGENT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: refuse(dir))
    with pytest.raises(SystemExit) as caught:
        cli.main(["models"])
    assert caught.value.code == 2
    assert "OPT_AGENT_HOME" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
