"""The stores speak TLS to a Redis whose certificate the settings trust, and to no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.store import RedisStore
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidRequest, Unavailable
from optagent.settings import load_settings
from tests.tls_front import make_certificate, speak_tls

MODEL = ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "target")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


@pytest.fixture
def redis_settings(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[dict[str, object]]:
    """Settings of a Redis behind TLS."""
    with (
        EmbeddedRedis(tmp_path / "home") as server,
        speak_tls(server.endpoint.port, *certificate) as port,
    ):
        password = server.endpoint.password
        yield {"redis_host": "127.0.0.1", "redis_port": port, "redis_password": password, "redis_tls": True}


async def test_a_store_reads_and_writes_through_tls(
    redis_settings: dict[str, object], certificate: tuple[Path, Path]
) -> None:
    url = load_settings(**redis_settings, redis_ca_file=certificate[0]).redis_url
    assert url is not None
    store = RedisStore(url)
    await store.save_model(MODEL)
    assert await store.model("churn") == MODEL
    await store.close()


async def test_a_certificate_that_nobody_trusts_is_refused(redis_settings: dict[str, object]) -> None:
    url = load_settings(**redis_settings).redis_url
    assert url is not None
    store = RedisStore(url)
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        await store.model("churn")
    await store.close()


async def test_a_store_without_tls_gets_no_answer_from_a_server_with_it(redis_settings: dict[str, object]) -> None:
    url = load_settings(**redis_settings | {"redis_tls": False}).redis_url
    assert url is not None
    store = RedisStore(url)
    with pytest.raises(Unavailable):
        await store.model("churn")
    await store.close()


def test_certificates_without_tls_are_refused(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidRequest, match="OPT_AGENT_REDIS_CA_FILE needs OPT_AGENT_REDIS_TLS=true"):
        load_settings(redis_host="127.0.0.1", redis_ca_file=certificate[0])


def test_a_file_of_certificates_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nothing\.pem is no file"):
        load_settings(redis_host="127.0.0.1", redis_tls=True, redis_ca_file=tmp_path / "nothing.pem")
