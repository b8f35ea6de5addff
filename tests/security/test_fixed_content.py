"""Documents and files that strangers may ask for are made once, however often they are asked for."""

import json
import re
from pathlib import Path

import httpx
import pytest

from serve_app.api import docs
from serve_app.dashboard import asset_files

ROOT = "http://optagent"


async def test_the_page_and_the_document_of_the_api_are_made_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    render_page, dumps = docs.render_page, json.dumps
    monkeypatch.setattr(docs, "render_page", lambda *given: (made.append("page"), render_page(*given))[1])
    monkeypatch.setattr(
        docs.json, "dumps", lambda *given, **options: (made.append("json"), dumps(*given, **options))[1]
    )
    pages = [(await client.get(f"{ROOT}/docs", headers={"Host": f"host-{number}"})).text for number in range(3)]
    count = len(made)
    assert count == made.count("json") + 1  # the examples of the page
    assert [page.count(f"http://host-{number}/api/v1") > 10 for number, page in enumerate(pages)] == [True] * 3
    for _ in range(3):
        assert (await client.get(f"{ROOT}/openapi.json")).json()["info"]["title"] == "optagent"
    assert len(made) == count + 1


async def test_a_host_cannot_write_into_the_page(client: httpx.AsyncClient) -> None:
    page = (await client.get(f"{ROOT}/docs", headers={"Host": '"><script>'})).text
    assert "<script>" not in page


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/dashboard/static/plotly.min.js"])
async def test_who_has_it_already_is_sent_nothing(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(f"{ROOT}{path}")
    assert first.headers["cache-control"].startswith("max-age=")
    again = await client.get(f"{ROOT}{path}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_files_are_read_once_and_kept_for_good_under_the_url_that_pages_use(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (await client.get(f"{ROOT}/dashboard/sign-in")).text
    urls = re.findall(r'"(/dashboard/static/[^"]+)"', page)
    assert len(urls) == 2
    await client.get(f"{ROOT}{asset_files.asset_url('plotly.min.js')}")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read again"))
    for url in (*urls, asset_files.asset_url("plotly.min.js")):
        answer = await client.get(f"{ROOT}{url}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    other = await client.get(f"{ROOT}/dashboard/static/dashboard.css?v=old")
    assert "immutable" not in other.headers["cache-control"]
