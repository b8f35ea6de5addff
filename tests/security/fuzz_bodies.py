"""Fuzz of a running gateway with mutated bodies: no answer of 5xx, an event loop that goes on, memory that stays flat.

`python -m tests.security.fuzz_bodies --requests 20000` starts the product as `optagent up` does, with Ray, Redis and a
model that it trains; `--alone` starts only a gateway over ports in memory. The same `--seed` sends the same bodies.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from optagent.adapters.cluster.free_ports import free_port
from tests.fakes.data_plane import MOST_BODY, ROW, started_plane
from tests.security.mutated_bodies import MutatedBody, mutate, valid_bodies

AT_ONCE = 8
PROBE_S = 0.25
MOST_PROBE_S = 10.0  # with all else that the machine does; a loop that is lost never answers
MOST_GROWTH_BYTES = 64_000_000
WARM_REQUESTS = 2_000


@dataclass
class Target:
    """A running gateway: its API, a token and its process."""

    api: str
    token: str
    process: psutil.Process

    @property
    def memory(self) -> int:
        return int(self.process.memory_info().rss)


@dataclass
class Outcome:
    """The answers by status, what went wrong, the slowest probe in seconds, and the growth of memory in bytes."""

    statuses: Counter[int] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    slowest_probe_s: float = 0.0
    growth: int = 0

    def complain(self, trouble: str) -> None:
        self.troubles.append(trouble)


@contextlib.contextmanager
def gateway_alone() -> Iterator[Target]:
    """A gateway of two models without a store, behind uvicorn in a process of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.security.fuzz_bodies", "--serve", str(port)])
    try:
        target = Target(f"http://127.0.0.1:{port}/api/v1", "good", psutil.Process(process.pid))
        _wait_until_answered(target, 60)
        yield target
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def product_up() -> Iterator[Target]:
    """The whole product with one trained model, as `optagent up` starts it."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "OPT_AGENT_HOME": home,
            "OPT_AGENT_DATA_ROOTS": home,
            "OPT_AGENT_API_PORT": str(free_port()),
            "OPT_AGENT_NUM_CPUS": "2",
            "OPT_AGENT_MAX_BODY_MB": str(MOST_BODY / 1e6),
        }
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

        def run(*arguments: str) -> str:
            command = [sys.executable, "-m", "optagent.cli", *arguments]
            return subprocess.run(
                command, env=environment | settings, cwd=home, check=True, capture_output=True, text=True, timeout=300
            ).stdout

        text = run("up")
        try:
            api, token = re.search(r"API +(http\S+)", text), re.search(r"oa_[0-9a-f]{12}_\S{43}", text)
            assert api is not None
            assert token is not None
            head = psutil.Process(json.loads((Path(home) / "up" / "head.json").read_text())["pid"])
            target = Target(api[1], token[0], head)
            _train_model(target, Path(home))
            target.process = _find_gateway(home)
            yield target
        finally:
            run("down")


def _train_model(target: Target, folder: Path) -> None:
    chance = np.random.default_rng(0)
    a, flag = chance.normal(size=400), chance.random(400) < 0.5
    columns = {
        "a": a,
        "city": chance.choice(["Bern", "Oslo"], 400),
        "day": pa.array((1.7e15 + 8.64e10 * np.arange(400)).astype(np.int64), pa.timestamp("us")),
        "flag": flag,
        "label": np.where(a + flag + chance.normal(size=400) > 0.5, "yes", "no"),
    }
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    model = {
        "id": "churn",
        "task": "binary",
        "data": str(folder / "rows.parquet"),
        "target": "label",
        "folds": 2,
        "families": ["lightgbm"],
    }
    with httpx.Client(base_url=target.api, headers={"Authorization": f"Bearer {target.token}"}, timeout=60) as client:
        client.post("/models", json=model).raise_for_status()
        ask = {"model_id": "churn", "optimization_method": "random", "max_trials": 1}
        client.post("/optimization/hyperparameter", json=ask).raise_for_status()
    _wait_until_answered(target, 300)


def _wait_until_answered(target: Target, within_s: float) -> None:
    give_up = time.monotonic() + within_s
    reason = ""
    while time.monotonic() < give_up:
        try:
            answer = _predict_one(target)
            if answer.is_success:
                return
            reason = answer.text
        except httpx.TransportError as error:
            reason = str(error)
        time.sleep(0.2)
    raise TimeoutError(f"no prediction within {within_s:g} s: {reason}")


def _predict_one(target: Target) -> httpx.Response:
    headers = {"Authorization": f"Bearer {target.token}"}
    return httpx.post(f"{target.api}/models/churn/predict", json={"row": ROW}, headers=headers, timeout=30)


def _find_gateway(home: str) -> psutil.Process:
    """The process of the gateway that was started with this home."""
    for process in psutil.process_iter(["cmdline"]):
        command = "".join(process.info["cmdline"] or ())
        with contextlib.suppress(psutil.Error):
            if "ServeReplica" in command and "Gateway" in command and process.environ().get("OPT_AGENT_HOME") == home:
                return process
    raise LookupError(f"no gateway of {home} runs")


async def fuzz(target: Target, requests: int, seed: int, within_s: float) -> Outcome:
    """Sends mutated bodies, with a probe beside them; stops early where `within_s` are over."""
    outcome, chance, bodies = Outcome(), random.Random(seed), valid_bodies()
    headers = {"Authorization": f"Bearer {target.token}"}
    give_up = time.monotonic() + within_s
    numbers = iter(range(requests))
    memory_when_warm = 0

    async with httpx.AsyncClient(base_url=target.api, headers=headers, timeout=60) as client:

        async def send_all() -> None:
            nonlocal memory_when_warm
            for number in numbers:
                body = mutate(chance, bodies)
                await _send(client, number, body, outcome)
                if number == min(WARM_REQUESTS, requests // 4):
                    memory_when_warm = target.memory
                if time.monotonic() > give_up:
                    return

        for body in bodies:
            await _send(client, -1, body, outcome)
        if set(outcome.statuses) != {200}:
            outcome.complain(f"valid bodies are refused: {dict(outcome.statuses)}")
        probing = asyncio.create_task(_probe(target, headers, outcome))
        await asyncio.gather(*(send_all() for _ in range(AT_ONCE)))
        probing.cancel()
    if not _predict_one(target).is_success:
        outcome.complain("a valid row is not answered at the end")
    outcome.growth = target.memory - memory_when_warm
    if outcome.growth > MOST_GROWTH_BYTES:
        outcome.complain(f"memory grew by {outcome.growth / 1e6:.0f} MB")
    if outcome.slowest_probe_s > MOST_PROBE_S:
        outcome.complain(f"a probe took {outcome.slowest_probe_s:.1f} s")
    return outcome


async def _send(client: httpx.AsyncClient, number: int, body: MutatedBody, outcome: Outcome) -> None:
    try:
        answer = await client.post(
            f"/models/churn/{body.verb}", content=body.body, headers={"Content-Type": body.content_type}
        )
    except httpx.HTTPError as error:
        outcome.complain(f"request {number}: {type(error).__name__} {error}: {body.body[:300]!r}")
        return
    outcome.statuses[answer.status_code] += 1
    if answer.status_code >= 500:
        outcome.complain(f"request {number}: {answer.status_code} {answer.text[:300]}: {body.body!r:.3000}")


async def _probe(target: Target, headers: dict[str, str], outcome: Outcome) -> None:
    """Asks for one valid row again and again, on connections of its own."""
    async with httpx.AsyncClient(base_url=target.api, headers=headers, timeout=60) as client:
        while True:
            started_s = time.perf_counter()
            try:
                (await client.post("/models/churn/predict", json={"row": ROW})).raise_for_status()
            except httpx.HTTPError as error:
                outcome.complain(f"the probe: {type(error).__name__} {error}")
            outcome.slowest_probe_s = max(outcome.slowest_probe_s, time.perf_counter() - started_s)
            await asyncio.sleep(PROBE_S)


async def _serve(port: int) -> None:
    import uvicorn

    async with started_plane() as caller:
        config = uvicorn.Config(caller.application, port=port, log_level="warning", lifespan="off")
        await uvicorn.Server(config).serve()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--within-s", type=float, default=900.0)
    options.add_argument("--alone", action="store_true", help="a gateway over ports in memory, in seconds")
    options.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve:
        asyncio.run(_serve(chosen.serve))
        return 0
    started_s = time.monotonic()
    with gateway_alone() if chosen.alone else product_up() as target:
        outcome = asyncio.run(fuzz(target, chosen.requests, chosen.seed, chosen.within_s))
    print(
        f"{outcome.statuses.total():,} bodies in {time.monotonic() - started_s:.0f} s: {dict(outcome.statuses)}; "
        f"slowest probe {outcome.slowest_probe_s * 1000:.0f} ms; memory grew by {outcome.growth / 1e6:.1f} MB"
    )
    for trouble in outcome.troubles[:20]:
        print(trouble)
    return bool(outcome.troubles)


if __name__ == "__main__":
    sys.exit(main())
