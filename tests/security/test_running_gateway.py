"""The running product under callers who hold what others need: predictions go on, and nothing is done twice."""

import asyncio
import json
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.bootstrap import parts
from optagent.domain.process import Process, Status
from optagent.settings import load_settings
from tests.e2e.test_serving import Product, admin, gateways, product, until
from tests.security.held_connections import hold_connections

__all__ = ["admin", "product"]

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("served")]

HELD = 1000
RUNNING = "tune-0123456789ab"
ROUNDS = 3
ROW = {"row": {"a": 1.0, "b": 1.0, "region": "east"}}


@pytest.fixture(scope="module")
def served(
    product: Product,
    admin: httpx.Client,
    make_rows: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A model with a champion that answers, and a process that is said to run for as long as these tests.

    Trained in this process: trials of the product are idle work, which waits while the machine is busy.
    """
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    pq.write_table(make_rows(), path)
    fields = {"task": "binary", "target": "label", "ignore": ["value", "sex", "day"], "families": ["linear"]}
    asyncio.run(_train(product, {"id": "churn", "data": str(path), "folds": 2, **fields}))
    until(lambda: _answers(admin), within_s=120)


async def _train(product: Product, model: dict[str, Any]) -> None:
    settings, now = load_settings(home=product.home), time.time()
    async with await create_optimization_agent(settings, strict=True, tuner=SequentialTuner()) as agent:
        await agent.register_model(model)
        await agent.tune_hyperparameters(model["id"], method="random", trials=1)
    async with AsyncExitStack() as resources:
        store = parts.store(parts.redis_url(settings, resources), settings)
        resources.push_async_callback(store.close)
        await store.create_process(Process(RUNNING, "tune", model["id"], Status.RUNNING, now, now), 3600.0)


@pytest.fixture(scope="module")
def address(product: Product) -> tuple[str, int]:
    url = urlsplit(product.api)
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


@pytest.fixture
def shop(product: Product) -> Iterator[httpx.Client]:
    """A client with a token that may predict, which the gateway knows."""
    made = product.run("token", "create", "shop", "--scope", "predict", "--json")
    assert made.returncode == 0, made.stderr
    with product.client(json.loads(made.stdout)["token"]) as client:
        until(lambda: client.post("/models/churn/predict", json=ROW).status_code == 200)
        yield client


def latencies_ms(client: httpx.Client, seconds: float = 6.0) -> list[float]:
    """The latencies of predictions that are asked one after the other; each must be answered."""
    taken, until_s = [], time.monotonic() + seconds
    while time.monotonic() < until_s:
        start = time.perf_counter()
        answer = client.post("/models/churn/predict", json=ROW)
        taken.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == 200, answer.text
        time.sleep(0.005)
    return taken


def assert_predictions_go_on(client: httpx.Client, hold: Callable[[], Any], says: Callable[[str], None]) -> None:
    """Compares p99 before and while connections are held, in rounds; the machine may have other work in one of them."""
    ratios = []
    for _ in range(ROUNDS):
        before = float(np.percentile(latencies_ms(client), 99))
        with hold() as held:
            until(lambda held=held: held.open > 0.15 * HELD or sum(held.answers.values()) > HELD / 2)
            time.sleep(3)
            during = float(np.percentile(latencies_ms(client), 99))
            says(f"p99 {before:.1f} ms before, {during:.1f} ms during, {held.open} open, answers {dict(held.answers)}")
        ratios.append(during / before)
        if ratios[-1] <= 2:
            return
    assert min(ratios) <= 2, ratios


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return show


def test_a_thousand_sign_in_forms_that_never_end_leave_predictions_alone(shop, address, says) -> None:
    head = (
        b"POST /dashboard/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 5000\r\n\r\ntoken="
    )
    assert_predictions_go_on(shop, lambda: hold_connections(*address, head, HELD, b"x"), says)


def test_a_thousand_half_open_requests_leave_predictions_alone(shop, address, says) -> None:
    head = b"GET /dashboard HTTP/1.1\r\nHost: x\r\nX-Slow: "
    assert_predictions_go_on(shop, lambda: hold_connections(*address, head, HELD, b"x"), says)


def test_the_head_of_a_request_has_ten_seconds(address) -> None:
    with hold_connections(*address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", 1, b"x") as held:
        until(lambda: held.answers, within_s=30)
        assert set(held.answers) <= {0, 408}


def test_a_thousand_streams_of_one_token_leave_predictions_alone(product, shop, address, says) -> None:
    made = product.run("token", "create", "reader", "--scope", "read", "--json")
    token = json.loads(made.stdout)["token"]
    path = f"/api/v1/optimization/status/{RUNNING}/events"
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    def hold() -> Any:
        return hold_connections(*address, head, HELD)

    assert_predictions_go_on(shop, hold, says)
    with hold() as held:
        until(lambda: held.answers[429] > 100)
        assert held.answers[200] <= 4


def test_a_chunked_body_without_end_is_refused_and_its_connection_ended(address) -> None:
    head = b"POST /dashboard/sign-in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(address, 30) as connection:
        connection.settimeout(30)
        connection.sendall(head)
        stop = threading.Event()

        def flood() -> None:
            chunk = b"%x\r\n" % 50_000 + b"x" * 50_000 + b"\r\n"
            while not stop.is_set():
                try:
                    connection.sendall(chunk)
                except OSError:
                    return

        sender = threading.Thread(target=flood, daemon=True)
        sender.start()
        try:
            assert b" 413 " in connection.recv(200).split(b"\r\n")[0]
            while connection.recv(65_536):
                pass
        except ConnectionResetError:
            pass
        finally:
            stop.set()
            sender.join(30)


def test_a_request_whose_gateway_is_killed_is_told_so_and_not_sent_to_another(product, shop, address) -> None:
    [gateway] = gateways(product)
    token = shop.headers["Authorization"]
    head = f"POST /api/v1/models/churn/predict HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 50\r\n"
    with socket.create_connection(address, 60) as connection:
        connection.sendall(head.encode() + b'Content-Type: application/json\r\n\r\n{"row": {')
        time.sleep(1)
        os.kill(gateway, signal.SIGKILL)
        connection.settimeout(60)
        response = connection.recv(4000)
    if response:  # HAProxy ends the connection without an answer where its own to the gateway had been used before
        assert response.startswith(b"HTTP/1.1 502 "), response
        assert b"application/problem+json" in response
        assert b"retry-after: 2" in response.lower()
        assert b"may have been done" in response
    until(lambda: _answers(shop))


def _answers(client: httpx.Client) -> bool:
    try:
        return client.post("/models/churn/predict", json=ROW).status_code == 200
    except httpx.TransportError:
        return False


def test_nobody_else_can_enter_the_folder_of_haproxys_socket(product: Product) -> None:
    scratch = Path(json.loads((product.home / "up" / "head.json").read_text())["scratch"])
    assert list(scratch.rglob("admin.sock"))
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
