"""The whole product over HTTP, as a stranger would use it: up, register, search, predict, roll out, look, down."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from prometheus_client.parser import text_string_to_metric_families

from optagent.bootstrap import model_parts
from optagent.loop.train.load import load_version
from optagent.serving.engine import Answer, Engine, ServedModel
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.settings import load_settings

pytestmark = pytest.mark.timeout(900)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Product:
    """One `optagent up`, its command line and its API; one at a time on a machine, since ports of Ray are fixed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._turn = FileLock(Path(tempfile.gettempdir()) / "optagent-tests-up.lock")
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "OPT_AGENT_HOME": str(home),
            "OPT_AGENT_DATA_ROOTS": str(home.parent),
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
        self._turn.acquire(timeout=800)
        done = self.run("up")
        assert done.returncode == 0, done.stderr + self.log
        self.said = done.stdout
        self.api = re.search(r"API +(http\S+)", done.stdout)[1]
        self.token = re.search(r"oa_[0-9a-f]{12}_\S{43}", done.stdout)[0]
        self.head = json.loads((self.home / "up" / "head.json").read_text())["pid"]

    def end(self) -> None:
        """Takes everything down, and lets the next one up."""
        try:
            self.run("down")
        finally:
            self._turn.release()

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
        made.end()


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


def tuned(admin: httpx.Client, seed: int, model_id: str = "churn", trials: int = 2) -> dict[str, Any]:
    asked = {"model_id": model_id, "optimization_method": "random", "max_trials": trials, "seed": seed}
    return done(admin, "hyperparameter", asked)


def done(admin: httpx.Client, what: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The result of an optimization that is submitted and followed to its end."""
    answer = admin.post(f"/optimization/{what}", json=asked)
    assert answer.status_code == 202, answer.text
    process = followed(admin, answer.json()["status_url"].removeprefix("/api/v1"))
    assert process["status"] == "succeeded", process
    result: dict[str, Any] = process["result"]
    return result


def followed(admin: httpx.Client, url: str) -> dict[str, Any]:
    """A process once it has ended, by long polls."""
    process = admin.get(url).json()
    give_up = time.monotonic() + 600
    while process["status"] in ("queued", "pending", "running"):
        assert time.monotonic() < give_up, process
        process = admin.get(url, params={"wait": 20, "since": process["updated_at"]}).json()
    return process


def until(condition: Callable[[], Any], within_s: float = 300) -> Any:
    give_up = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return found


def predicted(
    client: httpx.Client, rows: list[dict[str, Any]], model_id: str = "churn", **more: Any
) -> list[dict[str, Any]]:
    asked = [{name: value for name, value in row.items() if name != "label"} for row in rows]
    answer = client.post(f"/models/{model_id}/predict", json={"rows": asked, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def test_up_says_where_everything_is_and_all_parts_are_well(product):
    for named in ("API", "reference", "/dashboard", "Ray's", "token"):
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


def test_an_answer_has_its_reasons_where_they_are_asked_for(admin, served, rows):
    answers = predicted(admin, rows[:20], explain=2)
    for answer in answers:
        reasons = answer["reasons"]
        contributions = [feature["contribution"] for feature in reasons["features"]]
        assert reasons["base"] + sum(contributions) + reasons["others"] == pytest.approx(reasons["sum"])
        assert abs(contributions[0]) >= abs(contributions[1])
        share = answer["probabilities"][str(reasons["of"])]
        assert math.log(share / (1 - share)) == pytest.approx(reasons["sum"], abs=1e-6)
    assert "reasons" not in predicted(admin, rows[:1])[0]


def test_a_queued_search_can_be_taken_back(admin, served):
    asked = {"model_id": "churn", "optimization_method": "random", "max_trials": 40, "timeout_seconds": 100}
    running, waiting = (admin.post("/optimization/hyperparameter", json=asked).json() for _ in range(2))
    assert admin.get(f"/optimization/status/{waiting['process_id']}").json()["status"] == "queued"
    for process in (waiting, running):
        assert admin.post(f"/optimization/{process['process_id']}/cancel").status_code == 202
        assert followed(admin, f"/optimization/status/{process['process_id']}")["status"] == "cancelled"


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no idle scheduling")
def test_beside_the_gateway_trials_are_idle_work(admin, served):
    asked = {"model_id": "churn", "optimization_method": "random", "max_trials": 400, "timeout_seconds": 100}
    process = admin.post("/optimization/hyperparameter", json=asked).json()["process_id"]
    try:
        until(lambda: os.SCHED_IDLE in schedulers_of_trials(process))
    finally:
        admin.post(f"/optimization/{process}/cancel")
        followed(admin, f"/optimization/status/{process}")


def schedulers_of_trials(process_id: str) -> set[int]:
    """The scheduling policies of the workers that do the trials of a search; Ray titles them by their class."""
    policies = set()
    for worker in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if f"Trial_{process_id}" in " ".join(worker.cmdline()):
                policies.add(os.sched_getscheduler(worker.pid))
    return policies


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
    until(lambda: {answer["version"] for answer in predicted(admin, rows[:3])} == {"2"}, within_s=5)
    until(lambda: admin.get("/models/churn/aliases").json()["champion"] == "2")

    back = admin.post("/models/churn/rollout/rollback", json={"why": "it does not"})
    assert (back.status_code, back.json()["state"]) == (200, "rolled back"), back.text
    until(lambda: {answer["version"] for answer in predicted(admin, rows[:3])} == {"1"}, within_s=5)
    until(lambda: admin.get("/models/churn/aliases").json()["champion"] == "1")
    reasons = [entry["detail"] for entry in admin.get("/audit").json() if entry["action"] == "rollout.promote"]
    assert [detail["why"] for detail in reasons] == ["it looks good"]


def test_the_dashboard_shows_it_all_to_who_has_a_token(product, admin, served):
    process = admin.get("/optimization/processes", params={"model_id": "churn"}).json()["processes"][-1]["process_id"]
    with httpx.Client(base_url=product.api.removesuffix("/api/v1"), follow_redirects=True, timeout=60) as browser:
        assert browser.get("/dashboard").url.path == "/dashboard/sign-in"
        shown = browser.post("/dashboard/sign-in", data={"token": product.token, "back": "/dashboard/models/churn"})
        assert shown.url.path == "/dashboard/models/churn", shown.text
        for named in ("rolled back", "it does not", "holdout_auc", process):
            assert named in shown.text
        for path, said in (
            ("", "churn"),
            ("/audit?verify=true", "The chain is whole."),
            ("/models/churn/analysis?range=1h", "plotly"),
            (f"/studies/{process}", "learning_rate"),
            (f"/studies/{process}/plots", "plotly"),
            ("/static/plotly.min.js", "plotly"),
        ):
            answer = browser.get(f"/dashboard{path}")
            assert (answer.status_code, said in answer.text) == (200, True), (path, answer.text[:2000])


def test_a_served_model_is_watched(product, served):
    def watched() -> list[tuple[str, bool]]:
        said = product.run("monitors", "--json")
        assert said.returncode == 0, said.stderr
        return [(one["model_id"], one["alive"]) for one in json.loads(said.stdout)]

    assert until(watched) == [("churn", True)]


def exporters(product: Product) -> Path:
    """The file in which Ray names the exporters of this product's cluster."""
    (session,) = Path("/tmp/ray").glob(f"session_*_{product.head}")
    return session / "prom_metrics_service_discovery.json"


def test_ray_exports_the_figures_of_models_and_of_the_system(product, served):
    def exported() -> bool:
        addresses = [target for group in json.loads(exporters(product).read_text()) for target in group["targets"]]
        text = "".join(httpx.get(f"http://{address}/metrics", timeout=10).text for address in addresses)
        names = {family.name for family in text_string_to_metric_families(text)}
        return {
            "ray_optagent_requests",
            "ray_optagent_model_health",
            "ray_optagent_part_up",
            "ray_optagent_redis_used_bytes",
        } <= names and 'model="churn"' in text

    assert until(exported)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: prometheus)")
def test_prometheus_answers_each_query_of_the_dashboard_and_each_rule(product, served, tmp_path):
    deploy, port = Path(__file__).parents[2] / "deploy", free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(deploy / "prometheus" / "rules.yaml")],
        "scrape_configs": [{"job_name": "optagent", "file_sd_configs": [{"files": [str(exporters(product))]}]}],
    }
    (tmp_path / "prometheus.yaml").write_text(json.dumps(config))
    dashboard = json.loads((deploy / "grafana" / "optagent.json").read_text())
    queries = {
        (panel["title"], target["refId"]): target["expr"].replace("$__rate_interval", "30s").replace("$model", ".*")
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    command = [
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yaml'}",
        f"--storage.tsdb.path={tmp_path / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as prometheus:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client:

                def answer_of(query: str) -> list[Any]:
                    answer = client.get("/query", params={"query": query})
                    assert answer.status_code == 200, (query, answer.text)
                    return answer.json()["data"]["result"]

                def scraped() -> bool:
                    with contextlib.suppress(httpx.TransportError):
                        return client.get("/status/buildinfo").is_success and bool(
                            answer_of("ray_optagent_model_health")
                        )
                    return False

                assert until(scraped)
                answers = {place: answer_of(query) for place, query in queries.items()}
                asked = client.get("/rules").json()["data"]["groups"]
        finally:
            prometheus.terminate()
    for title in ("Models: good", "Parts that do not answer", "Processes that wait", "Memory of Redis"):
        assert answers[title, "A"], title
    assert [rule["lastError"] for group in asked for rule in group["rules"] if rule.get("lastError")] == []


def test_a_token_does_what_its_scopes_say_until_it_is_revoked(product, admin, served, rows):
    made = product.run("token", "create", "shop", "--scope", "predict", "--json")
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)
    with product.client(token["token"]) as shop:
        assert predicted(shop, rows[:1], key="customer-17")
        assert shop.get("/models").status_code == 403
        assert shop.post("/models/churn/labels", json={"labels": [{"id": "p-1", "label": "0"}]}).status_code == 403
        assert product.run("token", "revoke", token["token_id"]).returncode == 0
        until(lambda: shop.post("/models/churn/predict", json={"row": {}}).status_code == 401)
    forged = product.token[:-1] + ("A" if product.token[-1] != "A" else "B")
    for bad in (None, forged):
        with product.client(bad) as stranger:
            assert stranger.get("/models").status_code == 401
    assert any(entry["action"] == "auth.refused" for entry in admin.get("/audit").json())


MADE_OF = 20


def complementary(rows: int, seed: int) -> pa.Table:
    """What a linear model finds and trees do not, and the other way round."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, MADE_OF))
    signal = 2 * x[:, :18].sum(axis=1) / np.sqrt(18) + 1.5 * np.sign(x[:, 18]) * np.sign(x[:, 19])
    return _labelled(x, signal + rng.logistic(size=rows))


def planted(rows: int, seed: int) -> pa.Table:
    """What a linear model finds once it has the product of two columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    return _labelled(x, 2.5 * x[:, 0] * x[:, 1] + x[:, 2] + rng.logistic(size=rows))


def _labelled(x: np.ndarray, signal: np.ndarray) -> pa.Table:
    columns = {f"x{index}": values for index, values in enumerate(x.T)}
    return pa.table({**columns, "label": np.where(signal > 0, "yes", "no")})


@pytest.fixture(scope="module")
def composed(admin: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[Any]]]:
    """Of an ensemble and of a model behind a plan, both champions: the version, and rows to ask it."""
    folder = tmp_path_factory.mktemp("composed")
    pq.write_table(complementary(6000, seed=0), folder / "complementary.parquet")
    pq.write_table(planted(3000, seed=0), folder / "planted.parquet")
    for model_id, data, family, folds in (
        ("trees", "complementary", "lightgbm", 2),
        ("lines", "complementary", "linear", 2),
        ("crossed", "planted", "linear", 3),
    ):
        fields = {"task": "binary", "target": "label", "metric": "log_loss", "families": [family], "folds": folds}
        asked = {"id": model_id, "data": str(folder / f"{data}.parquet"), **fields}
        assert admin.post("/models", json=asked).status_code == 201
        champion(admin, model_id, tuned(admin, 0, model_id, trials=1)["version"])
    ensemble = done(admin, "ensemble", {"base_models": ["trees", "lines"]})
    assert (ensemble["accepted"], set(ensemble["weights"])) == (True, {"trees", "lines"}), ensemble["reason"]
    features = done(admin, "features", {"model_id": "crossed", "timeout_seconds": 60})
    assert "x0 * x1" in features["steps"], features["reason"]
    champion(admin, "trees", ensemble["version"])
    champion(admin, "crossed", features["version"])
    return {
        "trees": (ensemble["version"], complementary(100, seed=7).to_pylist()),
        "crossed": (features["version"], planted(100, seed=7).to_pylist()),
    }


def champion(admin: httpx.Client, model_id: str, version: str) -> None:
    answer = admin.put(f"/models/{model_id}/aliases/champion", json={"version": version})
    assert answer.status_code == 200, answer.text


def answers_of(admin: httpx.Client, model_id: str, version: str, rows: list[dict[str, Any]]) -> list[Answer]:
    """What the gateways say, once they answer by that version."""

    def said() -> list[Answer] | None:
        try:
            answers = predicted(admin, rows, model_id)
        except (AssertionError, httpx.TransportError):  # none is up, or none has it yet
            return None
        found = [{name: value for name, value in answer.items() if name != "id"} for answer in answers]
        return found if {answer["version"] for answer in found} == {version} else None

    answers: list[Answer] = until(said)
    return answers


def test_ensembles_and_plans_of_features_answer_to_the_bit_what_their_bundles_do_here(product, admin, composed):
    registry = model_parts.registry(load_settings(home=product.home))
    for model_id, (version, rows) in composed.items():
        known = registry.version(model_id, version)
        assert known.tags["form"] == {"trees": "ensemble", "crossed": "engineered"}[model_id]
        predictor = load_version(known, registry)
        asked = [{name: value for name, value in row.items() if name != "label"} for row in rows]

        def here(engine: Engine, predictor=predictor, version=version, asked=asked) -> list[Answer]:
            return ServedModel(predictor.schema, engine, version).answer(asked)

        compiled = compile_onnx(predictor)
        assert compiled.engine is not None, compiled.reason
        answers = answers_of(admin, model_id, version, rows)
        assert answers == here(compiled.engine)
        for served, native in zip(answers, here(NativeEngine(predictor)), strict=True):
            assert served["probabilities"] == pytest.approx(native["probabilities"], abs=1e-6)
        assert np.mean([one["prediction"] == row["label"] for one, row in zip(answers, rows, strict=True)]) > 0.65


def gateways(product: Product) -> set[int]:
    """The processes of replicas that answer."""
    found = set()
    for process in psutil.Process(product.head).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("ServeReplica:optagent:Gateway" in argument for argument in process.cmdline()):
                found.add(process.pid)
    return found


def test_a_gateway_that_is_killed_comes_back_with_the_same_numbers(product, admin, composed):
    before = {model_id: answers_of(admin, model_id, *asked) for model_id, asked in composed.items()}
    killed = gateways(product)
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert {model_id: answers_of(admin, model_id, *asked) for model_id, asked in composed.items()} == before
    assert not killed & gateways(product)


def test_an_optimization_ends_with_what_each_gate_says_and_can_be_decided_again(product, admin, composed):
    gates = {"accuracy_min": 0.55, "min_validation_samples": 100, "max_latency_ms": 500}
    asked = {"model_id": "crossed", "optimization_type": "tune", "max_trials": 1, "gates": gates}
    result = done(admin, "optimize", asked)
    assert result["status"] in ("success", "rejected"), result["error_message"]
    said = {gate["name"]: gate["verdict"] for gate in result["gates"]}
    assert {"security", "servable", "serving parity", "latency", "accuracy_min", "champion"} <= set(said)
    assert said["accuracy_min"] == said["validation samples"] == said["servable"] == "pass", result["gates"]
    assert (result["status"] == "success") == (set(said.values()) == {"pass"})
    replayed = product.run("audit", "replay", result["process_id"], "--json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert {"accuracy_min", "champion", "validation samples"} == set(json.loads(replayed.stdout)["same"])


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
