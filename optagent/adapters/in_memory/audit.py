"""In-memory audit log: the chain of audit entries in one process."""

from collections import deque
from itertools import islice

from optagent.adapters.state.audit_bounds import MAX_LINKS, checked_after
from optagent.adapters.state.process_lease import checked_limit
from optagent.domain.audit import GENESIS, AuditEntry, AuditPage, ChainPoint, link_entry, parse_link
from optagent.domain.audit_anchor import AuditTrust


class InMemoryAudit:
    """The part of a Store that keeps the audit log, as lines like the Redis store."""

    def __init__(self, max_links: int = MAX_LINKS) -> None:
        self._audit_kept = max_links
        self._audit_links: deque[str] = deque()
        self._audit_start: ChainPoint = GENESIS
        self._audit_head: ChainPoint = GENESIS

    async def append_audit(self, entry: AuditEntry) -> None:
        link = link_entry(self._audit_head, entry)
        self._audit_links.append(link.line)
        self._audit_head = link.point
        while len(self._audit_links) > self._audit_kept:
            self._audit_start = parse_link(self._audit_links.popleft()).point

    async def audit(self, limit: int = 100) -> list[AuditEntry]:
        return [parse_link(line).entry for line in islice(reversed(self._audit_links), checked_limit(limit))]

    async def audit_links(self, after: int = 0, limit: int = 1000) -> AuditPage:
        first = max(0, checked_after(after) - self._audit_start.sequence)
        links = tuple(map(parse_link, islice(self._audit_links, first, first + checked_limit(limit))))
        until = max(after, self._audit_start.sequence) + len(links)
        return AuditPage(self._audit_start, self._audit_head, links, until)

    async def audit_trust(self) -> AuditTrust:
        return AuditTrust()
