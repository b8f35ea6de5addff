"""Every change is in the audit log with its author, whoever hangs up and through whichever door it came."""

import asyncio
import math
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from optagent import cli as command_line
from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.agent import OptimizationAgent
from optagent.agent.acts import SUPERVISOR, ActRecorder, acting_as, local_actor
from optagent.bootstrap import Serving, parts
from optagent.cli import main, run_job
from optagent.domain.actor import Actor, Door
from optagent.domain.audit import AuditEntry
from optagent.domain.command import TuneModel
from optagent.errors import InvalidRequest, ModelNotFound, OptAgentError, Unavailable
from optagent.settings import load_settings
from serve_app.control import LazyAgent, VerbServer
from tests.fakes.routes import InMemoryRoutes
from tests.fakes.tokens import InMemoryTokens

CI = Actor("ci", Door.HTTP, "0f1e2d3c4b5a", "r-1")
ME = local_actor(Door.SDK)


class SlowRegistry:
    """Lets `set_alias` of a registry wait in its thread until it is released."""

    def __init__(self, registry: InMemoryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        set_alias = registry.set_alias

        def set_alias_slowly(*arguments: Any) -> None:
            self.has_begun.set()
            assert self.may_go_on.wait(30)
            set_alias(*arguments)

        monkeypatch.setattr(registry, "set_alias", set_alias_slowly)


@pytest.fixture
def slow_registry(agent: OptimizationAgent, rivals: str, monkeypatch: pytest.MonkeyPatch) -> SlowRegistry:
    return SlowRegistry(agent._ports.registry, monkeypatch)


async def hang_up_while_it_works(request: asyncio.Task[Any], registry: SlowRegistry) -> None:
    await asyncio.to_thread(registry.has_begun.wait, 30)
    request.cancel()
    with suppress(asyncio.CancelledError):
        await request
    registry.may_go_on.set()


async def test_a_change_whose_client_hangs_up_has_its_entry(
    agent: OptimizationAgent, call: Any, rivals: str, slow_registry: SlowRegistry, store: InMemoryStore
) -> None:
    await call("operate", "GET", "/models")
    request = asyncio.create_task(call("operate", "PUT", f"/models/{rivals}/aliases/champion", json={"version": "2"}))
    await hang_up_while_it_works(request, slow_registry)
    await agent.close()  # waits for what is under way
    assert agent._ports.registry.version(rivals, "champion").version == "2"
    [entry] = await store.audit(1)
    assert (entry.action, entry.target, entry.outcome) == ("model.alias", rivals, "done")
    assert entry.detail == {"alias": "champion", "version": "2"}
    assert entry.actor.startswith("operate (")


async def test_a_change_that_a_gateway_gives_up_has_its_entry(
    agent: OptimizationAgent, rivals: str, slow_registry: SlowRegistry, store: InMemoryStore
) -> None:
    async def recipe() -> OptimizationAgent:
        return agent

    server = VerbServer(LazyAgent(recipe))
    request = asyncio.create_task(server.call("set_alias", (rivals, "champion", "2"), {}, CI))
    await hang_up_while_it_works(request, slow_registry)
    await agent.close()
    [entry] = await store.audit(1)
    assert (entry.actor, entry.request_id, entry.outcome) == ("ci (0f1e2d3c4b5a)", "r-1", "done")


async def test_a_program_that_is_stopped_leaves_an_entry_of_what_it_may_have_done(store: InMemoryStore) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    acts = ActRecorder(store, ManualClock(1.0))
    performing = asyncio.create_task(acts.perform("model.alias", "churn", wait()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in list(acts._tasks._tasks):
        task.cancel()  # as `asyncio.run` does at its end
    with pytest.raises(asyncio.CancelledError):
        await performing
    [entry] = await store.audit()
    assert "it may have been done" in entry.outcome


class IdleMonitors:
    """Monitors that watch nothing."""

    def start(self, model_id: str, shards: int) -> None: ...

    def stop(self, model_id: str) -> None: ...


Act = Callable[[OptimizationAgent], Awaitable[Any]]


@pytest.mark.parametrize(
    ("action", "target", "act"),
    [
        ("model.update", "churn", lambda agent: agent.update_model("churn", {"description": "who leaves"})),
        ("model.update", "churn", lambda agent: agent.update_model("churn", {"policy": None})),
        ("model.alias", "churn", lambda agent: agent.set_alias("churn", "champion", "2")),
        ("token.create", "ci", lambda agent: agent.create_token("ci", ["admin"])),
        ("process.submit", "churn", lambda agent: agent.submit(TuneModel("churn"))),
        ("process.submit", "churn", lambda agent: agent.tune_hyperparameters("churn", "random", 1)),
        ("rollout.start", "churn", lambda agent: agent.start_rollout("churn", "2")),
        ("monitor.stop", "churn", lambda agent: agent.stop_monitor("churn")),
        ("monitor.start", "churn", lambda agent: agent.start_monitor("churn")),
    ],
)
async def test_a_change_by_the_sdk_has_its_entry(
    agent: OptimizationAgent, rivals: str, store: InMemoryStore, action: str, target: str, act: Act
) -> None:
    object.__setattr__(agent._ports, "monitors", IdleMonitors())
    before = len(await store.audit())
    await act(agent)
    entries = (await store.audit())[:-before]
    [entry] = [entry for entry in entries if entry.action == action]
    assert (entry.actor, entry.target, entry.outcome) == (str(ME), target, "done")


async def test_registered_revoked_and_cancelled_by_the_sdk(
    agent: OptimizationAgent, churn: dict[str, Any], store: InMemoryStore
) -> None:
    await agent.register_model(churn)
    _, token = await agent.create_token("ci", ["read"])
    await agent.revoke_token(token.token_id)
    process = await agent.submit(TuneModel("churn"))
    await agent.cancel(process.process_id)
    acts = [(entry.action, entry.target) for entry in reversed(await store.audit())]
    assert acts == [
        ("model.register", "churn"),
        ("token.create", "ci"),
        ("token.revoke", token.token_id),
        ("process.submit", "churn"),
        ("process.cancel", process.process_id),
    ]


async def test_a_refused_change_has_its_entry_with_the_reason(agent: OptimizationAgent, store: InMemoryStore) -> None:
    for act in (agent.submit(TuneModel("nobody")), agent.set_alias("nobody", "champion", "1")):
        with pytest.raises(ModelNotFound):
            await act
        [entry] = await store.audit(1)
        assert "nobody" in entry.outcome
    with pytest.raises(InvalidRequest):
        await agent.create_token("ci", ["everything"])
    assert "unknown scope" in (await store.audit(1))[0].outcome


async def test_an_unexpected_error_has_an_entry_without_its_text(store: InMemoryStore) -> None:
    async def fail() -> None:
        raise RuntimeError("password=1234")

    with pytest.raises(RuntimeError):
        await ActRecorder(store, ManualClock(1.0)).perform("model.update", "churn", fail())
    [entry] = await store.audit()
    assert "1234" not in repr(entry)
    assert entry.outcome != "done"


@pytest.mark.parametrize("value", [math.nan, b"\xff", "\ud800", object(), {1: 2}])
async def test_no_request_is_worded_so_that_its_act_leaves_no_entry(store: InMemoryStore, value: Any) -> None:
    async def act() -> str:
        return "moved"

    acts = ActRecorder(store, ManualClock(1.0))
    assert await acts.perform("model.alias", "churn", act(), {"alias": value}) == "moved"
    [entry] = await store.audit()
    assert (entry.action, entry.target, entry.outcome) == ("model.alias", "churn", "done")


async def test_a_change_is_answered_while_the_log_is_away(
    store: InMemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(entry: AuditEntry) -> None:
        raise Unavailable("Redis does not answer")

    async def act() -> str:
        return "moved"

    monkeypatch.setattr(store, "append_audit", away)
    assert await ActRecorder(store, ManualClock(1.0)).perform("model.alias", "churn", act()) == "moved"
    assert "model.alias" in caplog.text


async def test_what_the_product_tries_again_and_again_does_not_fill_the_log(store: InMemoryStore) -> None:
    async def fail() -> None:
        raise Unavailable("Ray does not answer")

    with acting_as(SUPERVISOR), pytest.raises(Unavailable):
        await ActRecorder(store, ManualClock(1.0)).perform("monitor.start", "churn", fail())
    assert await store.audit() == []


class Workshop:
    """Everything that a command line works on, in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock(1_700_000_000.0)
        self.store = InMemoryStore(self.clock)
        self.registry = InMemoryRegistry(self.clock)
        self.tokens = InMemoryTokens()
        self.observations = InMemoryObservations()

    async def make_agent(self, strict: bool = True, **options: Any) -> OptimizationAgent:
        return await create_optimization_agent(
            strict=strict,
            clock=self.clock,
            store=self.store,
            registry=self.registry,
            tokens=self.tokens,
            observations=self.observations,
            tracker=InMemoryTracker(),
            tuner=SequentialTuner(),
            routes=InMemoryRoutes(self.clock),
            workers=SequentialWorkers(),
        )

    def acts(self) -> list[tuple[str, str, str]]:
        entries = asyncio.run(self.store.audit())
        return [(entry.actor, entry.action, entry.target) for entry in reversed(entries)]


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Workshop:
    workshop = Workshop()
    monkeypatch.setattr(sys.modules["optagent.cli.app"], "create_optimization_agent", workshop.make_agent)
    monkeypatch.setattr(command_line, "configure_logging", lambda level: None)
    return workshop


def run_command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def test_changes_by_the_command_line_have_their_entries(
    workshop: Workshop, churn: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "churn.yaml"
    file.write_text(yaml.safe_dump({**churn, "data": str(churn["data"])}))
    run_command("register", str(file))
    run_command("token", "create", "ci", "--scope", "admin")
    [token] = asyncio.run(workshop.tokens.tokens())
    run_command("token", "revoke", token.token_id)
    me = str(local_actor(Door.COMMAND_LINE))
    assert workshop.acts() == [
        (me, "model.register", "churn"),
        (me, "token.create", "ci"),
        (me, "token.revoke", token.token_id),
    ]
    assert me.endswith("(cli)")


def test_a_job_on_the_cluster_has_its_entry(
    workshop: Workshop, churn: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def register() -> None:
        async with await workshop.make_agent() as agent:
            await agent.register_model(churn)

    asyncio.run(register())
    monkeypatch.setenv("OPT_AGENT_RAY_ADDRESS", "auto")
    monkeypatch.setattr("sys.argv", ["tune.py", "--model", "churn", "--method", "random", "--trials", "1"])
    with pytest.raises(SystemExit) as ended:
        run_job("tune")
    assert ended.value.code == 0
    assert workshop.acts()[1] == (str(local_actor(Door.JOB)), "process.submit", "churn")


async def test_the_first_token_of_all_has_its_entry(
    store: InMemoryStore, tokens: InMemoryTokens, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("redis_url", "redis://"), ("tokens", tokens), ("store", store), ("clock", clock)):
        monkeypatch.setattr(parts, name, lambda *_, value=value: value)
    assert await Serving(load_settings(home=str(tmp_path))).first_token() is not None
    [entry] = await store.audit()
    assert (entry.actor, entry.action) == (str(local_actor(Door.COMMAND_LINE)), "token.create")


async def test_whatever_an_act_raises_reaches_its_caller(store: InMemoryStore) -> None:
    async def refuse() -> None:
        raise OptAgentError("no")

    with pytest.raises(OptAgentError, match="no"):
        await ActRecorder(store, ManualClock(1.0)).perform("model.update", "churn", refuse())
