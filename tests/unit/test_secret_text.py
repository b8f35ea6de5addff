"""Secrets of URLs are hidden in any text, whatever a password holds, once and in linear time."""

import pickle
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.codec import without_secrets
from optagent.domain.dataset import SqlSource
from optagent.domain.model import ModelSpec, Task
from optagent.errors import InvalidData, NotFound, OptAgentError, Unavailable
from optagent.secret_text import hide_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hun@#?/hunter2@db/orders", "postgresql://me:***@db/orders"),
        ("postgresql://me:with space@db/orders", "postgresql://me:***@db/orders"),
        ("postgresql://${DB_USER}:${PASSWORD}@db/orders", "postgresql://${DB_USER}:${PASSWORD}@db/orders"),
        ("postgresql://me:a${PASSWORD}@db/orders", "postgresql://me:***@db/orders"),
        ("mysql://db/orders?user=me&password=hunter2", "mysql://db/orders?***"),
        ("s3://key:sec/ret@bucket/rows-?.csv", "s3://key:***@bucket/rows-?.csv"),
        ("redis://:hunter2@host:6379/0 is away", "redis://:***@host:6379/0 is away"),
        ("no answer of https://token@host/x and ftp://a:b@c.", "no answer of https://***@host/x and ftp://a:***@c."),
        ("x://host/,y://me:hunter2@host", "x://host/,y://me:***@host"),
        ("{'url': 'postgresql://me:hunter2@db/x', 'n': 1}", "{'url': 'postgresql://me:***@db/x', 'n': 1}"),
        (
            "select * from dblink('host=x password=hunter2 dbname=y')",
            "select * from dblink('host=x password=*** dbname=y')",
        ),
        ("where pwd = 'it''s'", "where pwd = ***"),
        ("/data/rows-?.csv of me@example.com", "/data/rows-?.csv of me@example.com"),
        ("http://127.0.0.1:8000/api/v1 is up", "http://127.0.0.1:8000/api/v1 is up"),
    ],
)
def test_a_text_is_shown_without_its_secrets(text: str, shown: str) -> None:
    assert (hide_secrets(text), hide_secrets(shown)) == (shown, shown)


@given(st.text(min_size=1).filter(lambda password: password.strip()))
def test_no_password_of_a_url_is_shown_whatever_it_holds(password: str) -> None:
    url = f"postgresql://me:<{password}>@db/orders"
    shown = hide_secrets(url)
    assert shown == "postgresql://me:***@db/orders"
    assert hide_secrets(shown) == shown


@given(st.text("ab:/@?=&$*{} '\"", max_size=200))
def test_what_is_hidden_stays_as_it_is(text: str) -> None:
    shown = hide_secrets(text)
    assert hide_secrets(shown) == shown


@pytest.mark.parametrize(
    "part", ["://", "a://b:", "a://b:***@", "http://x", "password=", "password = '", "://x?a=", "?a"]
)
def test_long_texts_take_no_longer_than_their_length(part: str) -> None:
    started = time.process_time()
    hide_secrets(part * 50_000)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("kind", [InvalidData, NotFound, Unavailable, OptAgentError])
def test_the_message_of_an_error_has_no_secrets(kind: type[OptAgentError]) -> None:
    error = kind("postgresql://me:hunter2@db: refused")
    for shown in (str(error), repr(error), str(pickle.loads(pickle.dumps(error)))):  # noqa: S301
        assert "hunter2" not in shown
        assert "postgresql://me:***@db: refused" in shown


@dataclass(frozen=True)
class Noun:
    url: str
    more: dict[str, Any] = field(default_factory=dict)


def test_nouns_and_plain_data_are_shown_without_secrets_and_stay_what_they_are() -> None:
    spec = ModelSpec("churn", Task.BINARY, SqlSource("postgresql://me:hunter2@db/x", "SELECT 1"), "label")
    shown = without_secrets({"spec": spec, "list": [Noun("redis://:a@b", {"c": ("redis://:a@b",)})], "n": 1})
    assert shown["spec"].data == SqlSource("postgresql://me:***@db/x", "SELECT 1")
    assert shown["list"] == [Noun("redis://:***@b", {"c": ("redis://:***@b",)})]
    assert (shown["n"], type(shown["spec"].task)) == (1, Task)
    assert spec.data.url == "postgresql://me:hunter2@db/x"  # type: ignore[union-attr]
