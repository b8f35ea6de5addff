"""Fake sessions: dashboard sessions in the memory of one process."""

from optagent.adapters.state.process_lease import checked_seconds
from optagent.domain.session import MOST_SESSIONS, DashboardSession
from optagent.ports import Clock


class InMemorySessions:
    """Sessions that are lost with their process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, tuple[DashboardSession, float, float]] = {}

    async def close(self) -> None:
        pass

    async def create(self, session: DashboardSession, idle_s: float) -> None:
        now = self._clock.now()
        until = now + checked_seconds("ends_at - created_at", session.ends_at - session.created_at)
        self._sessions = {digest: entry for digest, entry in self._sessions.items() if now < min(entry[1], entry[2])}
        self._sessions[session.digest] = (session, until, now + checked_seconds("idle_s", idle_s))
        own = [digest for digest, entry in self._sessions.items() if entry[0].token_id == session.token_id]
        for digest in own[:-MOST_SESSIONS]:
            del self._sessions[digest]

    async def use(self, digest: str, idle_s: float) -> DashboardSession | None:
        now = self._clock.now()
        session, until, idle_until = self._sessions.get(digest, (None, 0.0, 0.0))
        if session is None or now >= min(until, idle_until):
            return None
        self._sessions[digest] = (session, until, now + checked_seconds("idle_s", idle_s))
        return session

    async def end(self, digest: str) -> None:
        self._sessions.pop(digest, None)
