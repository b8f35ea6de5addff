"""Token routes: an admin makes, lists and revokes tokens."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from optagent.domain.token import Scope
from serve_app.api.requests import TokenRequest
from serve_app.api.responses import NewToken, TokenView
from serve_app.api.security import CurrentCaller, GuardedRoute, needs

router = APIRouter(prefix="/tokens", tags=["tokens"], route_class=GuardedRoute)

TokenId = Annotated[str, Path(pattern="^[0-9a-f]{12}$", examples=["0f1e2d3c4b5a"], description="id of a token")]


@router.get("", **needs(Scope.ADMIN))
async def tokens(caller: CurrentCaller) -> list[TokenView]:
    """All tokens, the newest first, including expired and revoked ones."""
    return [TokenView.of(token) for token in await caller.agent.tokens()]


@router.post("", status_code=201, **needs(Scope.ADMIN, sends=True, shown_once=("text",)))
async def create(body: TokenRequest, caller: CurrentCaller, response: Response) -> NewToken:
    """Makes a token. Its text is in this answer and nowhere else: only a digest is stored.

    Where its answer under an idempotency key is lost, a repeated request finds the token, with `text` null: revoke it.
    """
    text, token = await caller.agent.create_token(body.name, body.scopes, body.expires_seconds, body.models)
    response.headers["Cache-Control"] = "no-store"
    return NewToken(text=text or None, token=TokenView.of(token))


@router.delete("/{token_id}", **needs(Scope.ADMIN, 404))
async def revoke(token_id: TokenId, caller: CurrentCaller) -> TokenView:
    """Revokes a token; after two seconds at the latest it is refused everywhere."""
    return TokenView.of(await caller.agent.revoke_token(token_id))
