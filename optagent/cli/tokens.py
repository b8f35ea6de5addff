"""Token commands: create, list and revoke bearer tokens."""

from typing import TYPE_CHECKING, Annotated

import typer

from optagent import terminal
from optagent.cli.app import ERR, OUT, AsJson, group, print_json, with_agent
from optagent.codec import plain
from optagent.domain.duration import seconds
from optagent.domain.instant import time_text

if TYPE_CHECKING:
    from optagent.domain.token import Token

tokens = group("token", "Say who may use the HTTP API.")


@tokens.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    scope: Annotated[
        list[str],
        typer.Option(help="read, predict, label (send labels), operate (includes read), admin (includes all); repeat."),
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="Limit it to this model; repeat. Unset: all models. Not for admin.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long it holds: 12h, 90d. Unset: until revoked.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token; its text is shown this once."""
    lasts_s = None if expires is None else seconds(expires)
    text, token = with_agent(lambda agent: agent.create_token(name, scope, lasts_s, model or ()))
    if as_json:
        return print_json({"token": text, **_token_fields(token)})
    OUT.print(text, highlight=False, soft_wrap=True)
    ERR.print(f"token {token.token_id} of {name}; it is kept as a digest, and not shown again", highlight=False)


@tokens.command("list")
def list_(as_json: AsJson = False) -> None:
    """List tokens, the newest first."""
    all_tokens: list[Token] = with_agent(lambda agent: agent.tokens())
    if as_json:
        return print_json([_token_fields(token) for token in all_tokens])
    rows = [
        [
            token.token_id,
            token.name,
            ", ".join(token.rights),
            ", ".join(token.models) or "all",
            time_text(token.created_at),
            *("" if at is None else time_text(at) for at in (token.expires_at, token.revoked_at)),
        ]
        for token in all_tokens
    ]
    terminal.show_table(OUT, ["token", "name", "scopes", "models", "created", "expires", "revoked"], rows)


@tokens.command()
def revoke(
    token_id: Annotated[
        str, typer.Argument(metavar="TOKEN", help="The id of a token, as `optagent token list` shows it.")
    ],
) -> None:
    """End a token; gateways refuse it within seconds."""
    token = with_agent(lambda agent: agent.revoke_token(token_id))
    OUT.print(f"revoked {token.token_id} of {token.name}", highlight=False)


def _token_fields(token: "Token") -> dict[str, object]:
    fields = {**plain(token), "scopes": [str(scope) for scope in token.rights]}
    return {name: value for name, value in fields.items() if name not in ("digest", "predict_sends_labels")}
