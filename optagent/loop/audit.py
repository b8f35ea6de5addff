"""Audit verification: the log is verified link by link, and the decisions in it are made again."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from optagent.domain.audit import AuditEntry, AuditLink, AuditRecord, ChainPoint, parse_link
from optagent.domain.audit_chain import ChainReport, Verification, closing_line, opening_line
from optagent.domain.audit_search import AuditSearch
from optagent.domain.gate_decision import JUDGED
from optagent.domain.mixture_status import MixtureReplay
from optagent.domain.rollout import Rollout
from optagent.errors import Busy, InvalidRequest, NotFound, OptAgentError
from optagent.loop.context import Ports
from optagent.loop.gates.removals import REMOVAL, check_rollout_stays, explain_removals, is_removal
from optagent.loop.gates.replay import GateReplay, decision_of, ledger_of, replay_gates
from optagent.loop.mixture.advance import PUBLISHED
from optagent.loop.mixture.relearn import replay_mixture
from optagent.loop.rollout.replay import ReplayDifference, RolloutReplay, replay_rollout
from optagent.loop.rollout.replay_audit import differs_from_log
from optagent.ports import Store

_PORTION = 1000  # links
_DIGITS = 18  # of the largest sequence number
_END = 10**15  # a place beyond every log; Redis counts in floating point


async def verify_audit(store: Store, noted: ChainPoint | None, take_lines: Callable[[list[str]], None]) -> ChainReport:
    """Verifies the log and its archive a portion at a time, and passes the lines of an export to `take_lines`.

    `take_lines` runs in a thread. Raises Busy where links were dropped faster than they were read.
    """
    trust = await store.audit_trust()  # before the log is read, which is never behind what was noted about it
    page = await store.audit_links(0, _PORTION)
    verification, lines = Verification(page.start, noted, trust), [opening_line(page.start)]
    while True:
        verification.take(page.links)
        verification.take_faults(page.faults)
        lines += [link.line for link in page.links]
        if len(page.links) < _PORTION:
            await asyncio.to_thread(take_lines, [*lines, closing_line(page.head)])
            return verification.report(page.head)
        await asyncio.to_thread(take_lines, lines)
        after, lines = page.until, []
        page = await store.audit_links(after, _PORTION)
        if page.start.sequence > after:
            raise Busy(f"the audit log dropped links while it was read, up to {page.start.sequence}: try again")


async def newest_records(
    store: Store, limit: int, before: int | None = None, search: AuditSearch | None = None
) -> list[AuditRecord]:
    """The newest entries of the log that fit a search, archive and all, the newest first; those before sequence number
    `before`.

    A search reads the log back to its start, a part at a time, until there are `limit` entries.
    """
    page = await store.audit_links(_END, 1)  # no link: only the head and the start
    last = page.head.sequence if before is None else min(before - 1, page.head.sequence)
    search = search or AuditSearch()
    part, records = (limit if search.is_open else max(limit, _PORTION)), list[AuditRecord]()
    while last > page.start.sequence and len(records) < limit:
        after = max(page.start.sequence, last - part)
        newest = await _read_records(store, after, last - after)
        records += [record for record in newest if search.matches(record)]
        last = after
    return records[:limit]


async def _read_records(store: Store, after: int, count: int) -> list[AuditRecord]:
    """So many entries after a sequence number, the newest first."""
    links = (await store.audit_links(after, count)).links
    try:
        return [link.record for link in reversed(links)]
    except InvalidRequest as error:
        raise OptAgentError(f"the audit log was altered: {error}") from None


async def replay_decision(name: str, ports: Ports) -> RolloutReplay | GateReplay | MixtureReplay:
    """Makes the decisions of a rollout, an optimization or a mixture again, and compares bit for bit.

    `name` is the id of a rollout, of a process or of a model with a mixture, or the sequence number of a link. Raises
    NotFound, InvalidRequest for a link that is no such decision, and Busy as `verify_audit`.
    """
    links, number = list[AuditLink](), _sequence_number(name)

    def take_lines(lines: list[str]) -> None:
        links.extend(parse_link(line) for line in lines if _concerns(line, name, number))

    report = await verify_audit(ports.store, None, take_lines)
    removals = [link for link in links if is_removal(link)]
    if number is not None:
        link = _find_link(links, number)
        if link.entry.action == PUBLISHED:
            return await replay_logged_mixture(link.entry.target, ports)
        rollout_id = _rollout_of(link)
        if rollout_id is None or rollout_id == name:
            return await _replay_gates(link, report, ports, removals)
        return await replay_decision(rollout_id, ports)
    try:
        rollout = await ports.store.rollout(name)
    except NotFound:
        check_rollout_stays(name, removals)
        decision = _last_decision(links, name)
        if decision is None:
            return await _replay_named_mixture(name, ports)
        return await _replay_gates(decision, report, ports, removals)
    return await asyncio.to_thread(_replay_rollout, rollout, links, report)


async def replay_logged_mixture(model_id: str, ports: Ports) -> MixtureReplay:
    """Learns the archived rows of a model's mixture again, and compares each digest in the log, and the journal's.

    The whole log is verified on the way. Raises NotFound where the model has no mixture, and Busy as `verify_audit`.
    """
    logged = list[AuditEntry]()
    target = f'"target":{json.dumps(model_id, ensure_ascii=False)}'

    def take_lines(lines: list[str]) -> None:
        entries = (parse_link(line).entry for line in lines if target in line and f'"{PUBLISHED}"' in line)
        logged.extend(entry for entry in entries if (entry.action, entry.target) == (PUBLISHED, model_id))

    report = await verify_audit(ports.store, None, take_lines)
    record = await ports.store.mixture(model_id)  # after the log, which is never ahead of the journal
    if record is None:
        raise NotFound(f"model {model_id!r} has no mixture")
    replay = await asyncio.to_thread(replay_mixture, record, ports.require("observations"), logged)
    if replay.is_same and not report.is_whole:
        return replace(replay, difference=f"the audit log is broken at {report.broken}")
    return replay


async def _replay_named_mixture(name: str, ports: Ports) -> MixtureReplay:
    if await ports.store.mixture(name) is None:
        raise NotFound(
            f"{name!r} is no rollout, and no process with a decision in the audit log; nor is it a model with a mixture"
        )
    return await replay_logged_mixture(name, ports)


async def _replay_gates(
    link: AuditLink, report: ChainReport, ports: Ports, removals: Sequence[AuditLink]
) -> GateReplay:
    decision, spec = decision_of(link), await ports.store.model(link.entry.target)
    process = None
    with suppress(NotFound):  # processes may be dropped before the log is
        process = await ports.store.process(decision.process_id)
    looks = await ports.store.looks(ledger_of(decision, link.entry.target))
    replay = await asyncio.to_thread(replay_gates, link, spec, ports, process, looks)
    replay = replace(replay, changed=explain_removals(replay.changed, link, removals))
    broken = _broken_link(report)
    return replay if broken is None else replace(replay, changed=(broken, *replay.changed))


def _replay_rollout(rollout: Rollout, links: list[AuditLink], report: ChainReport) -> RolloutReplay:
    replay = replay_rollout(rollout)
    difference = replay.difference or differs_from_log(rollout, links, report.is_trimmed) or _broken_link(report)
    return replace(replay, difference=difference)


def _broken_link(report: ChainReport) -> ReplayDifference | None:
    return None if report.is_whole else ReplayDifference("audit log", "whole", f"broken at {report.broken}")


def _sequence_number(name: str) -> int | None:
    """The name as the sequence number of a link; None for the id of a rollout or of a process."""
    return (int(name) or None) if name.isascii() and name.isdigit() and len(name) <= _DIGITS else None


def _concerns(line: str, name: str, number: int | None) -> bool:
    """True for a line of a removal and of the link of that number or, without a number, where it may hold the name."""
    if REMOVAL in line:
        return True
    if number is not None:
        return f'"sequence":{number}' in line and parse_link(line).sequence == number
    name_json = json.dumps(name, ensure_ascii=False)
    return f'"process_id":{name_json}' in line or f'"rollout_id":{name_json}' in line


def _find_link(links: list[AuditLink], number: int) -> AuditLink:
    for link in links:
        if link.sequence == number:
            return link
    raise NotFound(f"link {number} is not in the audit log")


def _rollout_of(link: AuditLink) -> str | None:
    """The id of the rollout whose transition a link holds, None for another link."""
    rollout_id = link.entry.detail.get("rollout_id") if link.entry.action.startswith("rollout.") else None
    return rollout_id if isinstance(rollout_id, str) else None


def _last_decision(links: list[AuditLink], process_id: str) -> AuditLink | None:
    """The last decision of a process; None where the log has none."""
    for link in reversed(links):
        with suppress(InvalidRequest):
            if link.entry.action == JUDGED and link.entry.detail.get("process_id") == process_id:
                return link
    return None
