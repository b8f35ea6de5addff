"""Where a Redis or Valkey server is, for blocking and for asyncio clients alike."""

from collections.abc import Callable
from typing import Any, TypeVar

from optagent.errors import InvalidRequest

Client = TypeVar("Client")

LOOK_FOR_AOF = ("WAITAOF", 1, 0, 100)
"""A command that is refused by a server without an append-only file, one older than 7.2, or one that forbids it."""


def client_at(from_url: Callable[..., Client], url: str, **options: Any) -> Client:
    """A client of either kind; the error does not repeat the URL, which may hold a password."""
    try:
        return from_url(url, **options)
    except (ValueError, TypeError):
        raise InvalidRequest("the Redis URL must be redis://, rediss:// or unix:// with valid options") from None


def address_of(client: Any) -> str:
    """HOST:PORT or the path of a socket, without user and password."""
    where = client.connection_pool.connection_kwargs
    return where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"
