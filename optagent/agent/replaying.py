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
        found = _Named(str(which))
        report = await self._verified(None, found.take)
        rollout_id = found.rollout_id
        if rollout_id is not None and rollout_id != found.name:
            return await self.replay_decision(rollout_id)
        rollout = None
        if not found.sequence:
            with suppress(NotFound):
                rollout = await self._store.rollout(found.name)
        if rollout is None:
            return await self._judged_again(found.judged(), report)
        return await asyncio.to_thread(_decided_again, rollout, found.links, report)

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


class _Named:
    """The links that name a process or a rollout, or the link of a sequence number."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sequence = int(name) if name.isascii() and name.isdigit() and len(name) <= _DIGITS else 0
        self.links: list[AuditLink] = []
        quoted = json.dumps(name, ensure_ascii=False)
        self._ids = tuple(f'"{kind}":{quoted}' for kind in ("process_id", "rollout_id"))

    def take(self, lines: list[str]) -> None:
        self.links += [link_of(line) for line in lines if self._is_meant(line)]

    @property
    def rollout_id(self) -> str | None:
        """The rollout that the numbered link is of, if it is of one."""
        if not self.sequence:
            return None
        entry = self._numbered().entry
        found = entry.detail.get("rollout_id") if entry.action.startswith("rollout.") else None
        return found if isinstance(found, str) else None

    def judged(self) -> AuditLink:
        """The link of that number, or the last decision of the process of that name."""
        if self.sequence:
            return self._numbered()
        for link in reversed(self.links):
            with suppress(InvalidRequest):
                if link.entry.action == JUDGED and link.entry.detail.get("process_id") == self.name:
                    return link
        raise NotFound(f"{self.name!r} is no rollout, and no process with a decision in the audit log")

    def _numbered(self) -> AuditLink:
        for link in self.links:
            if link.sequence == self.sequence:
                return link
        raise NotFound(f"link {self.name} is not in the audit log")

    def _is_meant(self, line: str) -> bool:
        if self.sequence:
            return line.endswith(f'"sequence":{self.sequence}}}')
        return any(one in line for one in self._ids)


def _decided_again(rollout: Rollout, links: list[AuditLink], report: ChainReport) -> "RolloutReplay":
    from optagent.loop.rollout.replay import replay_rollout
    from optagent.loop.rollout.replay_audit import unlike_log

    replay = replay_rollout(rollout)
    found = replay.difference or unlike_log(rollout, links, report.is_trimmed) or _broken(report)
    return replace(replay, difference=found)


def _broken(report: ChainReport) -> "ReplayDifference | None":
    from optagent.loop.rollout.replay import ReplayDifference

    return None if report.is_whole else ReplayDifference("audit log", "whole", f"broken at {report.broken}")
