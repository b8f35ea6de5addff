"""MLflow that does not answer: said within 5 s and by name, and no search waits for it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.models.mlflow_database import prepare_database
from optagent.adapters.models.mlflow_registry import MlflowRegistry
from optagent.adapters.models.mlflow_tracker import MlflowTracker
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, ModelVersion, Task
from optagent.domain.space import Float, SearchSpace
from optagent.domain.study import Study, Trial, TrialState
from optagent.errors import ModelNotFound, Unavailable
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from tests.tls_front import make_certificate, speak_tls

STUDY = Study(
    "s1", "churn", Task.BINARY, "log_loss", False, {"lightgbm": SearchSpace((Float("x", 0.0, 1.0),))}, {}, seed=1
)


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts, by its backlog, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def trickling_server() -> Iterator[str]:
    """Answers one byte a second, so that no single read ever times out."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def trickle() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 1000:
                        if done.wait(1):
                            return
                        try:
                            connection.sendall(bytes((byte,)))
                        except OSError:
                            break

        thread = threading.Thread(target=trickle)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join()


@pytest.fixture(params=[(200, b"<html>hello</html>"), (404, b""), (503, b"")], ids=["other", "404", "503"])
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """An HTTP server that is not a healthy MLflow."""
    status, body = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def refuses_in_time(uri: str, call: Callable[[], object]) -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable, match=uri):
        call()
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize("kind", ["closed_port", "silent_server", "trickling_server"])
def test_a_check_says_within_5_seconds_that_no_mlflow_answers(request: pytest.FixtureRequest, kind: str) -> None:
    uri = request.getfixturevalue(kind)
    refuses_in_time(uri, MlflowTracker(uri, "optagent").check)


def test_a_server_that_is_not_mlflow_is_refused(other_server: str) -> None:
    refuses_in_time(other_server, MlflowTracker(other_server, "optagent").check)


def test_a_host_that_does_not_exist_is_refused() -> None:
    uri = "http://mlflow.invalid:5000"
    refuses_in_time(uri, MlflowTracker(uri, "optagent").check)


@pytest.mark.parametrize("kind", ["closed_port", "silent_server"])
def test_every_call_of_the_registry_says_so_too(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    uri = request.getfixturevalue(kind)
    registry = MlflowRegistry(uri, "optagent")
    version = ModelVersion("churn", "1", "0" * 64, 1.0)
    calls: list[Callable[[], object]] = [lambda: registry.version("churn", "champion")]
    if kind == "closed_port":
        bundle = made_bundle(tmp_path / "bundle")
        calls += [
            lambda: registry.versions("churn"),
            lambda: registry.set_alias("churn", "champion", "1"),
            lambda: registry.fetch(version, tmp_path / "fetched"),
            lambda: registry.register("churn", bundle, {}, {}),
        ]
    for call in calls:
        refuses_in_time(uri, call)


def test_a_password_in_the_address_is_not_shown(closed_port: str) -> None:
    uri = closed_port.replace("http://", "http://user:secret@")
    with pytest.raises(Unavailable) as refused:
        MlflowTracker(uri, "optagent").check()
    assert "secret" not in str(refused.value)
    assert closed_port in str(refused.value)


@pytest.mark.parametrize("kind", ["closed_port", "silent_server"])
def test_a_search_is_not_slowed_by_an_outage(request: pytest.FixtureRequest, kind: str) -> None:
    tracker = MlflowTracker(request.getfixturevalue(kind), "optagent", flush_s=1.0)
    started = time.monotonic()
    tracker.begin(STUDY)
    for number in range(100):
        tracker.log_trial(STUDY, Trial(number, "lightgbm", {"x": 0.5}, TrialState.COMPLETE, 0.5))
    assert time.monotonic() - started < 0.5
    tracker.end(STUDY, True, {}, {})
    tracker.close()
    assert time.monotonic() - started < 10


def made_bundle(folder: Path) -> Path:
    numbers = np.random.default_rng(0).random(100)
    rows = pa.table({"amount": numbers, "label": ["yes" if value > 0.5 else "no" for value in numbers]})
    schema = fit_schema(rows, ModelSpec("churn", Task.BINARY, FileSource("x.csv"), "label"))
    data = load_data(rows, schema)
    fit = family_named("lightgbm").start({}, data, np.arange(100))
    fit.advance(3)
    facts = {"model_id": "churn", "task": Task.BINARY, "params": {}, "rounds": 3, "created_at": 1.0}
    save_bundle(folder, fit.model(), "lightgbm", schema, facts)
    return folder


@pytest.fixture
def mlflow_server(tmp_path: Path, mlflow_templates: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A real server, with its artifacts behind its own HTTP interface, and without the eight processes for its jobs."""
    prepare_database(tmp_path / "server.db", "mlflow-artifacts:/", mlflow_templates)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "a"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    yield f"http://127.0.0.1:{port}", server
    stop(server)


def stop(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def wait_for(tracker: MlflowTracker, limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return tracker.check()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_a_server_behind_tls_is_asked_where_its_certificate_is_trusted_and_only_there(
    mlflow_server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, _ = mlflow_server
    wait_for(MlflowTracker(uri, "optagent"))
    certificate, key = make_certificate(tmp_path)
    with speak_tls(int(uri.rpartition(":")[2]), certificate, key) as port:
        tracker = MlflowTracker(f"https://127.0.0.1:{port}", "optagent")
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            tracker.check()
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
        tracker.check()
        tracker.begin(STUDY)
        tracker.end(STUDY, True, {}, {})


def test_a_real_server_keeps_runs_and_versions_and_its_end_is_noticed(
    mlflow_server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    uri, process = mlflow_server
    tracker, registry = MlflowTracker(uri, "optagent"), MlflowRegistry(uri, "optagent")
    wait_for(tracker)
    tracker.begin(STUDY)
    for number in range(5):
        tracker.log_trial(STUDY, Trial(number, "lightgbm", {"x": 0.5}, TrialState.COMPLETE, 0.5, measurements={3: 0.5}))
    tracker.end(STUDY, True, {}, {})

    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("optagent")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 6

    bundle = made_bundle(tmp_path / "bundle")
    with pytest.raises(ModelNotFound):
        registry.version("churn", "champion")
    version = registry.register("churn", bundle, {"log_loss": 0.5}, {"k": "v"})
    registry.set_alias("churn", "champion", version.version)
    assert registry.version("churn", "champion").aliases == ("champion",)
    load_bundle(registry.fetch(version, tmp_path / "fetched"), version.digest)

    stop(process)
    refuses_in_time(uri, tracker.check)
    refuses_in_time(uri, lambda: registry.version("churn", "champion"))
    tracker.close()
