"""Sessions of the dashboard: a cookie that is no token, and that ends by itself, with its token, and by signing out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from optagent.adapters.in_memory.clock import ManualClock
from optagent.agent import OptimizationAgent
from optagent.domain.session import IDLE_S, LIFETIME_S, MOST_SESSIONS
from optagent.domain.token import digest_of
from optagent.errors import Unavailable
from serve_app.asgi import Application

SignIn = Callable[..., Awaitable[httpx.AsyncClient]]
NAME = "optagent_session"


@pytest.fixture
async def browse(api: FastAPI) -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Makes browsers."""
    async with AsyncExitStack() as clients:

        def make_browser(base_url: str = "http://optagent", **cookies: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(Application(api))
            client = httpx.AsyncClient(transport=transport, base_url=base_url, cookies=cookies)
            clients.push_async_callback(client.aclose)
            return client

        yield make_browser


@pytest.fixture
def sign_in(browse: Callable[..., httpx.AsyncClient]) -> SignIn:
    async def sign_in_with(text: str, base_url: str = "http://optagent") -> httpx.AsyncClient:
        client = browse(base_url)
        assert (await client.post("/dashboard/sign-in", data={"token": text})).status_code == 303
        return client

    return sign_in_with


@pytest.fixture
async def text(agent: OptimizationAgent) -> str:
    """The text of a token that may read."""
    return (await agent.create_token("ana", ["read"]))[0]


async def is_signed_in(client: httpx.AsyncClient) -> bool:
    answer = await client.get("/dashboard/processes")
    assert answer.status_code in (200, 303)
    return answer.status_code == 200


async def test_the_cookie_says_nothing_of_the_token(sign_in: SignIn, text: str, api: FastAPI) -> None:
    session_id = (await sign_in(text)).cookies[NAME]
    assert session_id not in text
    assert text[16:] not in session_id
    stored = api.state.context.sessions._sessions
    assert list(stored) == [digest_of(session_id)]
    assert session_id not in repr(stored)
    assert text not in repr(stored)
    assert (await sign_in(text)).cookies[NAME] != session_id


async def test_a_token_in_a_cookie_signs_nobody_in(browse: Any, agent: OptimizationAgent, text: str) -> None:
    [token] = await agent.tokens()
    for value in (text, text[16:], token.token_id, token.digest, digest_of(text)):
        for name in (NAME, "optagent_token"):
            assert not await is_signed_in(browse(**{name: value}))


async def test_the_digest_of_a_session_is_no_session(browse: Any, sign_in: SignIn, text: str, api: FastAPI) -> None:
    await sign_in(text)
    [digest] = api.state.context.sessions._sessions
    assert not await is_signed_in(browse(**{NAME: digest}))
    assert not await is_signed_in(browse(**{NAME: digest[:43]}))


async def test_a_session_ends_though_it_is_used_all_the_time(sign_in: SignIn, text: str, clock: ManualClock) -> None:
    client = await sign_in(text)
    for _ in range(int(LIFETIME_S / 1800) - 1):
        clock.advance(1800)
        assert await is_signed_in(client)
    clock.advance(1800)
    assert not await is_signed_in(client)


async def test_a_session_that_nobody_uses_ends(sign_in: SignIn, text: str, clock: ManualClock) -> None:
    client = await sign_in(text)
    clock.advance(IDLE_S - 1)
    assert await is_signed_in(client)
    clock.advance(IDLE_S)
    assert not await is_signed_in(client)


async def test_sessions_end_with_their_token(sign_in: SignIn, agent: OptimizationAgent, clock: ManualClock) -> None:
    text, token = await agent.create_token("ana", ["read"], expires_s=100.0)
    client = await sign_in(text)
    clock.advance(99)
    assert await is_signed_in(client)
    clock.advance(2)
    assert not await is_signed_in(client)
    text, token = await agent.create_token("ben", ["read"])
    client = await sign_in(text)
    await agent.revoke_token(token.token_id)
    clock.advance(2)
    assert not await is_signed_in(client)


async def test_signing_out_ends_the_session_wherever_its_cookie_was_copied(
    browse: Any, sign_in: SignIn, text: str
) -> None:
    client, other = await sign_in(text), await sign_in(text)
    copy = browse(**{NAME: client.cookies[NAME]})
    assert await is_signed_in(copy)
    answer = await client.post("/dashboard/sign-out", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.headers["location"] == "/dashboard/sign-in"
    assert NAME not in client.cookies
    assert not await is_signed_in(copy)
    assert await is_signed_in(other)


async def test_signing_in_again_ends_the_session_of_before(browse: Any, sign_in: SignIn, text: str) -> None:
    client = await sign_in(text)
    planted = client.cookies[NAME]
    await client.post("/dashboard/sign-in", data={"token": text})
    assert client.cookies[NAME] != planted
    assert await is_signed_in(client)
    assert not await is_signed_in(browse(**{NAME: planted}))


async def test_another_site_signs_nobody_out(sign_in: SignIn, text: str) -> None:
    client = await sign_in(text)
    answer = await client.post("/dashboard/sign-out", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert await is_signed_in(client)


async def test_a_token_has_so_many_sessions_and_no_more(sign_in: SignIn, text: str) -> None:
    clients = [await sign_in(text) for _ in range(MOST_SESSIONS + 2)]
    assert [await is_signed_in(client) for client in clients] == [False] * 2 + [True] * MOST_SESSIONS


@pytest.mark.parametrize(
    ("base_url", "headers", "name", "path"),
    [
        ("http://optagent", {}, NAME, "/dashboard"),
        ("https://optagent", {}, f"__Host-{NAME}", "/"),
        ("http://optagent", {"X-Forwarded-Proto": "https"}, f"__Host-{NAME}", "/"),
    ],
)
async def test_the_cookie_is_as_narrow_as_the_connection_allows(
    browse: Any, text: str, base_url: str, headers: dict[str, str], name: str, path: str
) -> None:
    client = browse(base_url)
    answer = await client.post("/dashboard/sign-in", data={"token": text}, headers=headers)
    [cookie] = [line for line in answer.headers.get_list("set-cookie") if "Max-Age=0" not in line]
    given_name, session_id = cookie.partition(";")[0].split("=")
    assert given_name == name
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    secure = {"secure"} if name != NAME else set()
    assert attributes == {"httponly", "samesite=strict", f"path={path}", *secure}
    for sent, is_in in ((name, True), (NAME if secure else f"__Host-{NAME}", False)):
        page = await browse(base_url).get("/dashboard", headers={**headers, "Cookie": f"{sent}={session_id}"})
        assert (page.status_code == 200) is is_in


async def test_the_token_that_older_programs_left_in_a_browser_is_forgotten(browse: Any, text: str) -> None:
    client = browse(optagent_token=text)
    answer = await client.post("/dashboard/sign-in", data={"token": text})
    left = [line for line in answer.headers.get_list("set-cookie") if line.startswith("optagent_token=")]
    assert len(left) == 1
    assert "Max-Age=0" in left[0]


async def test_while_sessions_cannot_be_looked_up_a_page_is_503_and_nobody_is_signed_out(
    sign_in: SignIn, text: str, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await sign_in(text)

    async def use(digest: str, idle_s: float) -> None:
        raise Unavailable("Redis does not answer")

    with monkeypatch.context() as away:
        away.setattr(api.state.context.sessions, "use", use)
        assert (await client.get("/dashboard")).status_code == 503
    assert await is_signed_in(client)
