"""Watch marks that older versions left in Redis still count."""

import secrets
from collections.abc import AsyncIterator

import pytest

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import WatchMark, Window

DAY = 86_400.0
LATEST, OLDER = Window(19_701 * DAY, 19_702 * DAY), Window(19_700 * DAY, 19_701 * DAY)


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[RedisStore]:
    with EmbeddedRedis(tmp_path) as server:
        store = RedisStore(server.url, prefix=f"test-{secrets.token_hex(4)}")
        yield store
        await store.close()


async def save_older_mark(store: RedisStore, name: str, *windows: Window) -> None:
    """As `watch_once` did: an empty report, whose digest names the windows."""
    text = " ".join(f"{window.start!r}..{window.end!r}" for window in windows)
    await store.save_report(f"watched:churn:{name}", text, ModelReport("churn", window=windows[0], created_at=1.0))


async def test_a_mark_of_before_is_read(store):
    await save_older_mark(store, "due", LATEST, OLDER)
    await save_older_mark(store, "seen", OLDER)
    assert await store.watch_mark("churn") == WatchMark((LATEST, OLDER), (OLDER,))
    assert await store.watch_mark("fraud") == WatchMark()


async def test_a_mark_of_before_that_was_cut_short_is_read(store):
    await save_older_mark(store, "seen", OLDER)
    assert await store.watch_mark("churn") == WatchMark((), (OLDER,))


async def test_a_mark_of_now_counts_more_than_one_of_before(store):
    await save_older_mark(store, "due", OLDER)
    await store.save_watch_mark("churn", WatchMark((LATEST,), (LATEST,)))
    assert await store.watch_mark("churn") == WatchMark((LATEST,), (LATEST,))
