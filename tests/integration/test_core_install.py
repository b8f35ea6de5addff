"""The core without any extra: models are described, monitored and replayed; searches are refused by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from optagent.extras import EXTRAS

BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({list(EXTRAS)}));"


@pytest.fixture
def run_core(tmp_path: Path):
    """Runs the command line in a process that cannot import any optional library."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"{BLOCKED} from optagent.cli import main; main({list(arguments)})"
        environment = {**os.environ, "OPT_AGENT_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def served(tmp_path: Path, churn: dict[str, object], make_rows) -> Path:
    """A model's file, and rows that another program has served, with the labels that came later."""
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(churn))
    rows = make_rows(600, seed=3)
    yes = 1 / (1 + np.exp(-rows["value"].to_numpy()))
    answers = {"id": pa.array([f"r{row}" for row in range(600)]), "probability_no": 1 - yes, "probability_yes": yes}
    columns = {name: rows[name] for name in ("a", "b", "region", "sex", "label")}
    pq.write_table(pa.table({**answers, **columns, "time": rows["day"]}), tmp_path / "served.parquet")
    return tmp_path


def test_a_model_of_another_program_is_monitored_without_any_extra(run_core, served):
    assert run_core("register", "model.yaml").returncode == 0
    assert run_core("record", "churn", "--reference", "served.parquet").returncode == 0
    analyzed = run_core("analyze", "churn", "--data", "served.parquet", "--windows", "2", "--json")
    assert analyzed.returncode == 0, analyzed.stderr
    reports = [json.loads(line) for line in analyzed.stdout.splitlines()]
    assert [report["quality"]["rows"] for report in reports] == [300, 300, 600]
    assert reports[-1]["drift"]["status"] == "stable"


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("tune", "churn"), "search"), (("studies",), "search"), (("up",), "serve")],
)
def test_a_command_that_needs_an_extra_ends_with_2_and_the_command_that_installs_it(run_core, arguments, extra):
    refused = run_core(*arguments)
    assert (refused.returncode, f'pip install "optagent[{extra}]"' in refused.stderr) == (2, True), refused.stderr
