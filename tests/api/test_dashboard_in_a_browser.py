"""Dashboard in a browser: signing in, charts, pages that update themselves, and questions before actions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.async_playwright import Axe
from fastapi import FastAPI
from playwright.async_api import Page, async_playwright, expect

from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.domain.process import Process, Status
from optagent.domain.rollout import advance
from optagent.domain.rollout_look import Look
from optagent.domain.study import Interval
from serve_app.asgi import Application
from tests.api.conftest import NOW
from tests.browser import CHROMIUM, launch_options

CUT_OFF = "Failed to load resource: net::ERR_FAILED"  # what a test cut off itself

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")


@pytest.fixture
async def address(api: FastAPI) -> AsyncIterator[str]:
    """The URL of a running control plane."""
    server = uvicorn.Server(uvicorn.Config(Application(api), port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def page(address: str, agent: OptimizationAgent) -> AsyncIterator[Page]:
    """A page where an operator has signed in; at the end, the browser must have reported no errors."""
    text, _ = await agent.create_token("ana", ["operate"])
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        page = await browser.new_page(base_url=address)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto("/")
        await page.get_by_label("Token").fill(text)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Fleet")).to_be_visible()
        yield page
        await browser.close()
    assert [message for message in complaints if message != CUT_OFF] == []


async def test_a_rollout_is_drawn_and_ended_for_a_reason_after_a_question(
    page: Page, agent: OptimizationAgent, rivals: str, store: InMemoryStore
) -> None:
    started = await agent.start_rollout(rivals, "2")
    looked_at = advance(started, Look("l", NOW, started.state, 0, 90, 90, Interval(0.01, -0.1, 0.1, 0.001)), NOW)
    await store.save_rollout(looked_at, started)
    await page.goto("/dashboard/models/churn")
    await expect(page.locator("#chart-evidence svg.main-svg").first).to_be_visible()

    questions: list[str] = []

    async def refuse(dialog: Any) -> None:
        questions.append(dialog.message)
        await dialog.dismiss()

    page.once("dialog", refuse)
    await page.get_by_role("button", name="Abort").click()
    assert questions == ["Abort version 2 of churn?"]
    assert (await agent.latest_rollout(rivals)).state == "shadow"
    await page.get_by_label("Why").fill("it is Friday")
    await page.wait_for_timeout(3500)  # the page has asked for itself again: what is being written stays
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Abort").click()
    await expect(page.locator("main").get_by_text("aborted", exact=True)).to_be_visible()
    assert (await agent.latest_rollout(rivals)).transitions[-1].reason == "it is Friday"


async def test_a_page_keeps_up_by_itself_and_says_when_nothing_answers(
    page: Page, store: InMemoryStore, process: Callable[..., Process]
) -> None:
    running = process(1, progress={"trials_done": 1, "trials_total": 9, "best_score": None})
    await store.create_process(running, 3600)
    await page.goto("/dashboard/processes/tune-1")
    await expect(page.get_by_text("1 of 9")).to_be_visible()
    await page.get_by_text("What was asked").click()
    running = running.with_progress(NOW + 5, {"trials_done": 7, "trials_total": 9, "best_score": 0.875})
    await store.save_process(running)
    await expect(page.get_by_text("7 of 9, best 0.875")).to_be_visible()
    await expect(page.locator("details#command")).to_have_attribute("open", "")
    await page.route("**/tune-1", lambda route: route.abort())
    running = running.with_progress(NOW + 6, {"trials_done": 8, "trials_total": 9, "best_score": 0.875})
    await store.save_process(running)
    await expect(page.locator("#away")).to_be_visible()
    await page.unroute("**/tune-1")
    await expect(page.locator("#away")).to_be_hidden()
    await expect(page.get_by_text("8 of 9")).to_be_visible()
    await store.save_process(running.with_event(NOW + 7, "failed", Status.FAILED, error="out of memory"))
    await expect(page.get_by_role("alert")).to_have_text("out of memory")
    await expect(page.locator("main[data-follows]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_a_serious_fault_of_accessibility(
    page: Page,
    agent: OptimizationAgent,
    rivals: str,
    store: InMemoryStore,
    process: Callable[..., Process],
    scheme: Any,
) -> None:
    rollout = await agent.start_rollout(rivals, "2")
    await store.create_process(process(1, progress={"trials_done": 1, "trials_total": 9, "best_score": None}), 3600)
    await page.emulate_media(color_scheme=scheme)
    paths = ("", "/models/churn", f"/rollouts/{rollout.rollout_id}", "/processes", "/processes/tune-1")
    serious = {}
    for path in paths:
        await page.goto(f"/dashboard{path}")
        for fault in (await Axe().run(page)).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                serious[path, fault["id"]] = [node["failureSummary"] for node in fault["nodes"]]
    assert serious == {}
