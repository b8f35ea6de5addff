"""Token verbs: tokens for the API are created, listed and revoked."""

import math
import secrets
from collections.abc import Sequence

from optagent.agent.base import AgentBase
from optagent.domain.token import Token, digest_of, scopes_named, token_text
from optagent.errors import InvalidRequest
from optagent.ports import Tokens


def new_token(name: str, scopes: Sequence[str], expires_s: float | None, now: float) -> tuple[str, Token]:
    """A token with a new secret: its text for the holder, and the record that is stored."""
    if expires_s is not None and not 0 < expires_s < math.inf:
        raise InvalidRequest(f"expires_s must be above 0 seconds, got {expires_s!r}")
    token_id = secrets.token_hex(6)
    text = token_text(token_id, secrets.token_urlsafe(32))
    until = None if expires_s is None else now + expires_s
    return text, Token(token_id, name, digest_of(text), scopes_named(tuple(scopes)), now, until)


class TokenVerbs(AgentBase):
    """Creates and revokes tokens."""

    async def create_token(self, name: str, scopes: Sequence[str], expires_s: float | None = None) -> tuple[str, Token]:
        """A new token: its text, which is not stored and shown only this once, and its stored record.

        Scopes are read, predict, operate (includes read) and admin (includes all).
        """
        tokens: Tokens = self._ports.require("tokens")
        text, token = new_token(name, scopes, expires_s, self._ports.clock.now())
        await tokens.create(token)
        return text, token

    async def tokens(self) -> list[Token]:
        """All tokens, the newest first, with expired and revoked ones."""
        tokens: Tokens = self._ports.require("tokens")
        return await tokens.tokens()

    async def revoke_token(self, token_id: str) -> Token:
        """Ends a token within seconds; raises NotFound."""
        tokens: Tokens = self._ports.require("tokens")
        return await tokens.revoke(token_id, self._ports.clock.now())
