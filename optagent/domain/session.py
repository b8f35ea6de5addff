"""Dashboard sessions: sign-ins of browsers that end, each bound to a token. Only a digest of their ids is stored."""

import secrets
from dataclasses import dataclass

from optagent.domain.token import Token, digest_of

LIFETIME_S = 12 * 3600.0
"""Seconds after which a browser has to sign in again: a working day."""

IDLE_S = 3600.0
"""Seconds without a request after which a session ends. An open page asks every few seconds."""

MOST_SESSIONS = 20
"""Sessions of one token at a time; the oldest ends where another begins, so that nobody can fill the store."""


@dataclass(frozen=True, slots=True)
class DashboardSession:
    """A stored session. `digest` is the SHA-256 of its id, which only the browser has; times are POSIX seconds."""

    digest: str
    token_id: str
    created_at: float
    ends_at: float


def new_session(token: Token, now: float) -> tuple[str, DashboardSession]:
    """A session of that token with a new id of 256 bits: the id for the browser, and the record that is stored.

    It ends no later than the token.
    """
    session_id = secrets.token_urlsafe(32)
    ends_at = now + LIFETIME_S
    if token.expires_at is not None:
        ends_at = min(ends_at, token.expires_at)
    return session_id, DashboardSession(digest_of(session_id), token.token_id, now, ends_at)
