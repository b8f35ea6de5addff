"""The program as a user runs it: a fresh home, real Redis, MLflow and Ray, and mistakes answered with exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


class Optagent:
    """Runs `optagent` in a folder, with a home of its own."""

    def __init__(self, home: Path, folder: Path) -> None:
        self._home = home
        self._folder = folder

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "optagent.cli", *arguments],
            env={**os.environ, "OPT_AGENT_HOME": str(self._home), "OPT_AGENT_NUM_CPUS": "2", **environment},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def said(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def optagent(home: Path, tmp_path: Path) -> Optagent:
    return Optagent(home, tmp_path)


def write_model(folder: Path, fields: dict[str, Any]) -> str:
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump({**fields, "data": Path(fields["data"]).name}))
    return str(path)


def test_register_tune_and_look(optagent, churn, tmp_path):
    fields = {**churn, "families": ["lightgbm", "xgboost"]}
    assert optagent.said("register", write_model(tmp_path, fields))["data"]["uri"] == churn["data"]
    first = optagent.said("tune", "churn", "--trials", "6", "--timeout", "120", "--strategy", "balanced")
    assert (first["trials"], first["version"], first["aliases"]) == (6, "1", ["champion"])
    assert first["best_params"]["family"] in fields["families"]
    again = ("--method", "random", "--trials", "3", "--strategy", "aggressive", "--max-concurrent", "1")
    shown = optagent("tune", "churn", *again)
    assert shown.returncode == 0, shown.stderr
    assert "champion (version 1)" in shown.stdout
    assert "Registered version 2" in shown.stdout
    assert [version["version"] for version in optagent.said("versions", "churn")] == ["2", "1"]
    assert {process["status"] for process in optagent.said("processes", "churn")} == {"succeeded"}
    assert first["process_id"] in [study["study_id"] for study in optagent.said("studies", "churn")]
    process = json.loads(optagent("status", first["process_id"]).stdout)
    assert process["progress"]["trials_done"] == 6
    assert [model["model_id"] for model in optagent.said("models")] == ["churn"]


def test_record_analyze_and_look(optagent, churn, make_rows, tmp_path):
    """The version of the test before is watched: rows come in as files, and the analysis says how it does."""
    rows = make_rows(400, seed=3)
    rows = rows.append_column("id", pa.array([f"r{row}" for row in range(400)]))
    answers = pa.array(["yes" if value > 0 else "no" for value in rows["value"].to_pylist()])
    pq.write_table(rows.drop_columns(["label"]).append_column("prediction", answers), tmp_path / "predictions.parquet")
    pq.write_table(rows.select(["id", "label", "day"]), tmp_path / "labels.parquet")
    done = optagent("record", "churn", "--predictions", "predictions.parquet", "--labels", "labels.parquet")
    assert "recorded 400 predictions, 400 labels" in done.stdout, done.stderr
    report = optagent.said("analyze", "churn", "--range", "2020-01-01..2021-02-04")
    assert (report["quality"]["rows"], report["quality"]["labelled"]) == (400, 400)
    assert report["metrics"]["accuracy"] == 1
    shown = optagent("analyze", "churn", "--range", "2020-01-01..2021-02-04", "--html", "report.html")
    assert "accuracy" in shown.stdout
    assert "<html" in (tmp_path / "report.html").read_text()[:1000]
    assert optagent.said("alerts", "churn") == []


def test_a_registered_version_opens_with_plain_mlflow_and_predicts(home, churn):
    code = """
import sys, mlflow, pyarrow.parquet as pq
mlflow.set_tracking_uri(sys.argv[1])
rows = pq.read_table(sys.argv[2]).to_pandas()
print(mlflow.pyfunc.load_model("models:/churn@champion").predict(rows)["prediction"].iloc[0])
"""
    uri = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    done = subprocess.run([sys.executable, "-c", code, uri, churn["data"]], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() in ("yes", "no"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tune", "nobody"), "no model 'nobody'"),
        (("tune", "churn", "--method", "magic"), "unknown method 'magic'; one of ['bayesian', 'gp', 'hyperopt',"),
        (("tune", "churn", "--trials", "0"), "trials must be a whole number of at least 1, got 0"),
        (("tune", "churn", "--timeout", "0.2"), "timeout_s must be at least 1 second, got 0.2"),
        (("tune", "churn", "--strategy", "bold"), "unknown strategy 'bold'"),
        (("register", "absent.yaml"), "absent.yaml"),
        (("status", "tune-0"), "tune-0"),
        (("analyze", "churn", "--type", "magic"), "unknown analysis_type 'magic'; one of ['performance', 'drift',"),
        (("analyze", "churn", "--range", "soon"), "time_range 'soon': write a duration back from now"),
        (("record", "churn"), "name a file: --predictions, --labels or --reference"),
        (("watch", "churn"), "set OPT_AGENT_RAY_ADDRESS=auto"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_a_mistake_is_answered_with_its_rule_and_exit_code_2(optagent, arguments, said):
    done = optagent(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_broken_model_file_is_named(optagent, tmp_path):
    (tmp_path / "model.yaml").write_text("id: [1\n")
    done = optagent("register", "model.yaml")
    assert done.returncode == 2
    assert "cannot be read as YAML" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("OPT_AGENT_REDIS_HOST", "127.0.0.1", "127.0.0.1:1"),
        ("OPT_AGENT_MLFLOW_TRACKING_URI", "http://127.0.0.1:1", "127.0.0.1:1"),
    ],
)
def test_a_configured_server_that_does_not_answer_is_named(optagent, variable, value, named):
    done = optagent("models", **{variable: value, "OPT_AGENT_REDIS_PORT": "1"})
    assert done.returncode == 1
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ray_cluster_that_does_not_answer_is_named(optagent, churn, tmp_path):
    optagent.said("register", write_model(tmp_path, {**churn, "id": "elsewhere"}))
    done = optagent("tune", "elsewhere", "--trials", "2", OPT_AGENT_RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 1
    assert "no Ray cluster at 127.0.0.1:1" in done.stderr
    failed = optagent.said("processes", "elsewhere")[0]
    assert (failed["status"], failed["stage"]) == ("failed", "prepare"), "before any work that needs it"


def test_config_shows_each_value_and_where_it_came_from(optagent, tmp_path):
    (tmp_path / ".env").write_text("OPT_AGENT_MAX_TRIALS=7\nOPT_AGENT_REDIS_PASSWORD=hunter2\n")
    shown = optagent.said("config")
    assert shown["OPT_AGENT_MAX_TRIALS"] == {"value": "7", "from": ".env"}
    assert shown["OPT_AGENT_HOME"]["from"] == "environment"
    assert "hunter2" not in str(shown)
