"""Notify: people are told of what happened, once, by whoever looks first."""

import asyncio
from collections.abc import Sequence

from optagent.domain.notice import Notice, due
from optagent.errors import InvalidRequest, Unavailable
from optagent.ports import Notifier, Store

RETRY_S = 60.0
"""How long what could not be sent waits for the next time."""

_CLAIMED_S = 600.0  # longer than sending takes; who dies meanwhile leaves it to be told after that


async def tell(notices: Sequence[Notice], notifier: Notifier, store: Store, now: float, cooldown_s: float) -> int:
    """Sends the notices whose keys were not told within the cool-down, and answers how many those were.

    Those of a model are one message. The store remembers what was told, so that neither a restart nor another teller
    tells it again. What could not be sent is told a minute later; the others are sent all the same, and Unavailable
    says at the end what was in the way.
    """
    if not cooldown_s > 0:
        raise InvalidRequest(f"cooldown_s must be above 0, got {cooldown_s!r}")
    keys = dict.fromkeys(notice.key for notice in notices)
    told = {key: now for key in keys if not await store.first_time(key, _CLAIMED_S)}
    groups, _ = due(notices, told, now, cooldown_s)
    sent, troubles = 0, dict[str, None]()
    for group in groups:
        kept_s = cooldown_s
        try:
            await asyncio.to_thread(notifier.send, group)
            sent += len(group)
        except Unavailable as error:
            troubles[str(error)], kept_s = None, min(RETRY_S, cooldown_s)
        for notice in group:
            await store.remember(notice.key, kept_s)
    if troubles:
        raise Unavailable("; ".join(troubles))
    return sent
