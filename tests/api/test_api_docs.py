"""API documents: the OpenAPI document for programs, and a page for people without a network."""

import re
from html import unescape
from typing import Any

import pytest
from fastapi import FastAPI


@pytest.fixture
def document(api: FastAPI) -> dict[str, Any]:
    return api.openapi()


def calls(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path.removeprefix("/api/v1")): call
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    }


def test_every_call_is_documented_with_its_scope_and_its_problems(document: dict[str, Any]):
    for name, call in calls(document).items():
        if name != ("GET", "/optimization/health"):
            assert call["x-scope"] in ("read", "predict", "label", "operate", "admin"), name
            assert call["security"] == [{"bearer": []}], name
            assert {"401", "403", "422", "429", "503"} <= set(call["responses"]), name
            assert set(call["responses"]["401"]["content"]) == {"application/problem+json"}, name
        assert call["description"], name


def test_the_calls_that_were_promised_are_there(document: dict[str, Any]):
    assert set(calls(document)) >= {
        ("POST", "/optimization/analyze"),
        ("POST", "/optimization/hyperparameter"),
        ("POST", "/optimization/ensemble"),
        ("POST", "/optimization/batch"),
        ("GET", "/optimization/status/{process_id}"),
        ("GET", "/optimization/status/{process_id}/events"),
        ("GET", "/optimization/processes"),
        ("POST", "/optimization/processes/{process_id}/cancel"),
        ("GET", "/optimization/health"),
        ("GET", "/models"),
        ("POST", "/models"),
        ("PATCH", "/models/{model_id}"),
        ("POST", "/models/{model_id}/predict"),
        ("POST", "/models/{model_id}/labels"),
        ("GET", "/models/{model_id}/rollout"),
        ("POST", "/models/{model_id}/rollout"),
        ("POST", "/models/{model_id}/rollout/promote"),
        ("POST", "/models/{model_id}/rollout/abort"),
        ("POST", "/models/{model_id}/rollout/rollback"),
        ("GET", "/models/{model_id}/mixture"),
        ("POST", "/models/{model_id}/mixture/freeze"),
        ("POST", "/models/{model_id}/mixture/thaw"),
        ("POST", "/models/{model_id}/mixture/champion-only"),
        ("POST", "/models/{model_id}/mixture/forget"),
    }


def test_every_post_that_changes_something_takes_an_idempotency_key(document: dict[str, Any]):
    for (method, path), call in calls(document).items():
        if method == "POST" and not path.endswith(("/predict", "/labels")):
            names = [parameter["name"] for parameter in call.get("parameters", ())]
            assert ("Idempotency-Key" in names) == (call["x-scope"] != "read"), path


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]):
    references = set(re.findall(r"'#/components/schemas/([^']+)'", repr(document)))
    assert references <= set(document["components"]["schemas"])


async def test_the_page_shows_every_call_and_asks_nothing_of_others(client, document: dict[str, Any]):
    answer = await client.get("http://optagent/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for path in document["paths"]:
        assert f"<code>{path}</code>" in answer.text
    assert not re.search(r"<(script|link|img|iframe)", answer.text)
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_the_page_has_a_line_of_curl_that_can_be_sent(client):
    page = unescape((await client.get("http://optagent/docs")).text)
    assert "curl -X POST http://optagent/api/v1/optimization/analyze" in page
    assert "curl -X GET http://optagent/api/v1/models/churn/versions" in page
    assert "-H 'Authorization: Bearer oa_...'" in page
    assert '{"model_id": "churn"}' in page


async def test_links_of_the_page_lead_to_what_is_on_it(client):
    page = (await client.get("http://optagent/docs")).text
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
