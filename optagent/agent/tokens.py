"""Verbs of tokens: who may use the API."""

import math
import secrets
from collections.abc import Sequence

from optagent.agent.base import AgentBase
from optagent.domain.token import Token, digest_of, scopes_named, token_text
from optagent.errors import InvalidRequest
from optagent.ports import Tokens


def new_token(name: str, scopes: Sequence[str], expires_s: float | None, now: float) -> tuple[str, Token]:
    """A token with a secret of its own, as its holder has it and as it is kept."""
    if expires_s is not None and not 0 < expires_s < math.inf:
        raise InvalidRequest(f"expires_s must be above 0 seconds, got {expires_s!r}")
    token_id = secrets.token_hex(6)
    text = token_text(token_id, secrets.token_urlsafe(32))
    until = None if expires_s is None else now + expires_s
    return text, Token(token_id, name, digest_of(text), scopes_named(tuple(scopes)), now, until)


class TokenVerbs(AgentBase):
    """Hands out tokens, and takes them back."""

    async def create_token(self, name: str, scopes: Sequence[str], expires_s: float | None = None) -> tuple[str, Token]:
        """A new token: its text, which is kept nowhere and shown this once, and what is kept of it.

        Scopes are read, predict, operate (includes read) and admin (includes all).
        """
        tokens: Tokens = self._ports.need("tokens")
        text, token = new_token(name, scopes, expires_s, self._ports.clock.now())
        await tokens.create(token)
        return text, token

    async def tokens(self) -> list[Token]:
        """The newest first, with expired and revoked ones."""
        tokens: Tokens = self._ports.need("tokens")
        return await tokens.tokens()

    async def revoke_token(self, token_id: str) -> Token:
        """Ends a token within seconds; raises NotFound."""
        tokens: Tokens = self._ports.need("tokens")
        return await tokens.revoke(token_id, self._ports.clock.now())
