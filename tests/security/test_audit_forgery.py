"""A chain that somebody with Redis alone has written is told from the signed one."""

from pathlib import Path

import pytest

from optagent.adapters.state.audit.files import AuditFiles, audit_files
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.audit import AuditLink
from optagent.domain.audit_chain import Fault
from optagent.errors import Unavailable
from tests.security.signed_log import (
    BATCH,
    ENTRY,
    archive,
    files,
    fill,
    forge,
    open_store,
    server,
    store,
    verify,
    write_chain,
)

__all__ = ["files", "open_store", "server", "store"]


async def test_links_of_a_log_are_signed_and_verified_from_the_first_one(store: RedisStore):
    await fill(store, 5)
    report = await verify(store)
    assert report.is_whole
    assert (report.signed_from, report.has_keys) == (1, True)


async def test_another_chain_without_signatures_is_told(store: RedisStore):
    await fill(store, 5)
    await archive(store)
    await write_chain(store, forge(9))
    report = await verify(store)
    assert (report.broken.sequence, report.broken.fault) == (1, Fault.UNSIGNED)


async def test_another_chain_with_the_signatures_of_another_key_is_told(store: RedisStore, tmp_path: Path):
    await fill(store, 5)
    keys = audit_files(tmp_path, tmp_path / "own.key").keys.read_or_create()
    await write_chain(store, forge(9, key=keys.newest))
    report = await verify(store)
    assert (report.broken.sequence, report.broken.fault) == (1, Fault.UNKNOWN_KEY)


async def test_a_forged_signature_under_the_name_of_the_key_is_told(store: RedisStore, files: AuditFiles):
    await fill(store, 5)
    key_id = files.keys.read().ids[0]
    forged = [AuditLink(link.sequence, link.text, link.digest, key_id, "0" * 64) for link in forge(9)]
    await write_chain(store, forged)
    report = await verify(store)
    assert (report.broken.sequence, report.broken.fault) == (1, Fault.FORGED)


async def test_links_that_were_added_without_a_signature_are_told(store: RedisStore):
    await fill(store, 3)
    links = list((await store.audit_links()).links)
    await write_chain(store, [*links, *forge(2, links[-1].point)])
    report = await verify(store)
    assert (report.broken.sequence, report.broken.fault) == (4, Fault.UNSIGNED)


@pytest.mark.parametrize("count", [2, 4])
async def test_an_end_that_was_cut_off_is_told_by_the_anchor_whatever_was_added_since(open_store, count: int):
    store = open_store()
    await fill(store, 5)
    links = list((await store.audit_links()).links)
    await archive(store)
    await write_chain(store, links[:3])
    again = open_store()
    await fill(again, count)
    report = await verify(again)
    assert not report.is_whole
    assert report.broken.sequence == min(5, 3 + count) if count > 1 else 4


async def test_a_beginning_that_was_cut_off_is_told(store: RedisStore):
    await fill(store, 5)
    links = list((await store.audit_links()).links)
    await archive(store)
    await write_chain(store, links[3:], links[2].point)
    report = await verify(store)
    assert (report.broken.sequence, report.broken.fault) == (1, Fault.MISSING)


async def test_a_log_of_the_version_before_goes_on_signed_and_stays_whole(open_store):
    unsigned = open_store(None)
    await fill(unsigned, 30)  # keeps 25
    store = open_store()
    await fill(store, 3)
    await archive(store)
    report = await verify(store)
    assert report.is_whole
    assert (report.start.sequence, report.signed_from, report.head.sequence) == (5, 31, 33)


async def test_a_program_without_the_key_of_a_signed_log_cannot_append_to_it(open_store, tmp_path: Path):
    await fill(open_store(), 1)
    for other in (None, audit_files(tmp_path / "audit", tmp_path / "other.key", BATCH)):
        with pytest.raises(Unavailable, match=r"is signed with the key [0-9a-f]{16}, and .*OPT_AGENT_AUDIT_KEY_FILE"):
            await open_store(other).append_audit(ENTRY)
    assert not (tmp_path / "other.key").exists()


async def test_a_wrong_key_is_told_by_the_verification(open_store, tmp_path: Path):
    await fill(open_store(), 1)
    other = audit_files(tmp_path / "audit", tmp_path / "other.key", BATCH)
    other.keys.read_or_create()
    report = await verify(open_store(other))
    assert report.broken.fault is Fault.UNKNOWN_KEY
    assert "the file of audit keys does not hold its key" in report.broken.why


async def test_a_new_key_signs_at_once_in_every_program_and_the_old_one_never_again(open_store, files: AuditFiles):
    one, two = open_store(), open_store()
    await fill(one, 2)
    await fill(two, 2)
    old = files.keys.read()
    ids = files.keys.add_key().ids
    three = open_store()
    await fill(three, 1)
    await fill(one, 1)  # has the old keys, is told so by the log, and reads the file again
    links = list((await two.audit_links()).links)
    assert [link.key_id for link in links] == [ids[0]] * 4 + [ids[1]] * 2
    assert (await verify(two)).is_whole
    await write_chain(two, [*links, *forge(1, links[-1].point, key=old.newest)])
    report = await verify(two)
    assert (report.broken.sequence, report.broken.fault) == (7, Fault.FORGED)


def test_a_key_file_is_made_once_and_its_secret_is_never_shown(files: AuditFiles):
    first = files.keys.read_or_create()
    assert files.keys.read_or_create() == first
    assert first.newest is not None
    assert first.newest.secret.hex() not in repr(first) + str(first)


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666])
def test_a_key_file_that_is_open_to_others_is_refused(files: AuditFiles, mode: int):
    files.keys.read_or_create()
    files.keys.path.chmod(mode)
    with pytest.raises(Unavailable, match=f"has mode {mode:04o}, and others must not"):
        files.keys.read()


@pytest.mark.parametrize("text", ["", "# nothing\n", "abc\n", "g" * 64, "0" * 63])
def test_a_file_without_keys_is_refused_without_showing_what_it_holds(files: AuditFiles, text: str):
    files.keys.path.write_text(text)
    files.keys.path.chmod(0o600)
    with pytest.raises(Unavailable, match=r"OPT_AGENT_AUDIT_KEY_FILE: .*audit key") as refusal:
        files.keys.read()
    assert not text.strip() or text.strip() not in str(refusal.value)
