"""Secrets and rows that are planted at the start of an end-to-end run come out of none of its ways to people.

Planted are a literal password in the URL of a model's data, the value of a variable that another model's URL names, and
values of features and labels in the rows that are learned from and that are recorded. A secret may come out nowhere. A
value of a row may come out where people ask for it: in an analysis (`POST /optimization/analyze`, its page, `optagent
analyze`), which describes the distribution of each feature, and in the answer to the request that brought the row.
Names of columns and classes, scores and counts are no values of rows.
"""

import asyncio
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

import optagent.cli
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.agent import OptimizationAgent
from optagent.domain.command import TuneModel
from optagent.domain.dataset import SqlSource
from optagent.domain.source_rules import SourceRules
from optagent.errors import OptAgentError
from serve_app.asgi import Application
from tests.api.conftest import NOW, create_in_memory_agent
from tests.conftest import MakeRows
from tests.fakes.notifier import InMemoryNotifier
from tests.fakes.tokens import InMemoryTokens

PASSWORD, VARIABLE = "planted-password", "planted/variable"
SECRETS = (PASSWORD, VARIABLE, "planted%2Fvariable")
VALUES = ("planted-region", "918273.645", "planted-novelty", "564738.291", "planted-label", "planted-words")
ELSEWHERE = "postgresql://etl:{}@127.0.0.1:1/orders"
MODELS = ("churn", "literal", "template")
DAY_S = 86_400.0


class Harvest:
    """All texts that came out of a run, by the way they took."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def add(self, way: str, text: object) -> None:
        self.texts.append((way, str(text)))

    def ways_of(self, *planted: str, besides: tuple[str, ...] = ()) -> list[tuple[str, str]]:
        """Each way by which a planted text came out, with the text around it."""
        leaks = []
        for way, text in self.texts:
            for word in planted:
                place = text.find(word)
                if place >= 0 and not way.startswith(besides):
                    leaks.append((way, text[max(0, place - 80) : place + 40]))
        return leaks


@pytest.fixture
def harvest() -> Iterator[Harvest]:
    """Everything that is logged, at every level, is in it from the start."""
    harvest, root, logger = Harvest(), logging.getLogger(), logging.getLogger("optagent")
    level, handlers = logger.level, logger.handlers

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            harvest.add("log", self.format(record))

    handler = Handler()
    root.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield harvest
    root.removeHandler(handler)
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.fixture
def tracker() -> InMemoryTracker:
    return InMemoryTracker()


@pytest.fixture
def notifier() -> InMemoryNotifier:
    return InMemoryNotifier()


@pytest.fixture
async def agent(
    clock: ManualClock,
    store: InMemoryStore,
    tokens: InMemoryTokens,
    tracker: InMemoryTracker,
    notifier: InMemoryNotifier,
) -> AsyncIterator[OptimizationAgent]:
    ports = {"tracker": tracker, "notifier": notifier}
    async with await create_in_memory_agent(clock, store, tokens, **ports) as agent:
        yield agent


@pytest.fixture
def database(tmp_path: Path, make_rows: MakeRows) -> Path:
    """A SQLite file with rows to learn from, some of them planted."""
    rows = make_rows(600, missing=0).drop_columns(["day"]).to_pylist()
    for row in rows[::5]:
        row["region"] = "planted-region"
    for row in rows[::50]:
        row["a"], row["sex"] = 918273.645, "planted-words"
    path = tmp_path / "rows.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE rows ({', '.join(rows[0])})")
        places = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO rows VALUES ({places})", [tuple(row.values()) for row in rows])
    return path


@pytest.fixture
async def run(
    harvest: Harvest,
    api: FastAPI,
    agent: OptimizationAgent,
    store: InMemoryStore,
    clock: ManualClock,
    tracker: InMemoryTracker,
    notifier: InMemoryNotifier,
    call: Any,
    database: Path,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
) -> Harvest:
    """A whole run, with all that came out of it."""
    monkeypatch.setenv("PLANTED", VARIABLE)
    api.state.source_rules = SourceRules((str(database.parent), "postgresql://127.0.0.1:1"), ("PLANTED",))

    async def send(scope: str, method: str, path: str, **options: Any) -> httpx.Response:
        answer: httpx.Response = await call(scope, method, path, **options)
        harvest.add(f"{method} {path}", f"{answer.status_code} {answer.headers} {answer.text}")
        return answer

    await register_models(send, store, database)
    await work(send, agent, harvest)
    await serve(agent, clock, make_rows)
    await send("read", "POST", "/optimization/analyze", json={"model_id": "churn", "time_range": "30d"})
    await agent.watch_once("churn")
    await agent.notify_once()
    await look(send, api, agent, harvest)
    await asyncio.to_thread(use_command_line, agent, harvest, monkeypatch, database.parent)
    for channel, message in notifier.sent:
        harvest.add(f"notice {channel}", f"{message.title}\n{message.text}")
    harvest.add("tracker", vars(tracker))
    for process in await store.processes(limit=100):
        harvest.add(f"process {process.process_id}", process)
    for entry in await store.audit(1000):
        harvest.add("audit", entry)
    return harvest


async def register_models(send: Any, store: InMemoryStore, database: Path) -> None:
    """One model over HTTP; two whose database cannot be read; and what is refused."""
    data = {"url": f"sqlite:///{database}", "query": "SELECT * FROM rows"}
    model = {"id": "churn", "task": "binary", "data": data, "target": "label", "ignore": ["value"], "folds": 3}
    answer = await send("admin", "POST", "/models", json={**model, "sensitive_columns": ["sex"]})
    assert answer.status_code == 201, answer.text
    spec = await store.model("churn")
    for model_id, password in (("literal", PASSWORD), ("template", "${PLANTED}")):
        source = {"url": ELSEWHERE.format(password), "query": "SELECT 1"}
        await send("admin", "POST", "/models", json={**model, "id": model_id, "data": source})
        await send("admin", "POST", "/models", json={**model, "id": "x y", "data": source})
        await send("admin", "POST", "/models", json={**model, "id": model_id, "data": {**source, "query": 7}})
        await store.save_model(replace(spec, model_id=model_id, data=SqlSource(**source)))
    for url in ("postgresql://${PLANTED}/x", f"nosuchdb://me:{PASSWORD}@127.0.0.1:1/x", f"me:{PASSWORD}@db"):
        await send("admin", "POST", "/models", json={**model, "id": "no", "data": {"url": url, "query": "SELECT 1"}})
    for change in ({"target": "sex"}, {"time_column": "region"}, {"target": "a", "task": "binary"}):
        assert (await send("admin", "POST", "/models", json={**model, "id": "no", **change})).status_code == 422
    mixed = {**data, "query": "SELECT a, region, label FROM rows UNION ALL SELECT 'planted-words', 1, 2"}
    await send("admin", "POST", "/models", json={**model, "id": "mixed", "data": mixed})


async def work(send: Any, agent: OptimizationAgent, harvest: Harvest) -> None:
    """Searches, an optimization, a rollout, and backtests, those of two models without a database."""
    bodies = [
        ("hyperparameter", {"model_id": "churn", "optimization_method": "random", "max_trials": 1, "seed": 1}),
        ("hyperparameter", {"model_id": "churn", "optimization_method": "random", "max_trials": 1, "seed": 2}),
        ("features", {"model_id": "churn", "timeout_seconds": 20}),
        ("optimize", {"model_id": "churn", "optimization_type": "retrain", "max_trials": 1}),
        ("hyperparameter", {"model_id": "literal", "max_trials": 1}),
        ("backtest", {"model_id": "literal", "label_delay": "2d"}),
        ("backtest", {"model_id": "template", "label_delay": "2d"}),
        *(
            ("backtest", {"model_id": "churn", "label_delay": "2d", "data": {"url": url, "query": "SELECT 1"}})
            for url in (ELSEWHERE.format(PASSWORD), ELSEWHERE.format("${PLANTED}"))
        ),
    ]
    for route, body in bodies:
        answer = await send("admin", "POST", f"/optimization/{route}", json=body)
        if answer.status_code == 202:
            process_id = answer.json()["process_id"]
            try:
                await agent.run_queued(process_id)
            except OptAgentError as error:
                harvest.add("error", repr(error))
            await send("read", "GET", f"/optimization/status/{process_id}")
            await send("read", "GET", f"/optimization/status/{process_id}/events")
    await send("operate", "POST", "/models/churn/rollout", json={"candidate": "2"})
    await send("operate", "PATCH", "/models/literal", json={"description": ELSEWHERE.format(PASSWORD)})


async def serve(agent: OptimizationAgent, clock: ManualClock, make_rows: MakeRows) -> None:
    """Records predictions of a day, with values that no model has learned, and labels, one of them of no class."""
    rows = make_rows(400, seed=3, missing=0).drop_columns(["day", "value"]).to_pylist()
    predictions, labels = [], []
    for number, row in enumerate(rows):
        label = row.pop("label")
        row |= {"id": f"r{number}", "time": NOW + number * 100.0, "prediction": label, "version": "1"}
        row |= {"probability_no": float(label == "no"), "probability_yes": float(label == "yes")}
        if number % 3 == 0:
            row |= {"region": "planted-novelty", "a": 564738.291}
        predictions.append(row)
        labels.append({"id": f"r{number}", "label": "planted-label" if number == 7 else "yes", "time": NOW + DAY_S})
    clock.advance(2 * DAY_S)
    await agent.record_predictions("churn", predictions)
    await agent.record_labels("churn", labels)


async def look(send: Any, api: FastAPI, agent: OptimizationAgent, harvest: Harvest) -> None:
    """Everything that can be read over HTTP, and every page of the dashboard."""
    for path in ("/models", *(f"/models/{name}" for name in MODELS), "/alerts", "/audit", "/audit/verify"):
        await send("admin", "GET", path)
    for part in ("versions", "aliases", "alerts", "rollout", "rollouts"):
        await send("read", "GET", f"/models/churn/{part}")
    await send("read", "GET", "/optimization/processes")
    await send("read", "GET", "/optimization/health")
    for process in await agent.processes():
        await send("admin", "GET", f"/audit/replay/{process.process_id}")
    pages = ["", "/processes", "/audit", *(f"/models/{name}" for name in MODELS)]
    pages += [f"/processes/{process.process_id}" for process in await agent.processes()]
    pages += [f"/rollouts/{rollout.rollout_id}" for rollout in await agent.rollouts("churn")]
    text, _ = await agent.create_token("viewer", ["admin"])
    transport = httpx.ASGITransport(Application(api))
    async with httpx.AsyncClient(transport=transport, base_url="http://optagent") as browser:
        await browser.post("/dashboard/sign-in", data={"token": text})
        for page in pages:
            harvest.add(f"page {page}", (await browser.get(f"/dashboard{page}")).text)
        analysis = await browser.get("/dashboard/models/churn/analysis?range=30d")
        harvest.add("analysis page", analysis.text)


def use_command_line(agent: OptimizationAgent, harvest: Harvest, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The commands that print, over the ports of the agent."""

    class Borrowed:
        async def __aenter__(self) -> OptimizationAgent:
            return agent

        async def __aexit__(self, *error: object) -> None: ...

    async def borrow_agent(**options: Any) -> Borrowed:
        return Borrowed()

    monkeypatch.setattr(sys.modules["optagent.cli.app"], "create_optimization_agent", borrow_agent)
    monkeypatch.chdir(folder)
    commands = ["models", "models --json", "processes", "processes --json", "versions churn", "alerts"]
    commands += [f"status {each.process_id}" for each in asyncio.run(agent.processes())]
    commands += ["audit list --json", "rollout list churn --json"]
    commands += ["backtest literal --label-delay 2d", "tune template --trials 1"]
    for command in commands:
        result = CliRunner().invoke(optagent.cli.app, ["--verbose", *command.split()])
        harvest.add(f"command {command}", f"{result.output}{result.exception!r}")


async def test_nothing_that_was_planted_comes_out(run: Harvest) -> None:
    ways = {way.split()[0] for way, _ in run.texts}
    assert ways >= {"POST", "GET", "PATCH", "page", "command", "log", "process", "audit", "notice", "tracker", "error"}
    said = " ".join(text for _, text in run.texts)
    assert "postgresql://etl:***@127.0.0.1:1/orders" in said
    assert "postgresql://etl:${PLANTED}@127.0.0.1:1/orders" in said
    assert run.ways_of(*SECRETS) == []
    assert run.ways_of(*VALUES, besides=("POST /optimization/analyze", "analysis page")) == []


async def test_an_analysis_is_where_values_are_described(run: Harvest) -> None:
    assert run.ways_of("planted-region", besides=("analysis page",)) != []


async def test_the_secret_of_a_runner_stays_in_the_store(
    agent: OptimizationAgent, store: InMemoryStore, call: Any, churn: dict[str, Any]
) -> None:
    await agent.register_model(churn)
    process = await agent.submit(TuneModel("churn", trials=1))
    claimed = await store.claim_process(process.process_id, 15.0)
    assert claimed.holder
    for path in (f"/optimization/status/{process.process_id}", "/optimization/processes"):
        answer = await call("read", "GET", path)
        assert answer.status_code == 200
        assert claimed.holder not in answer.text
