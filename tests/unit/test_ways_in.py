"""`optagent init` and `optagent doctor` as commands: what they print, and the codes they end with."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from optagent import cli


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in an empty working folder; answers its exit code, output and errors on one line each."""
    monkeypatch.setenv("OPT_AGENT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), " ".join(out.split()), " ".join(err.split())

    return call


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
    monkeypatch.setenv("OPT_AGENT_API_PORT", str(port))
    return port


def test_init_writes_a_file_and_names_the_next_command(run: Any, rows_file: Path):
    code, out, _ = run("init", "churn", "rows.parquet", "--target", "label")
    assert (code, "optagent register model.yaml" in out) == (0, True)
    text = Path("model.yaml").read_text()
    assert "data: rows.parquet" in text
    assert "time_column: day" in text


def test_init_as_json_holds_the_outline(run: Any, rows_file: Path):
    code, out, _ = run("init", "churn", "rows.parquet", "--target", "label", "--json")
    outline = json.loads(out)
    assert (code, outline["file"], outline["target"]["task"]) == (0, "model.yaml", "binary")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rows.parquet", "--target", "labl"), "no column 'labl'; the columns are ['label'"),
        (("none.parquet", "--target", "label"), "none.parquet: no such file"),
        (("rows.parquet", "--target", "label", "--out", "nowhere/model.yaml"), "there is no folder"),
    ],
)
def test_init_ends_with_2_and_writes_nothing_for_bad_input(run: Any, rows_file: Path, arguments: Any, message: str):
    code, _, err = run("init", "churn", *arguments)
    assert (code, message in err, Path("model.yaml").exists()) == (2, True, False)


def test_init_ends_with_2_where_the_file_is_there(run: Any, rows_file: Path):
    Path("model.yaml").write_text("mine")
    code, _, err = run("init", "churn", "rows.parquet", "--target", "label")
    assert (code, "--force" in err, Path("model.yaml").read_text()) == (2, True, "mine")


def test_doctor_names_each_part_and_ends_with_0(run: Any, free_port: int):
    code, out, _ = run("doctor", "--json")
    checkup = json.loads(out)
    assert (code, checkup["has_faults"]) == (0, False)
    names = {result["name"] for result in checkup["results"]}
    assert names >= {"python", "libraries", "home", "disk", "redis", "clock", "mlflow", "ray", "port", "serve"}


def test_doctor_ends_with_1_and_a_remedy_for_a_redis_that_is_stopped(
    run: Any, free_port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPT_AGENT_REDIS_HOST", "127.0.0.1")
    monkeypatch.setenv("OPT_AGENT_REDIS_PORT", "1")
    code, out, _ = run("doctor")
    assert (code, "fault redis Redis at 127.0.0.1:1 does not answer" in out) == (1, True)
    assert "OPT_AGENT_REDIS_HOST" in out
