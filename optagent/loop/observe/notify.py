"""Notification of people: each notice is sent once within its cool-down, by whichever process claims it first."""

import asyncio
from collections.abc import Sequence

from optagent.domain.notice import Notice, due_messages
from optagent.errors import InvalidRequest, Unavailable
from optagent.ports import Notifier, Store

RETRY_S = 60.0
"""Seconds after which a notice that could not be sent is tried again."""

_CLAIMED_S = 600.0  # longer than sending takes; a claim of a process that died expires after that


async def send_notices(
    notices: Sequence[Notice], notifier: Notifier, store: Store, now: float, cooldown_s: float
) -> int:
    """Sends the notices whose keys were not sent within the cool-down, and returns their number.

    Notices of one model form one message. The store remembers sent keys, so that neither a restart nor another process
    sends them again. A message that cannot be sent is retried a minute later; the others are sent all the same, and
    Unavailable then names the failures.
    """
    if not cooldown_s > 0:
        raise InvalidRequest(f"cooldown_s must be above 0, got {cooldown_s!r}")
    keys = dict.fromkeys(notice.key for notice in notices)
    notified_at = {key: now for key in keys if not await store.claim_once(key, _CLAIMED_S)}
    groups, _ = due_messages(notices, notified_at, now, cooldown_s)
    sent, troubles = 0, dict[str, None]()
    for group in groups:
        remember_s = cooldown_s
        try:
            await asyncio.to_thread(notifier.send, group)
            sent += len(group)
        except Unavailable as error:
            troubles[str(error)], remember_s = None, min(RETRY_S, cooldown_s)
        for notice in group:
            await store.mark_done(notice.key, remember_s)
    if troubles:
        raise Unavailable("; ".join(troubles))
    return sent
