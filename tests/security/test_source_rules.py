"""A model or backtest that comes over HTTP names only places, variables and families that the settings allow."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.backtest import BacktestAsk, contender_named
from optagent.domain.command import BacktestModel
from optagent.domain.dataset import FileSource, SqlSource
from optagent.domain.process import Status
from optagent.domain.source_rules import SourceRules
from optagent.errors import InvalidRequest
from optagent.loop.commands import command_of
from optagent.settings import load_settings

RULES = SourceRules(
    roots=("/data", "s3://bucket/rows", "postgresql://db/orders"),
    variables=("PW",),
    families=("mine", "other.part:Own"),
)


@pytest.mark.parametrize(
    "uri", ["/data", "/data/rows.csv", "/data/*/day=?.csv", "s3://bucket/rows/a.parquet", "s3://bucket/rows/*.csv"]
)
def test_files_below_the_roots_are_allowed(uri: str) -> None:
    RULES.check_source(FileSource(uri))


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/shadow",
        "/database/rows.csv",
        "/data/../etc/shadow",
        "/*/shadow",
        "/[e]tc/shadow",
        "rows.csv",
        "file:///data/rows.csv",
        "file:///etc/shadow",
        "s3://bucket/rowsecrets/a.csv",
        "s3://bucket/rows/../secrets/a.csv",
        "s3://bucket/rows/%2e%2e/secrets/a.csv",
        "s3://key:secret@bucket/rows/a.csv",
        "s3://bucket/rows/a.csv?endpoint_override=http://127.0.0.1",
        "s3://other/rows/a.csv",
        "gs://bucket/rows/a.csv",
    ],
)
def test_other_files_are_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest, match="data: "):
        RULES.check_source(FileSource(uri))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/orders",
        "postgresql+psycopg://me:${PW}@db/orders?sslmode=require",
        "postgresql://${PW}:p%40ss@db/orders",
        "sqlite:////data/rows.db",
    ],
)
def test_databases_at_the_roots_are_allowed_with_the_variables(url: str) -> None:
    RULES.check_source(SqlSource(url, "SELECT 1"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://elsewhere/orders",
        "postgresql://db/others",
        "postgresql://db.elsewhere/orders",
        "postgresql://db@elsewhere/orders",
        "postgresql://me:x@y@elsewhere/orders",
        "postgresql://db:6432/orders",
        "postgresql:///orders",
        "postgresql://me:${OPT_AGENT_REDIS_PASSWORD}@db/orders",
        "postgresql://${HOME}@db/orders",
        "postgresql://${PW}/orders",
        "postgresql://db/${PW}",
        "postgresql://db/orders?host=elsewhere",
        "postgresql://db/orders?sslmode=${PW}&passfile=/etc/shadow",
        "postgresql://db/orders host=elsewhere",
        "postgresql://me:***@db/orders",
        "mysql://db/orders",
        "sqlite://",
        "sqlite:///data/rows.db",
        "sqlite:////etc/rows.db",
        "sqlite:////data/../etc/rows.db",
        "sqlite:////data/rows.db?mode=rwc&uri=true",
        "sqlite:///file:/data/rows.db",
    ],
)
def test_other_databases_and_variables_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="data: "):
        RULES.check_source(SqlSource(url, "SELECT 1"))


def test_a_symbolic_link_does_not_lead_out_of_a_root(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to("/etc")
    rules = SourceRules(roots=(f"{tmp_path}/data",))
    for uri in (f"{tmp_path}/data/link/shadow", f"{tmp_path}/data/link/*"):
        with pytest.raises(InvalidRequest, match="is below none of the places"):
            rules.check_source(FileSource(uri), lambda path: str(Path(path).resolve()))


@pytest.mark.parametrize("name", ["lightgbm", "birches", "mine:Own", "mine.deep:Own", "other.part:Own"])
def test_families_of_ours_and_those_that_are_allowed_may_be_named(name: str) -> None:
    RULES.check_families([name])


@pytest.mark.parametrize("name", ["os:system", "mineral:Own", "other:Own", "other.part:Other", "other.part:OwnToo"])
def test_code_that_is_not_allowed_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="OPT_AGENT_FAMILIES_ALLOWED"):
        RULES.check_families([name])


async def test_over_http_nothing_of_the_server_is_read_sent_or_imported(
    call, churn: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted_module.py").write_text(
        "from pathlib import Path\nPath(__file__).with_suffix('.run').touch()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PLANTED", "topsecret")
    secret = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    secret.write_text("root:planted:1\nbin:x:2\n")
    for change in (
        {"families": ["planted_module:Family"]},
        {"data": {"uri": str(secret), "format": "csv"}},
        {"data": "/etc/passwd"},
        {"data": {"url": "postgresql://${PLANTED}@127.0.0.1:1/x", "query": "select 1"}},
        {"data": {"url": "sqlite://", "query": f"vacuum into '{tmp_path}/copy.db'"}},
        {"data": "s3://bucket/x.csv?endpoint_override=http://127.0.0.1:1"},
    ):
        answer = await call("admin", "POST", "/models", json={**churn, **change})
        assert answer.status_code == 422, answer.text
        assert "topsecret" not in answer.text
        assert "planted:1" not in answer.text
        if "data" in change:
            body = {"model_id": "churn", "label_delay": "2d", "data": change["data"]}
            assert (await call("admin", "POST", "/optimization/backtest", json=body)).status_code == 422
    assert "planted_module" not in sys.modules
    assert not (tmp_path / "planted_module.run").exists()
    assert not (tmp_path / "copy.db").exists()
    assert (await call("read", "GET", "/models")).json() == []


async def test_on_this_machine_any_file_may_be_named(agent: OptimizationAgent, churn: dict[str, Any]) -> None:
    assert (await agent.register_model(churn)).data == FileSource(churn["data"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data_roots": "data"}, "OPT_AGENT_DATA_ROOTS: must be absolute folders and URLs"),
        ({"data_roots": "postgresql://me:hunter2@db/x"}, "OPT_AGENT_DATA_ROOTS: must be URLs without a login"),
        ({"source_variables": "PW,OPT_AGENT_REDIS_PASSWORD"}, "OPT_AGENT_SOURCE_VARIABLES: must not be settings"),
    ],
)
def test_settings_that_would_open_too_much_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        load_settings(**given)
    assert "hunter2" not in str(caught.value)


def test_by_default_data_over_http_lies_in_the_home(tmp_path: Path) -> None:
    assert load_settings(home=tmp_path).source_rules == SourceRules(roots=(f"{tmp_path}/data",))
    allowed = load_settings(data_roots="/a, s3://b", source_variables="X", families_allowed="m").source_rules
    assert allowed == SourceRules(("/a", "s3://b"), ("X",), ("m",))


async def test_the_password_of_a_models_own_data_is_not_copied_into_a_backtest(
    agent: OptimizationAgent, store: InMemoryStore, call, churn_id: str
) -> None:
    source = SqlSource("postgresql://etl:hunter2@db.internal/orders", "select 1")
    spec = await agent.model(churn_id)
    await store.save_model(replace(spec, data=source))
    body = {"model_id": churn_id, "label_delay": "2d"}
    process_id = (await call("admin", "POST", "/optimization/backtest", json=body)).json()["process_id"]
    kept = await store.process(process_id)
    assert kept.command["data"] is None
    for path in (f"/optimization/status/{process_id}", "/optimization/processes", "/audit", "/models"):
        assert "hunter2" not in (await call("admin", "GET", path)).text
    assert "hunter2" not in json.dumps(dict(kept.command))


async def test_a_command_with_a_password_of_its_own_is_refused(agent: OptimizationAgent, churn_id: str) -> None:
    with pytest.raises(InvalidRequest, match="must not hold a password"):
        await agent.backtest_model(churn_id, SqlSource("postgresql://me:hunter2@db/orders", "select 1"), "2d")
    assert await agent.processes() == []


async def test_a_queued_backtest_that_holds_its_data_still_runs_and_is_shown_without_the_password(
    agent: OptimizationAgent, store: InMemoryStore, call, churn: dict[str, Any]
) -> None:
    await agent.register_model(churn)
    ask = BacktestAsk((contender_named("scheduled-ungated:90d"),), "2d", 0.6, "30d")
    process = await agent.submit(BacktestModel("churn", FileSource(churn["data"]), ask))
    assert process.command["data"]["uri"] == churn["data"]
    source = {"url": "postgresql+pg8000://etl:hunter2@127.0.0.1:1/orders", "query": "select 1"}
    older = replace(process, process_id="backtest-older", command={**process.command, "data": source})
    await store.enqueue_process(older)
    assert command_of(older).data == SqlSource(**source)  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match="pg8000"):
        await agent.run_queued(older.process_id)
    await agent.run_queued(process.process_id)
    assert (await agent.process(process.process_id)).status is Status.SUCCEEDED
    assert "hunter2" not in (await call("read", "GET", f"/optimization/status/{older.process_id}")).text
