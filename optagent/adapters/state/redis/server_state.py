"""Server state: a look at a Redis server, its INFO and its clock, without a write and within seconds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from optagent.adapters.state.redis.address import address_of, client_at
from optagent.errors import Unavailable

_LIMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class ServerState:
    """The INFO of a server, and the seconds that its clock is ahead of this machine's."""

    info: Mapping[str, Any]
    ahead_s: float


def look_at_server(url: str, now: Callable[[], float]) -> ServerState:
    """Blocks for some seconds at most; raises Unavailable, with the address."""
    retry = Retry(NoBackoff(), 0)
    client = client_at(Redis.from_url, url, socket_timeout=_LIMIT_S, socket_connect_timeout=_LIMIT_S, retry=retry)
    address = address_of(client)
    try:
        info: Any = client.info()
        before = now()
        seconds, micros = client.time()
        ahead_s = seconds + micros / 1e6 - (before + now()) / 2
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis at {address} does not answer: {error}") from None
    finally:
        client.close()
    return ServerState(info, ahead_s)
