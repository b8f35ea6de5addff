"""A signed audit log on Redis, with small batches and a small bound, and ways to attack it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from optagent.adapters.state.audit.files import AuditFiles, audit_files
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.audit import GENESIS, AuditEntry, AuditLink, ChainPoint, link_entry, parse_link
from optagent.domain.audit_chain import ChainReport
from optagent.loop import audit

ENTRY = AuditEntry(100.0, "ana", "model.update", "churn")
BATCH, IN_REDIS = 10, 25


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(Path(tmp_path_factory.mktemp("home"))) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> AuditFiles:
    return audit_files(tmp_path / "audit", tmp_path / "audit.key", BATCH)


@pytest.fixture
async def open_store(server: EmbeddedRedis, request: pytest.FixtureRequest, files: AuditFiles) -> AsyncIterator[Any]:
    """Opens stores over one log, as several programs have them."""
    stores: list[RedisStore] = []

    def open_one(own_files: AuditFiles | None = files) -> RedisStore:
        stores.append(RedisStore(server.url, request.node.name, IN_REDIS, own_files))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


@pytest.fixture
async def store(open_store: Callable[..., RedisStore]) -> RedisStore:
    return open_store()


async def fill(store: RedisStore, count: int) -> None:
    for number in range(count):
        await store.append_audit(AuditEntry(float(number), "ana", "model.update", detail={"number": number}))


async def archive(store: RedisStore) -> None:
    assert store._archiver is not None
    await store._archiver.archive()


async def verify(store: RedisStore) -> ChainReport:
    return await audit.verify_audit(store, None, lambda lines: None)


async def places_in_redis(store: RedisStore) -> list[int]:
    lines = await store._link.redis.lrange(store._link.key("audit", "links"), 0, -1)
    return [parse_link(line.decode()).sequence for line in reversed(lines)]


def archived(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "audit").glob("*.jsonl"))


async def write_chain(store: RedisStore, links: list[AuditLink], start: ChainPoint = GENESIS) -> None:
    """Replaces the log in Redis, as somebody can who has Redis and nothing else."""
    redis, key = store._link.redis, store._link.key
    await redis.delete(key("audit", "links"), key("audit", "start"), key("audit", "key"))
    await redis.lpush(key("audit", "links"), *(link.line for link in links))
    await redis.set(key("audit", "head"), str(links[-1].point))
    if start != GENESIS:
        await redis.set(key("audit", "start"), str(start))


def forge(count: int, start: ChainPoint = GENESIS, **signed: Any) -> list[AuditLink]:
    links: list[AuditLink] = []
    for _ in range(count):
        links.append(
            link_entry(links[-1].point if links else start, AuditEntry(1.0, "mallory", "rollout.promote"), **signed)
        )
    return links
