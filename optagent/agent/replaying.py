"""The verb that decides once more what the audit log says was decided."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from optagent.agent.access import AccessVerbs
from optagent.domain.audit import AuditLink, link_of
from optagent.domain.audit_chain import ChainReport
from optagent.domain.gate_decision import JUDGED
from optagent.domain.rollout import Rollout
from optagent.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from optagent.loop.gates.replay import GateReplay
    from optagent.loop.rollout.replay import ReplayDifference, RolloutReplay

_DIGITS = 18  # of the largest sequence number


class ReplayVerbs(AccessVerbs):
    """Makes decisions again."""

    async def replay_decision(self, which: str | int) -> "RolloutReplay | GateReplay":
        """Decides again what a rollout or an optimization came to, and compares bit for bit.

        `which` is the id of a rollout or of a process, or the sequence number of a link of the audit log. The whole log
        is verified on the way. Raises NotFound, InvalidRequest for a link that is no such decision, and Busy as
        `verify_audit`.
        """
        name, links = str(which), list[AuditLink]()
        number = _sequence_number(name)

        def keep(lines: list[str]) -> None:
            links.extend(link_of(line) for line in lines if _concerns(line, name, number))

        report = await self._verified(None, keep)
        if number is not None:
            link = _find_link(links, number)
            rollout_id = _rollout_of(link)
            if rollout_id is None or rollout_id == name:
                return await self._judged_again(link, report)
            return await self.replay_decision(rollout_id)
        try:
            rollout = await self._store.rollout(name)
        except NotFound:
            return await self._judged_again(_last_decision(links, name), report)
        return await asyncio.to_thread(_decided_again, rollout, links, report)

    async def _judged_again(self, link: AuditLink, report: ChainReport) -> "GateReplay":
        from optagent.loop.gates.replay import judged_in, replay_judged

        by, spec = judged_in(link), await self._store.model(link.entry.target)
        process = None
        with suppress(NotFound):  # processes may be dropped before the log is
            process = await self._store.process(by.process_id)
        looks = await self._store.looks(by.holdout)
        replay = await asyncio.to_thread(replay_judged, link, spec, self._outside, process, looks)
        broken = _broken(report)
        return replay if broken is None else replace(replay, changed=(broken, *replay.changed))


def _sequence_number(name: str) -> int | None:
    """The sequence number of a link that a text is; None for the id of a rollout or of a process."""
    return (int(name) or None) if name.isascii() and name.isdigit() and len(name) <= _DIGITS else None


def _concerns(line: str, name: str, number: int | None) -> bool:
    """Whether a line of the log is the link of that number or, without one, may name that rollout or process."""
    if number is not None:
        return line.endswith(f'"sequence":{number}}}')
    quoted = json.dumps(name, ensure_ascii=False)
    return f'"process_id":{quoted}' in line or f'"rollout_id":{quoted}' in line


def _find_link(links: list[AuditLink], number: int) -> AuditLink:
    for link in links:
        if link.sequence == number:
            return link
    raise NotFound(f"link {number} is not in the audit log")


def _rollout_of(link: AuditLink) -> str | None:
    """The id of the rollout that a link is of, if it is of one."""
    rollout_id = link.entry.detail.get("rollout_id") if link.entry.action.startswith("rollout.") else None
    return rollout_id if isinstance(rollout_id, str) else None


def _last_decision(links: list[AuditLink], process_id: str) -> AuditLink:
    """The last decision of a process."""
    for link in reversed(links):
        with suppress(InvalidRequest):
            if link.entry.action == JUDGED and link.entry.detail.get("process_id") == process_id:
                return link
    raise NotFound(f"{process_id!r} is no rollout, and no process with a decision in the audit log")


def _decided_again(rollout: Rollout, links: list[AuditLink], report: ChainReport) -> "RolloutReplay":
    from optagent.loop.rollout.replay import replay_rollout
    from optagent.loop.rollout.replay_audit import unlike_log

    replay = replay_rollout(rollout)
    found = replay.difference or unlike_log(rollout, links, report.is_trimmed) or _broken(report)
    return replace(replay, difference=found)


def _broken(report: ChainReport) -> "ReplayDifference | None":
    from optagent.loop.rollout.replay import ReplayDifference

    return None if report.is_whole else ReplayDifference("audit log", "whole", f"broken at {report.broken}")
