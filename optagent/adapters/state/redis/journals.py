"""Redis journals: hashes of one record a model, each replaced only as its writer has read it."""

import secrets
from collections.abc import Callable
from hashlib import sha1
from typing import Any

from optagent.adapters.state.redis import scripts
from optagent.adapters.state.redis.connection import RedisConnection
from optagent.codec import encode


async def replace_journal(
    link: RedisConnection, names: tuple[str, str], record: Any, check: Callable[[Any], object]
) -> None:
    """Stores the journal `record` of its model; `check` raises for the stored bytes (None for none) that it may not
    replace.

    `names` are the keys of two hashes: the JSON by model, and by model a name for the call that wrote it last.
    """
    keys = link.key(names[0]), link.key(names[1])
    values = (record.model_id, encode(record), secrets.token_hex(8))

    async def try_save() -> None:
        answer = b"CHANGED"
        while answer in (b"CHANGED", b"TAKEN"):
            data: Any = await link.redis.hget(keys[0], record.model_id)
            check(data)
            if data is None:
                answer = await link.run(scripts.CREATE_MODEL, keys, *values)
            else:
                digest = sha1(data, usedforsecurity=False).hexdigest()
                answer = await link.run(scripts.SAVE_MODEL, keys, *values, digest)

    await link.ask(try_save)
