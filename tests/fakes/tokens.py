"""Fake tokens: bearer tokens in the memory of one process."""

from dataclasses import replace

from optagent.adapters.state.store_errors import no_token, token_exists
from optagent.domain.token import Token


class InMemoryTokens:
    """Tokens that are lost with their process."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def create(self, token: Token) -> None:
        if token.token_id in self._tokens:
            raise token_exists(token.token_id)
        self._tokens[token.token_id] = token

    async def find(self, token_id: str) -> Token | None:
        return self._tokens.get(token_id)

    async def tokens(self) -> list[Token]:
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.token_id), reverse=True)

    async def revoke(self, token_id: str, at: float) -> Token:
        if token_id not in self._tokens:
            raise no_token(token_id)
        token = self._tokens[token_id]
        if token.revoked_at is None:
            self._tokens[token_id] = replace(token, revoked_at=at)
        return self._tokens[token_id]
