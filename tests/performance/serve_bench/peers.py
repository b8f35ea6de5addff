"""The servers that ours is compared with: how each is started, what it is asked, and where its answer lies.

Each has one worker process for HTTP, its request log off, and LightGBM on one thread; each is asked in the form that
is cheapest to it.
"""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.performance.serve_bench.made import COLUMNS, Made

SERVERS = Path(__file__).parents[1] / "serve_peers"
START_S = 120.0

Body = Callable[[list[dict[str, float]]], Any]
Read = Callable[[Any], float]


@dataclass(frozen=True)
class Peer:
    """`command` has places for {python}, {port} and {folder}; `read` finds the first row's probability of class 1."""

    name: str
    command: str
    path: str
    body: Body
    read: Read | None
    package: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)


def by_name(rows: list[dict[str, float]]) -> Any:
    return {"rows": rows}


def _split(rows: list[dict[str, float]]) -> Any:
    return {"dataframe_split": {"columns": COLUMNS, "data": [list(row.values()) for row in rows]}}


def _tensor(rows: list[dict[str, float]]) -> Any:
    values = [value for row in rows for value in row.values()]
    return {"inputs": [{"name": "x", "shape": [len(rows), len(COLUMNS)], "datatype": "FP64", "data": values}]}


_UVICORN = "{python} -m uvicorn --app-dir {servers} --host 127.0.0.1 --port {port} --loop uvloop --http httptools"
_QUIET = "--no-access-log --log-level warning"

FLOOR = Peer("bare ASGI, a fixed answer", f"{_UVICORN} {_QUIET} fixed_answer:app", "/", by_name, None, "uvicorn")
FASTAPI = Peer(
    "bare FastAPI, our ONNX graph",
    f"{_UVICORN} {_QUIET} bare_fastapi:app",
    "/predict",
    by_name,
    lambda answer: answer["predictions"][0]["probability"],
    "fastapi",
    {"MODEL_ONNX": "{folder}/model.onnx"},
)
MLFLOW = Peer(  # what `mlflow models serve` runs, but for the log
    "MLflow",
    f"{_UVICORN} {_QUIET} mlflow.pyfunc.scoring_server.app:app",
    "/invocations",
    _split,
    lambda answer: answer["predictions"][0],
    "mlflow",
    {"__pyfunc_model_path__": "{folder}/champion"},
)
MLSERVER = Peer(
    "MLServer",
    "{bin}/mlserver start {work}",
    "/v2/models/bench/infer",
    _tensor,
    lambda answer: answer["outputs"][0]["data"][0],
    "mlserver",
    files={
        "settings.json": {
            "debug": False,
            "host": "127.0.0.1",
            "http_port": "{port}",
            "grpc_port": "{port1}",
            "metrics_endpoint": None,
            "metrics_port": "{port2}",
            "parallel_workers": 0,
            "gzip_enabled": False,
        },
        "model-settings.json": {
            "name": "bench",
            "implementation": "mlserver_lightgbm.LightGBMModel",
            "parameters": {"uri": "{folder}/model.txt"},
        },
    },
)
LITSERVE = Peer(
    "LitServe",
    "{python} {servers}/litserve_server.py --port {port}",
    "/predict",
    by_name,
    lambda answer: answer["probabilities"][0],
    "litserve",
    {"MODEL_TXT": "{folder}/model.txt"},
)
LITSERVE_FAST = replace(LITSERVE, name="LitServe, fast queue", command=f"{LITSERVE.command} --fast-queue")
BENTOML = Peer(
    "BentoML",
    "{bin}/bentoml serve --host 127.0.0.1 --port {port} --working-dir {servers} bentoml_service:Model",
    "/predict",
    by_name,
    lambda answer: answer[0],
    "bentoml",
    {"MODEL_TXT": "{folder}/model.txt", "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{work}"},
)


def asked(peer: Peer, rows: list[dict[str, float]]) -> str:
    """The body of a request for these rows."""
    return json.dumps(peer.body(rows), separators=(",", ":"))


@contextmanager
def running(peer: Peer, python: str, made: Made, work: Path, ports: list[int]) -> Iterator[str]:
    """Starts it, checks that it answers what the model says, yields its version, and stops it."""
    python = str(Path(python).absolute())
    places = {
        "python": python,
        "bin": str(Path(python).parent),
        "servers": str(SERVERS),
        "folder": str(made.folder),
        "work": str(work),
        "port": str(ports[0]),
        "port1": str(ports[1]),
        "port2": str(ports[2]),
    }
    for name, content in peer.files.items():
        (work / name).write_text(json.dumps(_placed(content, places)))
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "OMP_NUM_THREADS": "1", **_placed(peer.env, places)}
    command = [_placed(word, places) for word in peer.command.split()]
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=work, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(peer, process, made, ports[0], work)
        yield _version(python, peer.package)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], patience_s: float = 10) -> None:
    """Asks the process to end, then makes all of its group end."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(peer: Peer, process: subprocess.Popen[bytes], made: Made, port: int, work: Path) -> None:
    body = asked(peer, made.rows[:1]).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{peer.path}", body, headers)
    until = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                answer = json.load(response)
            break
        except OSError as error:
            if process.poll() is not None or time.monotonic() > until:
                told = (work / "log").read_text(errors="replace").strip().splitlines()
                raise RuntimeError(f"{peer.name} does not answer: {error}; {(told or ['no log'])[-1]}") from error
            time.sleep(0.2)
    if peer.read is not None and abs(peer.read(answer) - made.champion[0]) > 1e-6:
        raise RuntimeError(f"{peer.name} answers {peer.read(answer)}, the model says {made.champion[0]}")


def _version(python: str, package: str) -> str:
    script = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    return f"{package} {found}"


def _placed(content: Any, places: Mapping[str, str]) -> Any:
    """The content with its places filled in."""
    if isinstance(content, Mapping):
        return {name: _placed(value, places) for name, value in content.items()}
    if not isinstance(content, str):
        return content
    return content.format_map(places)
