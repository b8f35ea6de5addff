"""Every route of the API asks for a token before it does anything else."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

OPEN = {"/api/v1/optimization/health"}
DATA_PLANE = ("/predict", "/labels")  # here for their documents only: the data plane answers them


async def test_all_routes_but_the_open_ones_ask_for_a_token(api: FastAPI, client: httpx.AsyncClient) -> None:
    for route in iter_route_contexts(api.routes):
        if not route.path.startswith("/api/v1") or route.path in OPEN or route.path.endswith(DATA_PLANE):
            continue
        for method in sorted(route.methods or ()):
            body = b"{" if method in ("PATCH", "POST", "PUT") else None
            answer = await client.request(method, f"http://optagent{route.path}", content=body)
            assert answer.status_code == 401, f"{method} {route.path}"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer oa_x", "Basic abc", "Bearer oa_" + "a" * 5000])
async def test_a_header_without_a_token_is_refused(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get("/models", headers={"Authorization": header})
    assert answer.status_code == 401
