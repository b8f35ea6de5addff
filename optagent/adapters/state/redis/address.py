"""Redis address: makes a blocking or an asyncio client from a URL, and gives its address without the password."""

from collections.abc import Callable
from typing import Any, TypeVar

from optagent.errors import InvalidRequest

Client = TypeVar("Client")

LOOK_FOR_AOF = ("WAITAOF", 1, 0, 100)
"""A command that a server refuses which has no append-only file, is older than 7.2, or forbids the command."""


def client_at(from_url: Callable[..., Client], url: str, **options: Any) -> Client:
    """A client of either kind; the error does not repeat the URL, which may hold a password."""
    try:
        return from_url(url, **options)
    except (ValueError, TypeError):
        raise InvalidRequest("the Redis URL must be redis://, rediss:// or unix:// with valid options") from None


def address_of(client: Any) -> str:
    """HOST:PORT or the path of a socket, without user and password."""
    options = client.connection_pool.connection_kwargs
    return options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
