"""Audit verbs: the log is verified and exported to a file, and a rollout of it is decided again."""

import json
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.cli import app
from optagent.domain.audit import GENESIS, AuditEntry, ChainPoint, link_entry
from optagent.domain.audit_chain import Fault, closing_line, opening_line, verify_lines
from optagent.domain.audit_signature import parse_keyring
from optagent.domain.rollout import abort, begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import Busy, Conflict, InvalidRequest, NotFound, Unavailable
from optagent.loop import audit


@pytest.fixture
def store() -> InMemoryStore:
    return InMemoryStore(ManualClock(1000.0), audit_kept=7)


@pytest.fixture
async def agent(store: InMemoryStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(audit, "_PORTION", 2)
    clock = ManualClock(1000.0)
    async with await create_optimization_agent(
        strict=True,
        clock=clock,
        store=store,
        registry=InMemoryRegistry(clock),
        tracker=InMemoryTracker(),
        tuner=SequentialTuner(),
    ) as new_agent:
        yield new_agent


async def record_entries(agent: Any, count: int) -> None:
    for number in range(count):
        await agent.record_audit(AuditEntry(float(number), "ann", "model.update", "churn", detail={"é": number}))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 20])
async def test_a_log_of_any_length_is_whole_as_it_lies_and_as_a_file(agent, tmp_path, count):
    await record_entries(agent, count)
    report = await agent.verify_audit()
    kept = min(count, 7)
    assert report.is_whole
    assert (report.links, report.head.sequence, report.start.sequence) == (kept, count, count - kept)
    assert report.is_trimmed is (count > 7)
    assert await agent.export_audit(tmp_path / "log.jsonl") == report
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert verify_lines(lines) == report
    assert [json.loads(line)["entry"]["at"] for line in lines[1:-1]] == list(range(count - kept, count))


async def test_an_altered_log_is_told_and_exported_as_it_is(agent, store, tmp_path):
    await record_entries(agent, 5)
    store._audit_links[2] = store._audit_links[2].replace("ann", "bob")
    report = await agent.verify_audit()
    assert (report.broken.sequence, report.broken.fault) == (3, Fault.ALTERED)
    assert await agent.export_audit(str(tmp_path / "log.jsonl")) == report
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert verify_lines(lines) == report
    assert '"actor":"bob"' in lines[3]


async def test_a_noted_head_must_still_hold(agent, store):
    await record_entries(agent, 3)
    noted = str((await agent.verify_audit()).head)
    await record_entries(agent, 1)
    assert (await agent.verify_audit(noted)).is_whole
    store._audit_links.clear()
    store._audit_start = store._audit_head = GENESIS
    await record_entries(agent, 2)
    assert (await agent.verify_audit()).is_whole
    assert (await agent.verify_audit(noted)).broken.fault is Fault.MISSING
    for wrong in ("", "3", "3:abc"):
        with pytest.raises(InvalidRequest, match="SEQUENCE:DIGEST"):
            await agent.verify_audit(wrong)


async def test_a_log_that_grows_while_it_is_read_is_whole_up_to_where_it_was_read(agent, store):
    await record_entries(agent, 4)
    read = store.audit_links

    async def growing(after: int, limit: int) -> Any:
        page = await read(after, limit)
        if page.head.sequence < 9:
            await record_entries(agent, 1)
        return page

    store.audit_links = growing
    assert (await agent.verify_audit()).is_whole


async def test_links_that_are_dropped_before_they_are_read_are_no_break(agent, store, tmp_path):
    await record_entries(agent, 4)
    read = store.audit_links

    async def overtaken(after: int, limit: int) -> Any:
        page = await read(after, limit)
        await record_entries(agent, 10)
        return page

    store.audit_links = overtaken
    with pytest.raises(Busy, match="dropped links while it was read"):
        await agent.export_audit(tmp_path / "log.jsonl")
    assert list(tmp_path.iterdir()) == []


async def test_an_export_goes_to_a_new_file_that_only_its_owner_reads(agent, tmp_path):
    path = tmp_path / "log.jsonl"
    await agent.export_audit(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(Conflict, match=r"log\.jsonl exists already"):
        await agent.export_audit(path)
    with pytest.raises(InvalidRequest, match="cannot be written: No such file"):
        await agent.export_audit(tmp_path / "nowhere" / "log.jsonl")


async def test_a_rollout_of_the_store_is_decided_again(agent, store):
    rollout = begin("r-1", "churn", "1", "2", RolloutPolicy(), 1000.0, "ann")
    await store.create_rollout(rollout)
    aborted_rollout = abort(rollout, "ann", "changed my mind", 1001.0)
    await store.save_rollout(aborted_rollout, rollout)
    assert (await agent.replay_rollout("r-1")).is_same
    altered = replace(aborted_rollout.transitions[1], by="mallory", reason="")
    await store.save_rollout(
        replace(aborted_rollout, champion="3", transitions=(aborted_rollout.transitions[0], altered)), aborted_rollout
    )
    assert (await agent.replay_rollout("r-1")).is_same  # who did what is the audit log's to keep
    await store.save_rollout(replace(aborted_rollout, step=2), await store.rollout("r-1"))
    assert (await agent.replay_rollout("r-1")).difference.where == "rollout: step"
    with pytest.raises(NotFound, match="r-2"):
        await agent.replay_rollout("r-2")


def run_verify(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", "verify", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


async def test_the_command_line_verifies_a_file_alone(agent, tmp_path: Path):
    await record_entries(agent, 9)
    head = (await agent.export_audit(tmp_path / "log.jsonl")).head
    file = str(tmp_path / "log.jsonl")
    code, text = run_verify("--file", file, "--noted", str(head))
    assert code == 0
    assert "7 links were read, 3 to 9 hold" in text
    assert "links up to 2 were dropped before" in text
    assert f"head {head}" in text
    code, text = run_verify("--file", file, "--noted", str(ChainPoint(9, "0" * 64)), "--json")
    assert (code, json.loads(text)["broken"]["sequence"]) == (1, 9)


async def test_the_command_line_names_the_broken_link_of_a_file_and_exits_with_1(agent, tmp_path: Path):
    await record_entries(agent, 6)
    path = tmp_path / "log.jsonl"
    await agent.export_audit(path)
    whole = path.read_bytes()
    for changed, message in (
        (whole.replace(b'"at":3.0', b'"at":3.5'), "broken at link 4: altered entry"),
        (whole.replace(b"\n", b"\r\n"), None),
        (whole.replace("é".encode(), b"\xff", 1), "broken at link 1: altered entry"),
        (b"".join(whole.splitlines(keepends=True)[:-3]), "broken at link 5: missing link"),
    ):
        path.write_bytes(changed)
        if message is None:
            with pytest.raises(InvalidRequest, match="no exported audit log"):
                run_verify("--file", str(path))
            continue
        code, text = run_verify("--file", str(path))
        assert code == 1
        assert message in text


@pytest.mark.parametrize("name", ["nothing.jsonl", "."])
def test_the_command_line_refuses_a_file_that_it_cannot_read(tmp_path: Path, name: str):
    with pytest.raises(InvalidRequest, match="cannot be read"):
        run_verify("--file", str(tmp_path / name))


async def test_the_command_line_checks_the_signatures_of_a_file_with_its_keys(tmp_path: Path):
    keys = tmp_path / "keys"
    keys.write_text("1" * 64)
    keys.chmod(0o600)
    link = link_entry(GENESIS, AuditEntry(1.0, "ann", "model.update"), parse_keyring("1" * 64).newest)
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join([opening_line(GENESIS), link.line, closing_line(link.point)]) + "\n")
    code, text = run_verify("--file", str(file))
    assert (code, "signed from link 1 on; signatures were not checked" in text) == (0, True)
    code, text = run_verify("--file", str(file), "--key-file", str(keys))
    assert (code, "signatures were checked" in text) == (0, True)
    keys.write_text("2" * 64)
    code, text = run_verify("--file", str(file), "--key-file", str(keys))
    assert (code, "broken at link 1: unknown key" in text) == (1, True)
    with pytest.raises(Unavailable, match="there are no audit keys in"):
        run_verify("--file", str(file), "--key-file", str(tmp_path / "nothing"))
    with pytest.raises(InvalidRequest, match="--key-file goes with --file"):
        run_verify("--key-file", str(keys))


def test_the_command_line_adds_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "keys"
    monkeypatch.setenv("OPT_AGENT_AUDIT_KEY_FILE", str(path))
    for count in (1, 2):
        done = CliRunner().invoke(app, ["audit", "new-key"])
        keyring = parse_keyring(path.read_text())
        assert len(keyring.keys) == count
        assert f"key {keyring.ids[-1]} signs from now on, after {count - 1} older keys" in done.stdout
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
