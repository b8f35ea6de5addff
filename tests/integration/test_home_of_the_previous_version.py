"""A home folder that an earlier version recorded is read whole, so that an upgrade loses nothing that was persisted.

`tests/fixtures/home/make_home.py` recorded it, and describes it; `expected.json` holds its contents. New fields are no
loss. Once MLflow's own schema changes, the home's database has to be upgraded first (`mlflow db upgrade`).
"""

import json
import sqlite3
import tarfile
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow.pyfunc
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from mlflow import MlflowClient

from optagent import create_optimization_agent, load_settings
from optagent.adapters.in_memory.clock import ManualClock
from optagent.agent import OptimizationAgent
from optagent.bootstrap import GatewayPorts, create_gateway_ports
from optagent.codec import decode, plain
from optagent.domain.backtest import BacktestResult
from optagent.domain.ensemble_result import EnsembleResult
from optagent.domain.feature_result import FeatureResult
from optagent.domain.optimization import OptimizationResult
from optagent.domain.process import Status
from optagent.domain.rollout_look import RolloutState
from optagent.domain.study import TuningResult
from optagent.domain.token import Scope
from optagent.errors import Conflict
from optagent.loop.observe.reference import decode_reference
from serve_app.api import create_api
from serve_app.api.auth import Authenticator
from serve_app.asgi import Application

FIXTURE = Path(__file__).parents[1] / "fixtures" / "home"
EXPECTED = json.loads((FIXTURE / "expected.json").read_text(encoding="utf-8"))
RESULTS: dict[str, type[Any]] = {
    "tune": TuningResult,
    "optimize": OptimizationResult,
    "features": FeatureResult,
    "ensemble": EnsembleResult,
    "backtest": BacktestResult,
}
ARTIFACT_URIS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
EVER = (0.0, 1e11)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class RecordedHome:
    """The unpacked home, with an agent and the ports of a gateway on it, at the time at which it was recorded."""

    folder: Path
    agent: OptimizationAgent
    ports: GatewayPorts
    clock: ManualClock

    def client(self, token: str) -> httpx.AsyncClient:
        """A client of the API over this home."""
        authenticator = Authenticator(self.ports.tokens, self.clock, 100, 100)
        api = create_api(self.agent, authenticator, self.ports.kept_answers, self.clock)
        transport, headers = httpx.ASGITransport(Application(api)), {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(transport=transport, base_url="http://optagent/api/v1", headers=headers)


class NoticeList:
    """A notifier that only collects."""

    def __init__(self) -> None:
        self.notices: list[Any] = []

    def send(self, notices: Any) -> None:
        self.notices += notices if isinstance(notices, Sequence) else [notices]

    def close(self) -> None:
        pass


class LaunchList:
    """A launcher that only collects."""

    def __init__(self) -> None:
        self.process_ids: list[str] = []

    def launch(self, process_id: str) -> None:
        self.process_ids.append(process_id)

    def close(self) -> None:
        pass


def unpack_home(folder: Path) -> Path:
    """MLflow's absolute artifact URIs are changed to the new folder, as after any move of a home."""
    with tarfile.open(FIXTURE / "home.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    with closing(sqlite3.connect(folder / "mlflow" / "mlflow.db")) as database, database:
        for table, column in ARTIFACT_URIS:
            places = (f"file://{EXPECTED['home']}/", f"{folder.as_uri()}/")
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", places)
    return folder


@asynccontextmanager
async def open_home(folder: Path, **more: Any) -> AsyncIterator[RecordedHome]:
    """The home is the working folder too, since its models name their rows by relative paths."""
    clock = ManualClock(EXPECTED["now"])
    arguments = {"home": folder, "strict": True, "clock": clock, "early_stopping_rounds": 10, **more}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ports = await create_gateway_ports(load_settings(home=folder))
        try:
            async with await create_optimization_agent(**arguments) as agent:
                yield RecordedHome(folder, agent, ports, clock)
        finally:
            await ports.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RecordedHome]:
    """One for all the tests that only read."""
    async with open_home(unpack_home(tmp_path_factory.mktemp("home"))) as recorded_home:
        yield recorded_home


def find_losses(contents: Any, recorded: Any, where: str = "") -> Iterator[str]:
    """The places where plain data differs from the recorded data, new fields aside."""
    if isinstance(recorded, dict) and isinstance(contents, dict):
        for name, value in recorded.items():
            if name in contents:
                yield from find_losses(contents[name], value, f"{where}.{name}")
            else:
                yield f"{where}.{name} is missing"
    elif isinstance(recorded, list) and isinstance(contents, list) and len(contents) == len(recorded):
        for index, (item, value) in enumerate(zip(contents, recorded, strict=True)):
            yield from find_losses(item, value, f"{where}[{index}]")
    elif contents != recorded:
        yield f"{where} is {contents!r} instead of {recorded!r}"


def losses(noun: Any, recorded: Any) -> list[str]:
    return list(find_losses([plain(item) for item in noun] if isinstance(noun, list) else plain(noun), recorded))


async def test_models_are_as_they_were_registered_with_policy_and_monitoring(home: RecordedHome):
    assert losses(await home.agent.models(), EXPECTED["models"]) == []
    assert (await home.agent.model("churn")).policy is not None


async def test_versions_keep_their_numbers_metrics_tags_and_aliases(home: RecordedHome):
    for model_id, recorded in EXPECTED["versions"].items():
        assert losses(await home.agent.versions(model_id), recorded) == []


async def test_every_version_opens_in_plain_mlflow_and_predicts_as_before(home: RecordedHome):
    client = MlflowClient(f"sqlite:///{home.folder / 'mlflow' / 'mlflow.db'}")
    for spec in await home.agent.models():
        rows = None
        for version, recorded in EXPECTED["predictions"][spec.model_id].items():
            rows = pq.read_table(spec.data.uri).slice(0, len(recorded["prediction"])) if rows is None else rows
            with warnings.catch_warnings(action="ignore"):
                model = mlflow.pyfunc.load_model(client.get_model_version_download_uri(spec.model_id, version))
            answers = model.predict(rows.to_pandas()).to_dict("list")
            assert set(answers) == set(recorded)
            for name, values in recorded.items():
                same = values if isinstance(values[0], str) else pytest.approx(values, rel=0, abs=1e-9)
                assert answers[name] == same, f"{spec.model_id} version {version}: {name}"


async def test_every_process_is_read_with_its_command_and_its_result(home: RecordedHome):
    processes = await home.agent.processes(limit=1000)
    recorded = [{**process, "holder": ""} for process in EXPECTED["processes"]]  # the secret of a runner is not shown
    assert losses(processes, recorded) == []
    for process in processes:
        if process.result is not None:
            assert losses(decode(RESULTS[process.kind], process.result), process.result) == []
        if process.status.has_ended:
            with pytest.raises(Conflict, match="not queued"):  # an unreadable command is refused with another error
                await home.agent.run_queued(process.process_id)
    assert {process.kind for process in processes if process.result is not None} == set(RESULTS)
    assert {process.status for process in processes} == set(Status) - {Status.PENDING, Status.RUNNING}


async def test_processes_that_have_not_ended_and_runs_by_kind_are_found_without_the_index_of_today(home: RecordedHome):
    recorded = {one["process_id"]: one for one in EXPECTED["processes"]}
    waiting = {name for name, one in recorded.items() if one["status"] == "queued"}
    assert {process.process_id for process in await home.agent.unended_processes()} == waiting
    assert sorted((await home.agent.queue_places(sorted(recorded))).values()) == list(range(1, len(waiting) + 1))
    summaries = await home.ports.store.process_summaries("churn", "optimize", 0.0)
    assert summaries
    assert {summary.process_id: summary.outcome for summary in summaries} == {
        name: (one["result"] or {}).get("status", "")
        for name, one in recorded.items()
        if (one["model_id"], one["kind"]) == ("churn", "optimize")
    }


async def test_studies_are_listed_with_their_trials(home: RecordedHome):
    studies = [await home.agent.study(summary.study_id) for summary in await home.agent.studies()]
    computed = {"importances": {}}  # at each call, and not kept
    assert losses(studies, [{**study, **computed} for study in EXPECTED["studies"]]) == []
    assert all(study.trials for study in studies)


async def test_rollouts_and_routing_tables_are_as_they_were(home: RecordedHome):
    rollouts = await home.agent.rollouts()
    assert losses(rollouts, EXPECTED["rollouts"]) == []
    assert losses(await home.ports.routes.tables(), EXPECTED["tables"]) == []
    assert set(await home.agent.served()) == {table["model_id"] for table in EXPECTED["tables"]}
    assert any(rollout.looks for rollout in rollouts)


async def test_alerts_and_reports_are_as_they_were(home: RecordedHome):
    assert losses(await home.agent.alerts(limit=1000), EXPECTED["alerts"]) == []
    for recorded in EXPECTED["reports"]:
        report = await home.ports.store.find_report(recorded["key"], recorded["digest"])
        assert losses(report, recorded["report"]) == []


async def test_the_audit_log_is_whole_up_to_the_head_that_was_noted(home: RecordedHome):
    report = await home.agent.verify_audit(EXPECTED["audit"]["head"])
    assert report.is_whole, report
    assert losses(await home.agent.audit(1000), EXPECTED["audit"]["entries"]) == []


async def test_decisions_of_gates_and_of_rollouts_replay(home: RecordedHome):
    for recorded in EXPECTED["audit"]["decisions"]:
        replay = await home.agent.replay_decision(recorded["process_id"])
        assert (replay.version, replay.outcome) == (recorded["version"], recorded["outcome"])
        # On another processor the last bit of a score may differ, and then the gates are not replayed.
        differences = {difference.where for difference in replay.changed}
        assert replay.is_same or (differences and differences <= {"scores_sha256", "champion_scores_sha256"}), replay
    for recorded in EXPECTED["rollouts"]:
        replay = await home.agent.replay_decision(recorded["rollout_id"])
        assert replay.is_same, replay.difference


async def test_tokens_open_what_they_opened_and_no_more(home: RecordedHome):
    codes = {}
    for token in await home.agent.tokens():
        recorded = EXPECTED["tokens"][token.name]
        assert losses(token, recorded["token"]) == []
        async with home.client(recorded["text"]) as client:
            answers = [await client.get("/models"), await client.get("/tokens")]
        codes[token.name] = tuple(answer.status_code for answer in answers)
    allowed = {"reader": (200, 403), "operator": (200, 403), "admin": (200, 200)}
    assert codes == allowed | {"revoked": (401, 401), "expired": (401, 401)}
    senders = {token.name for token in await home.agent.tokens() if token.allows(Scope.LABEL)}
    assert senders == {"operator", "admin", "revoked"}  # by predict, which was the scope of labels too, and by admin


async def test_a_request_under_an_idempotency_key_of_before_gets_the_answer_of_before(home: RecordedHome):
    request = EXPECTED["idempotent"]
    async with home.client(EXPECTED["tokens"]["operator"]["text"]) as client:
        answer = await client.post(request["path"], json=request["body"], headers={"Idempotency-Key": request["key"]})
    assert answer.headers["idempotent-replayed"] == "true"
    assert {"status": answer.status_code, "body": answer.json()} == request["answer"]


async def test_archived_rows_and_references_are_read_back(home: RecordedHome):
    observations = home.ports.observations
    for model_id, recorded in EXPECTED["observations"].items():
        predictions = observations.predictions(model_id, *EVER)
        assert recorded == {
            "waiting": observations.backlog(model_id),
            "predictions": sum(table.num_rows for table in predictions),
            "labels": sum(table.num_rows for table in observations.labels(model_id, 0.0)),
            "evidence": sum(table.num_rows for table in observations.evidence(model_id, 0.0)),
            "matured": sum(table.num_rows for table in observations.matured(model_id)),
            "sum_of_a": pytest.approx(sum(sum(table["a"].to_pylist()) for table in predictions)),
            "newest": observations.latest_prediction_time(model_id),
        }
    for model_id, names in EXPECTED["references"].items():
        for name in names:
            assert decode_reference(observations.reference(model_id, name)).version == name


async def test_queued_processes_are_launched_and_one_whose_runner_died_is_taken_over(tmp_path: Path):
    launcher = LaunchList()
    async with open_home(unpack_home(tmp_path), launcher=launcher) as home:
        waiting = {one["process_id"]: one for one in EXPECTED["processes"] if one["status"] == "queued"}
        assert set(await home.agent.start_queued(10)) == set(waiting) == set(launcher.process_ids)
        triggered = next(name for name, one in waiting.items() if one["command"].get("trigger") == "degradation")
        abandoned = next(name for name, one in waiting.items() if one["kind"] == "features")
        for process_id in (triggered, abandoned):
            await home.agent.run_queued(process_id)
            assert (await home.agent.process(process_id)).status is Status.SUCCEEDED
        assert (await home.agent.verify_audit(EXPECTED["audit"]["head"])).is_whole


async def test_a_rollout_goes_on_waiting_rows_are_archived_and_nobody_is_told_twice(tmp_path: Path):
    notifier = NoticeList()
    async with open_home(unpack_home(tmp_path), notifier=notifier) as home:
        agent = home.agent
        noted = EXPECTED["audit"]["head"]
        assert any(alert.notified_at is not None for alert in await agent.alerts("churn"))
        assert (await agent.notify_once(), notifier.notices) == (0, [])
        assert await agent.trigger_once() == ()
        look = await agent.watch_once("churn")
        assert (look.error, look.drained) == (None, EXPECTED["observations"]["churn"]["waiting"])
        assert look.reports == ()  # of windows that the monitor has reported on before
        assert (await agent.supervise_once()).errors == {}
        assert (await agent.promote_rollout("churn", "ana", "sure")).state is RolloutState.BAKING
        assert "champion" in (await agent.versions("churn"))[1].aliases
        assert (await agent.rollback_rollout("churn", "ana", "harm")).state is RolloutState.ROLLED_BACK
        report = await agent.verify_audit(noted)
        assert (report.is_whole, report.first, report.signed_from) == (True, 1, int(noted.partition(":")[0]) + 1)
        assert (tmp_path / "audit.key").stat().st_mode & 0o777 == 0o600
        assert await agent.notify_once() == 2
