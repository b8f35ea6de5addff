"""Bodies of requests: a bad one is refused with its field and rule, and never breaks anything."""

import json
from typing import Any

import pytest

ANALYZE = "/optimization/analyze"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "model_id: field required"),
        ({"model_id": "churn", "analysis": "full"}, "analysis: extra inputs are not permitted, got 'full'"),
        ({"model_id": 7}, "model_id: input should be a valid string, got 7"),
        ({"model_id": "../etc"}, "model_id: string should match pattern"),
        ({"model_id": "churn", "seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
        ({"model_id": "churn", "seed": "1"}, "seed: input should be a valid integer, got '1'"),
        ({"model_id": "churn", "seed": True}, "seed: input should be a valid integer, got True"),
        ([], "body: input should be a valid"),
        (None, "body: "),
    ],
)
async def test_a_body_that_breaks_a_rule_is_422_with_field_and_rule(call, body: Any, detail: str):
    answer = await call("read", "POST", ANALYZE, json=body)
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"analysis_type": "fast"}, "unknown analysis_type 'fast'; one of ['performance', 'drift'"),
        ({"time_range": "yesterday"}, "write a duration back from now such as 24h"),
    ],
)
async def test_the_domains_own_rules_are_422_in_its_own_words(call, churn_id: str, body: dict[str, str], detail: str):
    answer = await call("read", "POST", ANALYZE, json={"model_id": churn_id, **body})
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"model_id": NaN}',
        b'{"model_id": Infinity}',
        b'{"model_id": "\xff\xfe"}',
        b'{"model_id": "\\ud800"}',
        b"[" * 50_000,
        b'{"a":' * 10_000,
        "{}".encode("utf-16"),
        b"\x00",
    ],
    ids=["cut off", "nan", "infinity", "bad utf-8", "half a surrogate", "deep list", "deep object", "utf-16", "nul"],
)
async def test_what_is_no_json_is_400(call, body: bytes):
    answer = await call("read", "POST", ANALYZE, content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("the body is not JSON: ")


async def test_an_empty_body_is_422(call):
    answer = await call("read", "POST", ANALYZE, content=b"", headers=JSON)
    assert (answer.status_code, answer.json()["detail"]) == (422, "body: field required")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
async def test_another_content_type_is_415(call, kind: str):
    answer = await call("read", "POST", ANALYZE, content=b'{"model_id": "churn"}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "send application/json" in answer.json()["detail"]


async def test_a_charset_beside_the_content_type_does_no_harm(call):
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = await call("read", "POST", ANALYZE, content=b'{"model_id": "none"}', headers=headers)
    assert answer.status_code == 404


async def test_a_body_that_is_too_large_is_413_whether_it_says_so_or_not(call):
    body = json.dumps({"model_id": "x" * 100_000}).encode()
    assert (await call("read", "POST", ANALYZE, content=body, headers=JSON)).status_code == 413

    async def in_pieces():
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    assert (await call("read", "POST", ANALYZE, content=in_pieces(), headers=JSON)).status_code == 413


async def test_a_long_value_is_not_told_back_whole(call):
    answer = await call("read", "POST", ANALYZE, json={"model_id": "churn", "seed": "9" * 50_000})
    assert len(answer.text) < 2000


async def test_ids_in_paths_that_are_none_are_422(call):
    answer = await call("read", "GET", "/models/a%00b")
    assert answer.status_code == 422
    assert "model_id" in answer.json()["detail"]
