"""The whole product over HTTP, as a stranger would use it: up, register, search, predict, roll out, look, down."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.timeout(400)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Product:
    """One `optagent up`, its command line and its API."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "OPT_AGENT_HOME": str(home),
            "OPT_AGENT_API_PORT": str(free_port()),
            "OPT_AGENT_NUM_CPUS": "2",
            "OPT_AGENT_MAX_PROCESSES": "1",
            "OPT_AGENT_SUPERVISE_EVERY_SECONDS": "0.2",
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "optagent.cli", *arguments]
        return subprocess.run(
            command, env=self._environment, cwd=self.home, capture_output=True, text=True, timeout=300
        )

    def up(self) -> None:
        done = self.run("up")
        assert done.returncode == 0, done.stderr + self.log
        self.said = done.stdout
        self.api = re.search(r"API +(http\S+)", done.stdout)[1]
        self.token = re.search(r"oa_[0-9a-f]{12}_\S{43}", done.stdout)[0]
        self.head = json.loads((self.home / "up" / "head.json").read_text())["pid"]

    def client(self, token: str | None) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.api, headers=headers, timeout=60)

    @property
    def log(self) -> str:
        log = self.home / "up" / "head.log"
        return log.read_text() if log.exists() else ""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("home"))
    try:
        made.up()
        yield made
    finally:
        made.run("down")


@pytest.fixture(scope="module")
def admin(product: Product) -> Iterator[httpx.Client]:
    with product.client(product.token) as client:
        yield client


@pytest.fixture(scope="module")
def rows(make_rows: Callable[..., Any]) -> list[dict[str, Any]]:
    """Rows to predict, with their labels."""
    return make_rows(300, seed=5, missing=0).select(["a", "b", "region", "label"]).to_pylist()


@pytest.fixture(scope="module")
def served(admin: httpx.Client, make_rows: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registered model with two versions, of which the first is champion and answers."""
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    pq.write_table(make_rows(), path)
    asked = {
        "id": "churn",
        "task": "binary",
        "data": str(path),
        "target": "label",
        "ignore": ["value", "sex", "day"],
        "folds": 2,
        "families": ["lightgbm"],
    }
    answer = admin.post("/models", json=asked)
    assert answer.status_code == 201, answer.text
    for seed in (0, 1):
        tuned(admin, seed)
    until(lambda: admin.post("/models/churn/predict", json={"row": {"a": 1, "b": 1, "region": "east"}}).is_success)
    return "churn"


def tuned(admin: httpx.Client, seed: int) -> dict[str, Any]:
    asked = {"model_id": "churn", "optimization_method": "random", "max_trials": 2, "seed": seed}
    answer = admin.post("/optimization/hyperparameter", json=asked)
    assert answer.status_code == 202, answer.text
    process = followed(admin, answer.json()["status_url"].removeprefix("/api/v1"))
    assert process["status"] == "succeeded", process
    return process


def followed(admin: httpx.Client, url: str) -> dict[str, Any]:
    """A process once it has ended, by long polls."""
    process = admin.get(url).json()
    give_up = time.monotonic() + 120
    while process["status"] in ("queued", "pending", "running"):
        assert time.monotonic() < give_up, process
        process = admin.get(url, params={"wait": 20, "since": process["updated_at"]}).json()
    return process


def until(condition: Callable[[], Any], within_s: float = 90) -> Any:
    give_up = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return found


def predicted(client: httpx.Client, rows: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    asked = [{name: value for name, value in row.items() if name != "label"} for row in rows]
    answer = client.post("/models/churn/predict", json={"rows": asked, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_up_says_where_everything_is_and_all_parts_are_well(product):
    for named in ("API", "reference", "dashboard", "token"):
        assert named in product.said
    with product.client(None) as stranger:
        health = stranger.get("/optimization/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok"), health.text
    assert "optagent" in httpx.get(product.api.replace("/api/v1", "/docs")).text


def test_up_twice_is_up_once(product):
    again = product.run("up")
    assert again.returncode == 0, again.stderr
    assert "it is up already" in again.stdout
    assert "oa_" not in again.stdout


def test_a_search_waits_in_the_queue_runs_and_registers_a_champion(admin, served):
    versions = admin.get("/models/churn/versions").json()
    assert [version["version"] for version in versions] == ["2", "1"]
    assert admin.get("/models/churn/aliases").json()["champion"] == "1"
    processes = admin.get("/optimization/processes", params={"model_id": "churn"}).json()["processes"]
    assert {process["status"] for process in processes} == {"succeeded"}
    assert processes[0]["progress"]["trials_done"] == 2


def test_a_queued_search_can_be_taken_back(admin, served):
    asked = {"model_id": "churn", "optimization_method": "random", "max_trials": 40, "timeout_seconds": 100}
    running, waiting = (admin.post("/optimization/hyperparameter", json=asked).json() for _ in range(2))
    assert admin.get(f"/optimization/status/{waiting['process_id']}").json()["status"] == "queued"
    for process in (waiting, running):
        assert admin.post(f"/optimization/{process['process_id']}/cancel").status_code == 202
        assert followed(admin, f"/optimization/status/{process['process_id']}")["status"] == "cancelled"


def test_predictions_and_labels_are_recorded_and_analyzed(admin, served, rows):
    answers = predicted(admin, rows)
    assert {answer["version"] for answer in answers} == {"1"}
    assert all(abs(sum(answer["probabilities"].values()) - 1) < 1e-6 for answer in answers)
    labels = [{"id": answer["id"], "label": row["label"]} for answer, row in zip(answers, rows, strict=True)]
    taken = admin.post("/models/churn/labels", json={"labels": labels})
    assert (taken.status_code, taken.json()["recorded"]) == (200, len(rows))

    def analyzed() -> dict[str, Any] | None:
        asked = {"model_id": "churn", "analysis_type": "performance", "time_range": "1h"}
        report = admin.post("/optimization/analyze", json=asked)
        assert report.status_code == 200, report.text
        return report.json() if (report.json()["quality"] or {}).get("labelled", 0) >= len(rows) else None

    report = until(analyzed)
    assert report["version"] == "1"
    assert {metric["name"] for metric in report["performance"]["metrics"]} >= {"accuracy", "auc"}


def test_a_candidate_is_shadowed_promoted_and_rolled_back(admin, served, rows):
    policy = {"min_rows": 100, "baking_s": 600, "budget_ms": 10_000}
    started = admin.post("/models/churn/rollout", json={"candidate": "2", "policy": policy})
    assert (started.status_code, started.json()["state"]) == (201, "shadow"), started.text
    refused = admin.put("/models/churn/aliases/champion", json={"version": "2"})
    assert refused.status_code == 409, refused.text
    answers = predicted(admin, rows)
    assert {answer["version"] for answer in answers} == {"1"}
    labels = [{"id": answer["id"], "label": row["label"]} for answer, row in zip(answers, rows, strict=True)]
    assert admin.post("/models/churn/labels", json={"labels": labels}).status_code == 200
    looks = until(lambda: admin.get("/models/churn/rollout").json()["looks"])
    assert looks[-1]["look"]["state"] == "shadow"
    assert looks[-1]["look"]["rows"] > 0

    promoted = admin.post("/models/churn/rollout/promote", json={"why": "it looks good"})
    assert (promoted.status_code, promoted.json()["state"]) == (200, "baking"), promoted.text
    assert {answer["version"] for answer in predicted(admin, rows[:3])} == {"2"}
    until(lambda: admin.get("/models/churn/aliases").json()["champion"] == "2")

    back = admin.post("/models/churn/rollout/rollback", json={"why": "it does not"})
    assert (back.status_code, back.json()["state"]) == (200, "rolled back"), back.text
    assert {answer["version"] for answer in predicted(admin, rows[:3])} == {"1"}
    until(lambda: admin.get("/models/churn/aliases").json()["champion"] == "1")
    reasons = [entry["detail"] for entry in admin.get("/audit").json() if entry["action"] == "rollout.promote"]
    assert [detail["why"] for detail in reasons] == ["it looks good"]


def test_a_served_model_is_watched(product, served):
    def watched() -> list[tuple[str, bool]]:
        said = product.run("monitors", "--json")
        assert said.returncode == 0, said.stderr
        return [(one["model_id"], one["alive"]) for one in json.loads(said.stdout)]

    assert until(watched) == [("churn", True)]


def test_a_token_does_what_its_scopes_say_until_it_is_revoked(product, admin, served, rows):
    made = product.run("token", "create", "shop", "--scope", "predict", "--json")
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)
    with product.client(token["token"]) as shop:
        assert predicted(shop, rows[:1], key="customer-17")
        assert shop.get("/models").status_code == 403
        assert product.run("token", "revoke", token["token_id"]).returncode == 0
        until(lambda: shop.post("/models/churn/predict", json={"row": {}}).status_code == 401)
    forged = product.token[:-1] + ("A" if product.token[-1] != "A" else "B")
    for bad in (None, forged):
        with product.client(bad) as stranger:
            assert stranger.get("/models").status_code == 401
    assert any(entry["action"] == "auth.refused" for entry in admin.get("/audit").json())


def test_down_leaves_no_process(product):
    """The last: the others need what is up."""
    head = psutil.Process(product.head)
    below = [head, *head.children(recursive=True)]
    assert len(below) > 5
    done = product.run("down")
    assert done.returncode == 0, done.stderr
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    named = [process.info for process in psutil.process_iter(["pid", "cmdline"]) if _is_of(process, product.home)]
    assert named == []
    again = product.run("down")
    assert (again.returncode, again.stdout.strip()) == (0, "nothing is up")


def _is_of(process: psutil.Process, home: Path) -> bool:
    return any(str(home) in argument for argument in process.info["cmdline"] or ())
