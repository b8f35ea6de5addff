"""Contract of every tracker, and the proof that the one on MLflow stays out of the search's way."""

import logging
import os
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.models.mlflow_tracker import MlflowTracker
from optagent.domain.model import Task
from optagent.domain.space import Float, SearchSpace
from optagent.domain.study import Study, Trial, TrialState
from optagent.errors import InvalidRequest, Unavailable
from optagent.ports import Tracker


@dataclass
class Seen:
    """One study as it can be read back: trials by number, `ended` True, False, or None while it is open."""

    trials: dict[int, dict[str, Any]]
    ended: bool | None
    metrics: dict[str, float]
    tags: dict[str, str]
    artifacts: dict[str, bytes]


@dataclass
class TrackerUnderTest:
    tracker: Tracker
    read: Callable[[str], list[Seen]]


def study(study_id: str = "s1") -> Study:
    return Study(
        study_id,
        "churn",
        Task.BINARY,
        "log_loss",
        False,
        {"lightgbm": SearchSpace((Float("learning_rate", 0.01, 0.3, log=True),))},
        {"lightgbm": {"learning_rate": 0.1}},
    )


def trial(number: int, state: TrialState = TrialState.COMPLETE, score: float | None = 0.5) -> Trial:
    return Trial(
        number,
        "lightgbm",
        {"learning_rate": 0.1, "max_depth": None},
        state,
        score=score,
        rounds=40,
        units=9,
        duration_s=1.5,
        error=None if state.has_score else "too few rows",
        measurements={3: 0.7, 9: 0.5} if score is not None else {},
    )


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def mlflow_tracker(database: str, mlflow_templates: Path) -> Iterator[MlflowTracker]:
    tracker = MlflowTracker(database, "optagent", cache_folder=mlflow_templates)
    yield tracker
    tracker.close()


def seen_in_memory(tracker: InMemoryTracker, study_id: str) -> list[Seen]:
    if study_id not in tracker.studies:
        return []
    found = tracker.studies[study_id]
    trials = {
        number: {
            "state": str(one.state),
            "score": one.score,
            "measurements": dict(one.measurements),
            "params": {name: str(value) for name, value in one.params.items()},
            "error": one.error,
        }
        for number, one in found.trials.items()
    }
    return [Seen(trials, found.succeeded, found.metrics, found.tags, found.artifacts)]


def seen_in_mlflow(uri: str, study_id: str) -> list[Seen]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("optagent")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`optagent.study` = '{study_id}'", max_results=5000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return [seen_run(client, parent, runs) for parent in parents]


def seen_run(client: Any, parent: Any, runs: list[Any]) -> Seen:
    trials = {}
    for run in runs:
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id:
            history = client.get_metric_history(run.info.run_id, "log_loss")
            trials[int(run.info.run_name.split()[1])] = {
                "state": run.data.tags["optagent.state"],
                "score": run.data.metrics.get("score"),
                "measurements": {item.step: item.value for item in history},
                "params": run.data.params,
                "error": run.data.tags.get("optagent.error"),
            }
    ended = {"FINISHED": True, "FAILED": False}.get(parent.info.status)
    return Seen(trials, ended, parent.data.metrics, parent.data.tags, artifacts_of(client, parent.info.run_id))


def artifacts_of(client: Any, run_id: str) -> dict[str, bytes]:
    from mlflow.artifacts import download_artifacts

    paths = [item.path for item in client.list_artifacts(run_id, "study")]
    uri = client.get_run(run_id).info.artifact_uri
    return {Path(path).name: Path(download_artifacts(f"{uri}/{path}")).read_bytes() for path in paths}


@pytest.fixture(params=["in_memory", "mlflow"])
def under_test(request: pytest.FixtureRequest, database: str) -> TrackerUnderTest:
    if request.param == "in_memory":
        memory = InMemoryTracker()
        return TrackerUnderTest(memory, lambda study_id: seen_in_memory(memory, study_id))
    tracker = request.getfixturevalue("mlflow_tracker")
    return TrackerUnderTest(tracker, lambda study_id: seen_in_mlflow(database, study_id))


def test_what_was_handed_over_is_written_when_end_returns(under_test: TrackerUnderTest) -> None:
    tracker = under_test.tracker
    tracker.check()
    tracker.begin(study())
    tracker.log_trial(study(), trial(0))
    tracker.log_trial(study(), trial(1, TrialState.PRUNED))
    tracker.log_trial(study(), trial(2, TrialState.INFEASIBLE, None))
    tracker.end(study(), True, {"holdout_log_loss": 0.25}, {"verdict": "pass"})
    (seen,) = under_test.read("s1")
    assert seen.trials[0] == {
        "state": "complete",
        "score": 0.5,
        "measurements": {3: 0.7, 9: 0.5},
        "params": {"learning_rate": "0.1", "max_depth": "None"},
        "error": None,
    }
    assert {number: one["state"] for number, one in seen.trials.items()} == {
        0: "complete",
        1: "pruned",
        2: "infeasible",
    }
    assert (seen.trials[2]["score"], seen.trials[2]["error"]) == (None, "too few rows")
    assert seen.ended is True
    assert seen.metrics["holdout_log_loss"] == 0.25
    assert seen.tags["verdict"] == "pass"


def test_a_study_that_failed_is_closed_as_failed(under_test: TrackerUnderTest) -> None:
    under_test.tracker.begin(study())
    under_test.tracker.end(study(), False, {}, {})
    (seen,) = under_test.read("s1")
    assert (seen.ended, seen.trials) == (False, {})


def test_the_files_of_a_folder_are_kept_with_the_study(under_test: TrackerUnderTest, tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    folder.mkdir()
    (folder / "study.html").write_bytes(b"<p>plots</p>")
    (folder / "importances.json").write_bytes(b"{}")
    under_test.tracker.begin(study())
    under_test.tracker.end(study(), True, {}, {}, folder)
    (seen,) = under_test.read("s1")
    assert seen.artifacts == {"study.html": b"<p>plots</p>", "importances.json": b"{}"}
    assert seen.ended is True


def test_files_that_cannot_be_kept_are_logged_and_the_run_is_closed(
    mlflow_tracker: MlflowTracker, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "drawn"
    folder.mkdir()
    (folder / "study.html").write_text("plots")
    (tmp_path / "artifacts").write_text("a file where the folder of artifacts would be")
    mlflow_tracker.begin(study())
    mlflow_tracker.end(study(), True, {"holdout_log_loss": 0.25}, {}, folder)
    (tmp_path / "artifacts").unlink()
    (seen,) = seen_in_mlflow(database, "s1")
    assert (seen.ended, seen.metrics["holdout_log_loss"], seen.artifacts) == (True, 0.25, {})
    (record,) = caplog.records
    assert "the files of s1 are not kept" in record.getMessage()


def test_two_studies_at_once_keep_their_own_trials(under_test: TrackerUnderTest) -> None:
    for name in ("s1", "s2"):
        under_test.tracker.begin(study(name))
    for number in range(3):
        under_test.tracker.log_trial(study("s1"), trial(number))
    under_test.tracker.log_trial(study("s2"), trial(7))
    under_test.tracker.end(study("s2"), True, {}, {})
    under_test.tracker.end(study("s1"), True, {}, {})
    assert sorted(under_test.read("s1")[0].trials) == [0, 1, 2]
    assert sorted(under_test.read("s2")[0].trials) == [7]


def test_a_study_that_is_begun_again_goes_on_in_its_own_run(under_test: TrackerUnderTest) -> None:
    for number in range(2):
        under_test.tracker.begin(study())
        under_test.tracker.log_trial(study(), trial(number))
        under_test.tracker.end(study(), number == 1, {}, {})
    (seen,) = under_test.read("s1")
    assert (sorted(seen.trials), seen.ended) == ([0, 1], True)


def test_trials_without_a_begin_are_kept(under_test: TrackerUnderTest) -> None:
    under_test.tracker.log_trial(study(), trial(0))
    under_test.tracker.end(study(), True, {}, {})
    assert sorted(under_test.read("s1")[0].trials) == [0]


def test_the_run_of_a_study_says_what_was_searched_and_how(mlflow_tracker: MlflowTracker, database: str) -> None:
    from mlflow import MlflowClient

    mlflow_tracker.begin(study())
    for number, score in enumerate((0.5, 0.25, 0.75)):
        mlflow_tracker.log_trial(study(), trial(number, score=score))
    mlflow_tracker.end(study(), True, {}, {})
    client = MlflowClient(database)
    (run,) = [run for run in client.search_runs(["1"]) if "mlflow.parentRunId" not in run.data.tags]
    assert run.data.tags["optagent.model"] == "churn"
    assert run.data.tags["optagent.sampler"] == "tpe"
    assert run.data.tags["optagent.metric"] == "log_loss"
    assert run.data.params["trials"] == "100"
    assert '"high": 0.3' in run.data.params["space.lightgbm"]
    history = client.get_metric_history(run.info.run_id, "best_log_loss")
    assert [(item.step, item.value) for item in sorted(history, key=lambda item: item.step)] == [
        (1, 0.5),
        (2, 0.25),
        (3, 0.25),
    ]


def test_names_values_and_texts_that_mlflow_refuses_do_not_lose_a_trial(
    mlflow_tracker: MlflowTracker, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Trial(
        0,
        "lightgbm",
        {"a,b=c": "x" * 10_000, "": 1},
        TrialState.FAILED,
        score=float("nan"),
        error="e" * 20_000,
        measurements={1: float("inf")},
    )
    mlflow_tracker.begin(study())
    mlflow_tracker.log_trial(study(), odd)
    mlflow_tracker.log_trial(study(), trial(1))
    mlflow_tracker.end(study(), True, {"is 50%": 1.0}, {"t": "y" * 9000})
    (seen,) = seen_in_mlflow(database, "s1")
    assert sorted(seen.trials) == [0, 1]
    assert seen.ended is True
    assert not caplog.records


def test_handing_over_returns_at_once(database: str, mlflow_templates: Path) -> None:
    tracker = MlflowTracker(database, "optagent", cache_folder=mlflow_templates)
    started = time.perf_counter()
    tracker.begin(study())
    begun = time.perf_counter() - started
    took = []
    for number in range(200):
        started = time.perf_counter()
        tracker.log_trial(study(), trial(number))
        took.append(time.perf_counter() - started)
    tracker.end(study(), True, {}, {})
    tracker.close()
    assert statistics.median(took) < 0.002
    assert begun < 0.5
    assert len(seen_in_mlflow(database, "s1")[0].trials) == 200


def test_a_server_that_fails_is_logged_once_by_name_and_never_raises(
    tmp_path: Path, mlflow_templates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path}/file/mlflow.db"
    tracker = MlflowTracker(uri, "optagent", cache_folder=mlflow_templates, flush_s=0.5)
    started = time.perf_counter()
    tracker.begin(study())
    for number in range(20):
        tracker.log_trial(study(), trial(number))
    tracker.end(study(), True, {}, {})
    tracker.close()
    assert time.perf_counter() - started < 10
    named = [record for record in caplog.records if uri in record.getMessage()]
    assert len(named) == 1
    assert named[0].levelno == logging.WARNING


def test_trials_wait_for_a_server_that_comes_back(tmp_path: Path, mlflow_templates: Path) -> None:
    blocked = tmp_path / "folder"
    blocked.write_text("")
    uri = f"sqlite:///{blocked}/mlflow.db"
    tracker = MlflowTracker(uri, "optagent", cache_folder=mlflow_templates)
    tracker.begin(study())
    tracker.log_trial(study(), trial(0))
    time.sleep(0.5)
    blocked.unlink()
    blocked.mkdir()
    tracker.end(study(), True, {}, {})
    tracker.close()
    (seen,) = seen_in_mlflow(uri, "s1")
    assert (sorted(seen.trials), seen.ended) == ([0], True)


def test_a_database_that_cannot_be_written_is_unavailable_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for uri in (f"sqlite:///{tmp_path}/file/mlflow.db", f"sqlite:///{tmp_path}"):
        with pytest.raises(Unavailable, match=str(tmp_path)):
            MlflowTracker(uri, "optagent").check()
    (tmp_path / "not.db").write_text("this is not a database, however long it may be" * 50)
    with pytest.raises(Unavailable, match=r"not\.db"):
        MlflowTracker(f"sqlite:///{tmp_path}/not.db", "optagent").check()


@pytest.mark.parametrize("uri", ["", "mlruns", "file:///mlruns"])
def test_an_address_that_mlflow_does_not_keep_runs_at_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="sqlite:///"):
        MlflowTracker(uri, "optagent")


def test_a_process_exits_at_once_without_end_even_while_the_server_hangs(tmp_path: Path) -> None:
    script = """
        import socket, sys
        sys.path.insert(0, sys.argv[1])
        from optagent.adapters.models.mlflow_tracker import MlflowTracker
        from test_studies import study
        server = socket.create_server(("127.0.0.1", 0))
        tracker = MlflowTracker(f"http://127.0.0.1:{server.getsockname()[1]}", "optagent")
        tracker.begin(study)
        assert "mlflow" not in sys.modules
    """
    (tmp_path / "test_studies.py").write_text(
        textwrap.dedent("""
            from optagent.domain.model import Task
            from optagent.domain.space import Float, SearchSpace
            from optagent.domain.study import Study
            study = Study("s1", "churn", Task.BINARY, "log_loss", False, {"a": SearchSpace((Float("x", 0, 1),))}, {})
        """)
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.perf_counter() - started < 15
