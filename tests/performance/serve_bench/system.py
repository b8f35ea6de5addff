"""Ours: `optagent up` in a home of its own, used as a stranger would, by command line and HTTP."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from optagent.adapters.state.embedded.embedded_redis import read_endpoint
from optagent.adapters.state.redis.routes import RedisRoutes
from optagent.domain.rollout_look import RolloutState
from optagent.domain.routing import RoutingTable
from tests.performance.serve_bench.load import Target
from tests.performance.serve_bench.made import MODEL, Made, model_yaml
from tests.performance.serve_bench.peers import SERVERS, by_name

OPTAGENT = Path(sys.executable).with_name("optagent")
FAMILY = "faulty:Faulty"
START_S, LOAD_S, TUNE_S = 300.0, 120.0, 300.0
UNDECIDED = (str(RolloutState.SHADOW), str(RolloutState.RAMP))
PREDICT = f"/api/v1/models/{MODEL}/predict"


class Refused(RuntimeError):
    """An API call was answered with an error."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


class System:
    """Brought up by `serving`. `champion` and `candidate` are versions, made of the same files as the peers' model."""

    champion, candidate = "1", "2"

    def __init__(self, work: Path, replicas: int, made: Made) -> None:
        self.made = made
        self.home = work / "home"
        self.fault = work / "fault"
        self.port = free_ports(1)[0]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPT_AGENT_", "RAY_"))}
        self._env = {
            **kept,
            "OPT_AGENT_HOME": str(self.home),
            "OPT_AGENT_API_PORT": str(self.port),
            "OPT_AGENT_GATEWAY_REPLICAS": str(replicas),
            "OPT_AGENT_REQUESTS_PER_MINUTE": "100000",
            "OPT_AGENT_PREDICTIONS_PER_MINUTE": "10000000",
            "PYTHONPATH": str(SERVERS),
            "BENCH_FAULT": str(self.fault),
        }
        self._env.pop("PYTHONDONTWRITEBYTECODE", None)
        self._work = work
        self._token = ""
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)

    def cli(self, *words: str, timeout_s: float = 120) -> str:
        """What a command prints; RuntimeError with its last words where it fails."""
        command = [str(OPTAGENT), *words]
        try:
            done = subprocess.run(
                command, env=self._env, cwd=self._work, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"optagent {words[0]} takes longer than {timeout_s:g} s") from None
        if done.returncode:
            said = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
            raise RuntimeError(f"optagent {words[0]} ended with {done.returncode}: {' | '.join(said[-5:])}")
        return done.stdout

    def call(self, method: str, path: str, body: Any = None, model: str = MODEL) -> Any:
        """An API call, below /api/v1 and, where the path says {model}, on the model."""
        url = f"/api/v1{path.format(model=f'/models/{model}')}"
        try:
            answer = self._http.request(method, url, json=body, headers=self._headers)
        except httpx.HTTPError as error:
            raise RuntimeError(f"{method} {url}: {error!r}") from error
        if answer.is_error:
            said = f"{method} {url} answered {answer.status_code}: {answer.text[:500]}"
            raise Refused(said, answer.status_code)
        return answer.json()

    def target(self, rows: int = 1) -> Target:
        body = json.dumps(by_name(self.made.rows[:rows]), separators=(",", ":"))
        return Target(self.port, PREDICT, body, self._headers)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    # --- the way up and down

    def up(self) -> None:
        self.cli("up", timeout_s=START_S)
        made = self.cli("token", "create", "bench", "--scope", "admin", "--scope", "predict")
        found = re.search(r"oa_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", made)
        if found is None:
            raise RuntimeError("optagent token create printed no token")
        self._token = found[0]
        self.register(["lightgbm"])
        for name in ("champion", "candidate"):
            self.cli("import", str(self.made.folder / name), "--as", MODEL)
        self.route()
        self.wait(lambda: self._share() is not None, LOAD_S, "a first answer")
        share, meant = self._share(), self.made.champion[0]
        if share is None or abs(share - meant) > 1e-6:
            raise RuntimeError(f"it answers {share}, the model says {meant}")

    def route(self) -> None:
        """Waits for the supervisor, which has the first version answer."""

    def down(self) -> None:
        """Never raises, so that what went wrong before is what is told."""
        self._http.close()
        try:
            self.cli("down")
        except RuntimeError as error:
            print(f"\n{error}", flush=True)

    def register(self, families: list[str]) -> None:
        path = self._work / "model.yaml"
        path.write_text(yaml.safe_dump(model_yaml(self.made.folder, families=families)))
        self.cli("register", str(path))

    def _share(self) -> float | None:
        """The probability of class 1 for the first row, once there is an answer."""
        try:
            answer = self._http.post(PREDICT, json=by_name(self.made.rows[:1]), headers=self._headers)
        except httpx.HTTPError:
            return None
        return float(answer.json()["predictions"][0]["probabilities"]["1"]) if answer.is_success else None

    # --- rollouts

    def start_rollout(self, candidate: str, policy: Mapping[str, Any]) -> None:
        """Starts a rollout and waits until its table is the active one; on a slow machine the call itself gives up."""
        try:
            self.call("POST", "{model}/rollout", {"candidate": candidate, "policy": policy})
        except Refused as error:
            if error.status != 503:
                raise
        self.wait(lambda: candidate in self.table().versions, LOAD_S, f"a table with version {candidate}")

    def act(self, verb: str) -> Any:
        """Promotes, aborts or rolls back; done when its table is active."""
        return self.call("POST", f"{{model}}/rollout/{verb}", {"why": "the benchmark says so"})

    def rollout(self) -> Any:
        return self.call("GET", "{model}/rollout")

    @contextmanager
    def rolling_out(self, candidate: str, policy: Mapping[str, Any]) -> Iterator[None]:
        """A rollout that is aborted at the end, if it has not ended by itself."""
        self.start_rollout(candidate, policy)
        try:
            yield
        finally:
            if self.rollout()["state"] in UNDECIDED:
                self.act("abort")
            alone = (self.champion,)
            self.wait(lambda: self.table().versions == alone, LOAD_S, "a table of the champion alone")

    def table(self) -> RoutingTable:
        """The active routing table, from where the gateways have it."""
        return asyncio.run(self._table())

    async def _table(self) -> RoutingTable:
        endpoint = read_endpoint(self.home / "redis")
        if endpoint is None:
            raise RuntimeError("there is no embedded Redis server")
        routes = RedisRoutes(endpoint.url)
        try:
            found = await routes.active_table(MODEL)
        finally:
            await routes.close()
        if found is None:
            raise RuntimeError(f"{MODEL} has no routing table")
        return found

    # --- searches and processes

    def faulty_version(self) -> str:
        """A version that misbehaves on demand, made by a search of one trial."""
        self.register([FAMILY])
        process = self.start_search(1)
        self.wait(lambda: self.search(process)["status"] not in ("queued", "pending", "running"), TUNE_S, "a search")
        ended = self.search(process)
        self.register(["lightgbm"])
        if ended["status"] != "succeeded":
            raise RuntimeError(f"the search of {FAMILY} ended as {ended['status']}: {ended['error']}")
        return str(self.call("GET", "{model}/versions")[0]["version"])

    def start_search(self, trials: int) -> str:
        asked = {"model_id": MODEL, "max_trials": trials, "timeout_seconds": 3600}
        return str(self.call("POST", "/optimization/hyperparameter", asked)["process_id"])

    def search(self, process_id: str) -> Any:
        return self.call("GET", f"/optimization/status/{process_id}")

    def pids(self, named: str) -> list[int]:
        """Processes of this system, and of no other on the machine: a program's name, or how a Ray title begins."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            title = (process.info["cmdline"] or [""])[0]
            if (title.startswith(named) or Path(title).name == named) and self._is_ours(process):
                found.append(process.pid)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether it, or what started it, was given our home: titles of workers overwrite their own environment."""
        try:
            line = [process, *process.parents()]
            return any(one.environ().get("OPT_AGENT_HOME") == str(self.home) for one in line if one.pid > 1)
        except psutil.Error:
            return False

    def wait(self, until: Callable[[], bool], limit_s: float, what: str) -> float:
        """The seconds that it took."""
        began = time.monotonic()
        while not until():
            if time.monotonic() - began > limit_s:
                raise RuntimeError(f"waited {limit_s:g} s for {what}")
            time.sleep(0.05)
        return time.monotonic() - began


@contextmanager
def serving(work: Path, replicas: int, made: Made, kind: type[System] = System) -> Iterator[System]:
    """Up with two versions registered, the first champion; down at the end, whatever happens."""
    work.mkdir()
    system = kind(work, replicas, made)
    try:
        system.up()
        yield system
    finally:
        system.down()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
