"""Token verbs: tokens for the API are created, listed and revoked."""

import math
import secrets
from collections.abc import Sequence

from optagent.agent.acts import current_actor
from optagent.agent.base import AgentBase
from optagent.domain.token import Token, check_new_name, digest_of, scopes_named, token_text
from optagent.errors import Conflict, InvalidRequest
from optagent.ports import Tokens


def new_token(
    name: str,
    scopes: Sequence[str],
    expires_s: float | None,
    now: float,
    token_id: str = "",
    models: Sequence[str] = (),
) -> tuple[str, Token]:
    """A token with a new secret: its text for the holder, and the record that is stored."""
    check_new_name(name)
    if expires_s is not None and not 0 < expires_s < math.inf:
        raise InvalidRequest(f"expires_s must be above 0 seconds, got {expires_s!r}")
    token_id = token_id or secrets.token_hex(6)
    text = token_text(token_id, secrets.token_urlsafe(32))
    until = None if expires_s is None else now + expires_s
    own_models = tuple(dict.fromkeys(models))
    own_scopes = scopes_named(tuple(scopes))
    token = Token(
        token_id, name, digest_of(text), own_scopes, now, until, models=own_models, predict_sends_labels=False
    )
    return text, token


class TokenVerbs(AgentBase):
    """Creates and revokes tokens."""

    async def create_token(
        self, name: str, scopes: Sequence[str], expires_s: float | None = None, models: Sequence[str] = ()
    ) -> tuple[str, Token]:
        """A new token: its text, which is not stored and shown only this once, and its stored record.

        Scopes are read, predict, label (to send labels), operate (includes read) and admin (includes all). They are for
        `models`, which need not be registered yet, or for all models where none are given; admin cannot be limited. The
        text is empty where a request under an idempotency key is repeated and its token exists: if the first answer was
        lost, revoke that token.
        """
        token_id = current_actor().derive_id("token") or secrets.token_hex(6)
        work = self._create_token(name, scopes, expires_s, models, token_id)
        detail = {"scopes": list(scopes), "token_id": token_id, "models": list(models)}
        return await self._perform("token.create", name, work, **detail)

    async def tokens(self) -> list[Token]:
        """All tokens, the newest first, with expired and revoked ones."""
        tokens: Tokens = self._ports.require("tokens")
        return await tokens.tokens()

    async def revoke_token(self, token_id: str) -> Token:
        """Ends a token within seconds; raises NotFound."""
        return await self._perform("token.revoke", token_id, self._revoke_token(token_id))

    async def _create_token(
        self, name: str, scopes: Sequence[str], expires_s: float | None, models: Sequence[str], token_id: str
    ) -> tuple[str, Token]:
        tokens: Tokens = self._ports.require("tokens")
        text, token = new_token(name, scopes, expires_s, self._ports.clock.now(), token_id, models)
        try:
            await tokens.create(token)
        except Conflict:
            earlier = await tokens.find(token_id)
            if not current_actor().act_id or earlier is None:
                raise
            return "", earlier
        return text, token

    async def _revoke_token(self, token_id: str) -> Token:
        tokens: Tokens = self._ports.require("tokens")
        return await tokens.revoke(token_id, self._ports.clock.now())
