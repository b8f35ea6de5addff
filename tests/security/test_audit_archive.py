"""Archived links of the audit log: files are written before links leave Redis, and what is done to them is told."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.state.audit.files import AuditFiles
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.audit import ChainPoint
from optagent.domain.audit_anchor import AuditAnchor
from optagent.domain.audit_chain import Fault
from optagent.loop import audit
from tests.security.signed_log import (
    archive,
    archived,
    files,
    fill,
    open_store,
    places_in_redis,
    server,
    store,
    verify,
)

__all__ = ["files", "open_store", "server", "store"]


async def test_links_leave_redis_only_once_a_file_has_them_and_the_log_is_read_as_one(
    store: RedisStore, files, tmp_path, monkeypatch
):
    monkeypatch.setattr(audit, "_PORTION", 7)
    await fill(store, 58)
    await archive(store)
    assert await places_in_redis(store) == list(range(31, 59))
    assert [path.name[:25] for path in archived(tmp_path)] == [
        f"{first:012d}-{first + 9:012d}" for first in range(1, 50, 10)
    ]
    report = await verify(store)
    assert report.is_whole
    assert (report.links, report.first, report.last, report.is_trimmed) == (58, 1, 58, False)
    assert [record.sequence for record in await audit.newest_records(store, 5, 33)] == [32, 31, 30, 29, 28]
    assert [record.sequence for record in await audit.newest_records(store, 1000)] == list(range(58, 0, -1))
    assert [record.sequence for record in await audit.newest_records(store, 5, 3)] == [2, 1]
    assert await audit.newest_records(store, 5, 1) == []


async def test_an_archive_that_cannot_be_written_keeps_the_links_in_redis(store: RedisStore, tmp_path: Path, caplog):
    (tmp_path / "audit").write_text("no folder")
    await fill(store, 58)
    await store.close()
    assert "the audit log is not archived, and stays in Redis" in caplog.text
    assert await places_in_redis(store) == list(range(1, 59))


ALTERATIONS: dict[str, tuple[Callable[[Path], Any], int, Fault]] = {
    "altered byte": (
        lambda path: path.write_bytes(path.read_bytes().replace(b'"number":14', b'"number":41')),
        15,
        Fault.ALTERED,
    ),
    "altered signature": (lambda path: path.write_bytes(swap_signatures(path.read_bytes())), 11, Fault.FORGED),
    "cut off": (
        lambda path: path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:6])),
        17,
        Fault.MISSING,
    ),
    "cut within a line": (lambda path: path.write_bytes(path.read_bytes()[:-40]), 20, Fault.MISSING),
    "emptied": (lambda path: path.write_bytes(b""), 11, Fault.MISSING),
    "removed": (lambda path: path.unlink(), 11, Fault.MISSING),
    "grown": (lambda path: path.write_bytes(path.read_bytes() + b"{}\n"), 20, Fault.COPY),
}


def swap_signatures(content: bytes) -> bytes:
    lines = content.splitlines()
    lines[0] = lines[0][:-66] + lines[1][-66:]
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("what", ALTERATIONS)
async def test_what_is_done_to_an_archived_file_is_told(
    store: RedisStore, files: AuditFiles, tmp_path: Path, what: str
):
    change, sequence, fault = ALTERATIONS[what]
    await fill(store, 58)
    await archive(store)
    change(archived(tmp_path)[1])
    broken = (await verify(store)).broken
    assert (broken.sequence, broken.fault) == (sequence, fault)


@pytest.mark.parametrize("what", ALTERATIONS)
async def test_what_is_done_to_a_file_of_links_that_redis_still_has_is_told_too(
    store: RedisStore, files: AuditFiles, tmp_path: Path, what: str
):
    await fill(store, 35)
    await archive(store)
    assert await places_in_redis(store) == list(range(11, 36))
    ALTERATIONS[what][0](archived(tmp_path)[1])
    assert (await verify(store)).broken.fault is Fault.COPY


async def test_all_files_lost_is_a_gap_up_to_what_redis_has(store: RedisStore, files: AuditFiles, tmp_path: Path):
    await fill(store, 58)
    await archive(store)
    for path in archived(tmp_path):
        path.unlink()
    broken = (await verify(store)).broken
    assert (broken.sequence, broken.fault) == (1, Fault.MISSING)


async def test_a_crash_between_archiving_and_dropping_leaves_the_same_links_twice_and_no_gap(
    open_store, files, tmp_path, monkeypatch
):
    store = open_store()
    await fill(store, 58)

    async def crash(start: ChainPoint) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store._archiver, "_drop_batch", crash)
    with pytest.raises(KeyboardInterrupt):
        await archive(store)
    names = archived(tmp_path)
    assert await places_in_redis(store) == list(range(1, 59))
    assert (await verify(store)).links == 58
    await archive(open_store())
    assert archived(tmp_path) == names
    assert await places_in_redis(store) == list(range(31, 59))
    report = await verify(store)
    assert report.is_whole
    assert report.links == 58


async def test_programs_that_archive_at_once_write_the_same_files(open_store, files, tmp_path):
    stores = [open_store() for _ in range(4)]
    await asyncio.gather(*(fill(store, 15) for store in stores))
    await asyncio.gather(*(archive(store) for store in stores))
    assert len(archived(tmp_path)) == 6
    report = await verify(stores[0])
    assert report.is_whole
    assert report.links == 60
    assert await places_in_redis(stores[0]) == list(range(31, 61))


async def test_a_file_that_was_altered_keeps_its_links_in_redis(store: RedisStore, files, tmp_path):
    await fill(store, 30)
    await archive(store)
    path = archived(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-5])
    await fill(store, 20)
    with pytest.raises(Exception, match="the archived audit log was altered"):
        await archive(store)
    assert (await places_in_redis(store))[0] == 1


def test_nothing_of_the_files_is_open_to_others(files: AuditFiles, tmp_path: Path):
    files.archive.write(1, [b"{}"])
    files.keys.read_or_create()
    files.anchor.note(AuditAnchor())
    for path in (*archived(tmp_path), tmp_path / "audit.key", tmp_path / "audit" / "anchor.json"):
        assert path.stat().st_mode & 0o077 == 0, path
