"""Jobs of `ray job submit`: commands of the program, with the model by name and the result as a line of JSON."""

import json
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from optagent.domain.command import AnalyzeModel
from optagent.errors import ModelNotFound
from optagent.settings import Settings


class RecordingAgent:
    """Keeps what it was asked for, and which cluster it was made for; knows no model of the name nobody."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    async def __aenter__(self) -> "RecordingAgent":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def __getattr__(self, verb: str) -> Any:
        async def call(*given: Any, **named: Any) -> Any:
            self.calls.append((verb, given))
            if given[0] == "nobody":
                raise ModelNotFound("no model 'nobody'")
            return [{"window": 1}, {"window": 2}] if verb == "analyze_windows" else {"process_id": "p1"}

        return call


@pytest.fixture
def run_job(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a job's module as `python -m` does; answers the exit code and the agent that the job had."""
    agent = RecordingAgent()

    async def create(settings: Settings, strict: bool, **options: Any) -> RecordingAgent:
        assert strict
        agent.address = settings.ray_address
        return agent

    def run(job: str, *arguments: str, cluster: str = "10.0.0.2:6379") -> tuple[Any, RecordingAgent]:
        monkeypatch.setenv("OPT_AGENT_RAY_ADDRESS", "10.0.0.1:6379")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if cluster:
            monkeypatch.setenv("RAY_ADDRESS", cluster)
        monkeypatch.setattr(import_module("optagent.cli.app"), "create_optimization_agent", create)
        monkeypatch.setattr(sys, "argv", [job, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"optagent.jobs.{job}", run_name="__main__")
        return ended.value.code, agent

    return run


@pytest.mark.parametrize(
    ("job", "arguments", "verb", "given"),
    [
        ("tune", ("--model", "churn", "--trials", "4"), "tune_hyperparameters", ("churn", "optuna", 4)),
        ("optimize", ("--type", "retrain", "--model", "churn"), "optimize_model", ("churn", "retrain", "candidate")),
        ("ensemble", ("--model", "a", "--model", "b@champion"), "create_ensemble", (["a", "b@champion"], "weighted")),
        ("backtest", ("--model", "churn", "--label-delay", "5d"), "backtest_model", ("churn", None, "5d")),
        ("monitor", ("--model=churn", "--data", "s3://b/x.parquet"), "analyze_files", ("churn", "s3://b/x.parquet")),
    ],
)
def test_a_job_calls_the_verb_of_its_command_on_its_own_cluster(run_job, capsys, job, arguments, verb, given):
    code, agent = run_job(job, *arguments)
    ((called, positional),) = agent.calls
    assert (code, agent.address) == (0, "10.0.0.2:6379"), "a job is not a process of another cluster"
    assert (called, positional[: len(given)]) == (verb, given)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"process_id": "p1"}


def test_a_job_whose_ray_names_no_cluster_takes_that_of_the_machine(run_job):
    _, agent = run_job("tune", "--model", "churn", cluster="")
    assert agent.address == "auto"


@pytest.mark.parametrize("job", [("tune",), ("monitor", "--data", "x.csv")])
def test_a_job_registers_a_model_first_where_it_is_told_to(run_job, job):
    _, agent = run_job(*job, "--model", "churn", "--register", "model.yaml")
    assert agent.calls[0] == ("register_model", (Path("model.yaml"),))
    assert agent.calls[1][1][0] == "churn"


def test_windows_are_analyzed_side_by_side_and_printed_a_line_each(run_job, capsys):
    _, agent = run_job("monitor", "--model", "churn", "--data", "x.csv", "--windows", "2", "--type", "drift")
    assert agent.calls == [("analyze_windows", (AnalyzeModel("churn", "drift", None), "x.csv", None, 2))]
    assert capsys.readouterr().out.splitlines() == ['{"window": 1}', '{"window": 2}']


def test_a_job_that_is_refused_fails_with_the_reason(run_job, capsys):
    code, _ = run_job("tune", "--model", "nobody")
    assert (code, "no model 'nobody'" in capsys.readouterr().err) == (2, True)


@pytest.mark.parametrize("arguments", [(), ("churn", "--model", "churn")])
def test_a_command_wants_its_model_named_once(run_job, capsys, arguments):
    code, agent = run_job("tune", *arguments)
    assert (code, agent.calls) == (2, [])
    assert "one model is needed" in capsys.readouterr().err
