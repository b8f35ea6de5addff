"""Dashboard over the whole control plane: who may see its pages, what they show, and its actions."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.agent import OptimizationAgent
from optagent.codec import model_from
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.audit import AuditEntry
from optagent.domain.fleet import Fleet
from optagent.domain.monitoring import Window
from optagent.domain.process import Status
from optagent.domain.quality_point import QualityPoint
from optagent.domain.rollout import advance
from optagent.domain.rollout_look import Look
from optagent.domain.study import Interval, Objective, Trial, TrialState
from optagent.domain.study_report import StudyReport, summarize
from optagent.errors import NotFound, Unavailable
from serve_app.asgi import Application
from serve_app.dashboard import charts
from serve_app.dashboard.page import PageRoute
from tests.api.conftest import NOW
from tests.fakes.mixtures import MixedTraffic

EVIL = "<script>alert('x')</script>"

Browser = Callable[[str], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def browser(api: FastAPI, agent: OptimizationAgent) -> AsyncIterator[Browser]:
    """`await browser("read")`: one that has signed in with a token of that scope, which is named after it."""
    clients: list[httpx.AsyncClient] = []

    async def sign_in(scope: str) -> httpx.AsyncClient:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(Application(api)), base_url="http://optagent")
        clients.append(client)
        text, _ = await agent.create_token(scope, [scope])
        assert (await client.post("/dashboard/sign-in", data={"token": text})).status_code == 303
        return client

    yield sign_in
    for client in clients:
        await client.aclose()


async def submit_form(client: httpx.AsyncClient, path: str, **form: str) -> httpx.Response:
    return await client.post(path, data=form, headers={"Sec-Fetch-Site": "same-origin"})


def visible_text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))


async def test_who_is_not_signed_in_is_asked_to_and_comes_back(api: FastAPI, agent: OptimizationAgent) -> None:
    text, _ = await agent.create_token("ana", ["read"])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Application(api)), base_url="http://optagent", follow_redirects=True
    ) as client:
        redirected = await client.get("/dashboard/processes")
        assert redirected.url.path == "/dashboard/sign-in"
        assert 'value="/dashboard/processes"' in redirected.text
        answer = await client.post("/dashboard/sign-in", data={"token": text, "back": "/dashboard/processes"})
        assert answer.url.path == "/dashboard/processes"
        cookie = answer.history[0].headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/dashboard" in cookie
        assert "ana" in answer.text
        assert (await client.post("/dashboard/sign-out")).url.path == "/dashboard/sign-in"
        assert (await client.get("/dashboard")).url.path == "/dashboard/sign-in"
        assert (await client.get("/")).url.path == "/dashboard/sign-in"


async def test_without_a_token_every_page_leads_to_signing_in(api: FastAPI, client: httpx.AsyncClient) -> None:
    pages = [route for route in iter_route_contexts(api.routes) if isinstance(route.original_route, PageRoute)]
    guarded = [route for route in pages if not re.search(r"/sign-|/static/|/dashboard/$", route.path)]
    assert len(guarded) > 12
    for route in guarded:
        path = re.sub(r"[{}]", "", route.path)
        answer = await client.request(min(route.methods), f"http://optagent{path}")
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/dashboard/sign-in?back=/dashboard"), path


@pytest.mark.parametrize("text", ["", "oa_nonsense", "oa_000000000000_" + "x" * 43])
async def test_an_unknown_token_is_refused_in_words(client: httpx.AsyncClient, text: str) -> None:
    answer = await client.post("http://optagent/dashboard/sign-in", data={"token": text})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert re.search(r"not known, has expired or was revoked|a token is needed", answer.text)


async def test_a_token_that_may_only_predict_sees_nothing(client: httpx.AsyncClient, agent: OptimizationAgent) -> None:
    text, _ = await agent.create_token("robot", ["predict"])
    answer = await client.post("http://optagent/dashboard/sign-in", data={"token": text})
    assert answer.status_code == 401
    assert "this needs read" in answer.text


async def test_a_revoked_token_signs_out(browser: Browser, agent: OptimizationAgent, clock: Any) -> None:
    client = await browser("read")
    (token,) = await agent.tokens()
    await agent.revoke_token(token.token_id)
    clock.advance(10)
    answer = await client.get("/dashboard")
    assert answer.headers["location"].startswith("/dashboard/sign-in")


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/dashboardx", "/\\evil.example"])
async def test_signing_in_leads_nowhere_else(
    client: httpx.AsyncClient, agent: OptimizationAgent, elsewhere: str
) -> None:
    text, _ = await agent.create_token("ana", ["read"])
    answer = await client.post("http://optagent/dashboard/sign-in", data={"token": text, "back": elsewhere})
    assert answer.headers["location"] == "/dashboard"


async def test_all_models_with_what_is_wrong_and_what_is_under_way(
    browser: Browser, rivals: str, store: InMemoryStore, process: Any
) -> None:
    await store.save_alerts(
        [Alert("a", "churn", AlertKind.CONCEPT_DRIFT, Severity.CRITICAL, f"the loss rose {EVIL}", {}, NOW, NOW)]
    )
    running = process(1, progress={"trials_done": 31, "trials_total": 100, "best_score": 0.8125})
    await store.create_process(running, 60)
    answer = await (await browser("read")).get("/dashboard")
    text = visible_text(answer)
    assert "1 model: 1 critical" in text
    assert "churn binary critical concept drift: the loss rose" in text
    assert "31 of 100, best 0.8125" in text
    assert EVIL not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_many_models_come_by_the_page(browser: Browser, store: InMemoryStore, churn: dict[str, Any]) -> None:
    spec = model_from(churn)
    for number in range(30):
        await store.save_model(replace(spec, model_id=f"m{number:02d}"))
    client = await browser("read")
    first, second = visible_text(await client.get("/dashboard")), visible_text(await client.get("/dashboard?start=25"))
    assert ("1 to 25 of 30" in first, "m24" in first, "m25" in first) == (True, True, False)
    assert ("26 to 30 of 30" in second, "m24" in second, "m29" in second) == (True, False, True)


async def test_a_page_beyond_the_last_leads_to_the_last(
    browser: Browser, store: InMemoryStore, churn: dict[str, Any]
) -> None:
    spec = model_from(churn)
    for number in range(30):
        await store.save_model(replace(spec, model_id=f"m{number:02d}"))
    answer = await (await browser("read")).get("/dashboard?start=500&q=binary&order=model")
    assert answer.headers["location"] == "/dashboard?q=binary&order=model&start=25"


async def test_words_find_models_and_what_fits_none_is_said(browser: Browser, rivals: str) -> None:
    client = await browser("read")
    assert "churn binary" in visible_text(await client.get("/dashboard?q=chu"))
    answer = await client.get("/dashboard", params={"q": EVIL})
    assert "No model fits" in answer.text
    assert EVIL not in answer.text


async def test_a_metric_over_time_is_drawn_with_its_interval_and_told_in_words(
    browser: Browser, rivals: str, store: InMemoryStore
) -> None:
    day = 86_400.0
    for number in range(3):
        window = Window(NOW - (number + 1) * day, NOW - number * day)
        value = Interval(0.8 + number / 100, 0.7, 0.9, 0.05)
        await store.save_quality("churn", [QualityPoint(window, NOW, "1", 50, 40, "auc", realised=value, drift=0.125)])
    answer = await (await browser("read")).get("/dashboard")
    assert 'aria-label="auc in 3 windows: first 0.82, last 0.8, lowest 0.8, highest 0.82"' in answer.text
    assert "auc 0.8 0.7 to 0.9, 40 rows 0.12" in visible_text(answer)


async def test_a_model_with_its_versions_searches_and_processes(browser: Browser, rivals: str) -> None:
    text = visible_text(await (await browser("read")).get("/dashboard/models/churn"))
    assert "Champion: 1" in text
    assert "holdout_auc" in text
    assert "succeeded" in text
    assert "Optimize" not in text
    assert "Start a rollout" not in text


async def test_a_reader_is_shown_no_buttons_and_may_not_press_them(browser: Browser, rivals: str) -> None:
    client = await browser("read")
    answer = await submit_form(client, "/dashboard/models/churn/optimize", type="tune")
    assert answer.status_code == 403
    assert "this needs operate" in answer.text
    assert (await client.get("/dashboard/audit")).status_code == 403


async def test_an_operator_optimizes_and_cancels(
    browser: Browser, agent: OptimizationAgent, rivals: str, store: InMemoryStore
) -> None:
    client = await browser("operate")
    answer = await submit_form(client, "/dashboard/models/churn/optimize", type="tune", action="candidate")
    assert answer.status_code == 303
    page = await client.get(answer.headers["location"])
    assert "Optimize of churn" in visible_text(page)
    process_id = answer.headers["location"].rpartition("/")[2]
    assert (await agent.process(process_id)).command["optimization_type"] == "tune"
    answer = await submit_form(client, f"/dashboard/processes/{process_id}/cancel")
    assert answer.headers["location"] == f"/dashboard/processes/{process_id}"
    assert await store.cancel_requested(process_id) or (await agent.process(process_id)).status is Status.CANCELLED
    acts = [(entry.actor, entry.action, entry.outcome) for entry in await agent.audit()]
    [token] = await agent.tokens()
    actor = f"operate ({token.token_id}, dashboard)"
    assert acts[:2] == [(actor, "process.cancel", "done"), (actor, "process.submit", "done")]


async def test_a_form_of_another_site_is_refused(browser: Browser, agent: OptimizationAgent, rivals: str) -> None:
    client = await browser("operate")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = await client.post("/dashboard/models/churn/optimize", data={"type": "tune"}, headers=headers)
        assert answer.status_code == 403
        assert "another site" in answer.text or "evil.example" in answer.text
    assert not [process for process in await agent.processes() if process.kind == "optimize"]


async def test_nonsense_in_a_form_is_refused_by_name(browser: Browser, rivals: str) -> None:
    client = await browser("operate")
    answer = await submit_form(client, "/dashboard/models/churn/optimize", type="everything")
    assert answer.status_code == 422
    assert "everything" in answer.text
    answer = await submit_form(client, "/dashboard/models/nobody/optimize", type="tune")
    assert answer.status_code == 404
    answer = await submit_form(client, "/dashboard/models/churn/rollout/promote", why="x" * 1001)
    assert (answer.status_code, "at most 1000 characters, got 1001" in answer.text) == (422, True)
    answer = await submit_form(client, "/dashboard/models/churn/rollout/destroy")
    assert answer.status_code == 422
    answer = await submit_form(client, "/dashboard/models/churn/rollout/start", candidate="x" * 20_000)
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["models/nobody", "processes/none", "rollouts/none"])
async def test_what_is_not_there_is_said_on_a_page(browser: Browser, path: str) -> None:
    answer = await (await browser("read")).get(f"/dashboard/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_rollout_is_started_watched_and_ended_by_hand(
    browser: Browser, agent: OptimizationAgent, rivals: str, store: InMemoryStore
) -> None:
    client = await browser("operate")
    answer = await submit_form(client, "/dashboard/models/churn/rollout/start", candidate="2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/models/churn")
    started = await agent.latest_rollout("churn")
    interval = Interval(0.01, -0.02, 0.04, started.policy.shadow_alpha)
    look = Look("l1", NOW, started.state, 0, 900, 900, interval)
    await store.save_rollout(advance(started, look, NOW), started)
    page = await client.get("/dashboard/models/churn")
    assert "data-chart" in page.text
    assert "Promote" in page.text
    detail = visible_text(await client.get(f"/dashboard/rollouts/{started.rollout_id}"))
    assert "0.01 (-0.02 to 0.04)" in detail
    assert "900 rows of" in detail
    answer = await submit_form(client, "/dashboard/models/churn/rollout/abort", why="a test")
    assert answer.status_code == 303, answer.text
    ended = await agent.latest_rollout("churn")
    [token] = await agent.tokens()
    assert (ended.state, ended.transitions[-1].reason) == ("aborted", "a test")
    assert ended.transitions[-1].by == f"operate ({token.token_id}, dashboard)"
    answer = await submit_form(client, "/dashboard/models/churn/rollout/abort")
    assert answer.status_code == 409


async def test_gates_metrics_and_notes_of_an_optimization(
    browser: Browser, store: InMemoryStore, process: Callable[..., Any]
) -> None:
    result = {
        "verdict": "fail",
        "version": "3",
        "metric": "auc",
        "improvement": {"estimate": -0.01, "low": -0.02, "high": 0.0, "alpha": 0.05},
        "gates": [{"name": "auc_min", "verdict": "fail", "measured": 0.61, "required": 0.7, "reason": "too low"}],
        "new_metrics": {"auc": 0.61},
        "old_metrics": {"auc": 0.62},
        "notes": [f"a note {EVIL}"],
        "error_message": "auc_min: too low",
    }
    ended = process(2, Status.RUNNING, result=result)
    await store.create_process(ended, 60)
    answer = await (await browser("read")).get("/dashboard/processes/tune-2")
    text = visible_text(answer)
    assert "auc_min fail 0.61 0.7 too low" in text
    assert "auc 0.61 0.62" in text
    assert "-0.01 (-0.02 to 0)" in text
    assert EVIL not in answer.text


async def test_a_search_is_drawn_and_its_trials_are_ranked(
    browser: Browser, agent: OptimizationAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = tuple(
        Trial(number, "lightgbm", {"num_leaves": 4 + number}, TrialState.COMPLETE, 0.7 + number / 100)
        for number in range(5)
    )
    summary = summarize("tune-9", "churn", (Objective("auc", True),), trials)

    async def study(study_id: str) -> StudyReport:
        if study_id != "tune-9":
            raise NotFound(f"no study {study_id!r}")
        return StudyReport(summary, trials, {"lightgbm.num_leaves": 1.0})

    monkeypatch.setattr(agent, "study", study)
    client = await browser("read")
    answer = await client.get("/dashboard/studies/tune-9")
    assert "best auc 0.74" in visible_text(answer)
    assert answer.text.count("data-chart=") == 2
    numbers = re.findall(r"<td>(\d)</td>\s*<td><span class=\"badge complete\"", answer.text)
    assert numbers == ["4", "3", "2", "1", "0"]
    assert (await client.get("/dashboard/studies/tune-8")).status_code == 404


async def test_pages_of_plots_are_shut_off_from_the_cookie(browser: Browser, rivals: str) -> None:
    answer = await (await browser("read")).get("/dashboard/models/churn/analysis?range=7d")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "sandbox allow-scripts"
    assert "full analysis" in answer.text
    answer = await (await browser("read")).get("/dashboard/models/churn/analysis?range=never")
    assert answer.status_code == 422
    assert "never" in answer.text


async def test_the_audit_log_and_its_chain(browser: Browser, agent: OptimizationAgent, rivals: str) -> None:
    client = await browser("admin")
    await submit_form(client, "/dashboard/models/churn/optimize", type="tune")
    text = visible_text(await client.get("/dashboard/audit?verify=true"))
    assert "The chain is whole." in text
    [token] = await agent.tokens()
    assert f"admin ({token.token_id}, dashboard) process.submit churn done" in text


async def test_older_audit_entries_are_a_page_away(browser: Browser, agent: OptimizationAgent) -> None:
    client = await browser("admin")
    before = len(await agent.audit(1000))
    for number in range(203):
        await agent.record_audit(AuditEntry(float(number), "ann", "model.update", f"model {number}"))
    page = (await client.get("/dashboard/audit")).text
    assert "model 202" in page
    assert "model 3<" in page
    assert "model 2<" not in page
    assert f'href="?before={before + 4}"' in page
    page = (await client.get(f"/dashboard/audit?before={before + 4}")).text
    assert "model 2<" in page
    assert "model 3<" not in page
    assert "?before=" not in page


async def test_the_audit_log_is_searched_and_its_words_stay_in_the_form(browser: Browser, store: InMemoryStore) -> None:
    for number in range(250):
        await store.append_audit(AuditEntry(float(number), "ana", "rollout.promote", f"m{number % 2}"))
    client = await browser("admin")
    answer = await client.get("/dashboard/audit?action=promote&target=m1&actor=%22%3E%3Cb%3E")
    assert "No entry fits." in visible_text(answer)
    assert 'value="&#34;&gt;&lt;b&gt;"' in answer.text
    answer = await client.get("/dashboard/audit?action=promote")
    assert "action=promote" in re.search(r'href="(\?[^"]*before=\d+)"', answer.text)[1]
    assert (await client.get("/dashboard/audit?range=soon")).status_code == 422


async def test_what_is_away_is_said_on_the_page(
    browser: Browser, agent: OptimizationAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*arguments: Any) -> Fleet:
        raise Unavailable("redis does not answer")

    client = await browser("read")
    monkeypatch.setattr(agent, "fleet", away)
    answer = await client.get("/dashboard")
    assert answer.status_code == 503
    assert "redis does not answer" in answer.text
    assert answer.headers["retry-after"]


async def test_no_page_lets_another_site_or_a_script_in(browser: Browser) -> None:
    answer = await (await browser("read")).get("/dashboard")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["dashboard.css", "dashboard.js", "plotly.min.js"])
async def test_what_pages_load_is_there(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"http://optagent/dashboard/static/{name}")
    assert answer.status_code == 200
    assert len(answer.content) > 1000
    assert (await client.get("http://optagent/dashboard/static/..%2fpage.py")).status_code == 404


@pytest.fixture
async def mixed(
    agent: OptimizationAgent, clock: ManualClock, churn: dict[str, Any], make_rows: Any, tmp_path: Path
) -> MixedTraffic:
    """A model whose mixture has learned from 400 rows."""
    traffic = MixedTraffic(agent, clock)
    await traffic.begin(churn, make_rows(), tmp_path)
    await traffic.run(4)
    return traffic


async def test_a_mixture_with_its_slots_certificate_and_charts(browser: Browser, mixed: MixedTraffic) -> None:
    answer = await (await browser("read")).get("/dashboard/models/churn")
    text, status = visible_text(answer), await mixed.agent.mixture("churn")
    assert "Champion: 1 . A mixture of champion, all, 1/4, 1/16 answers." in text
    assert "learning its weights follow the labels, from 400 labelled rows since 2023-11-14" in text
    assert status.certificate.words in text
    assert "fault, please report" not in text
    weights, gains = (
        json.loads(unescape(re.search(rf'id="chart-mixture-{name}" data-chart="([^"]*)"', answer.text)[1]))
        for name in ("weights", "gains")
    )
    assert [trace["name"] for trace in weights["data"]] == ["champion", "all", "1/4", "1/16"]
    assert [sum(part) for part in zip(*(trace["y"] for trace in weights["data"]), strict=True)] == pytest.approx(
        [1] * 4
    )
    assert [trace["y"][-1] for trace in gains["data"]] == pytest.approx([slot.ahead for slot in status.slots])
    assert "Freeze" not in text


async def test_an_operator_freezes_thaws_and_lets_the_champion_answer_alone(
    browser: Browser, mixed: MixedTraffic
) -> None:
    client, page = await browser("operate"), "/dashboard/models/churn"
    text = (await client.get(page)).text
    assert "Freeze for churn? Its weights stay as they are, whatever labels come, until it is thawed." in text
    assert "Thaw" not in text
    answer = await submit_form(client, f"{page}/mixture/freeze", why="odd labels")
    assert answer.headers["location"] == page
    assert ": odd labels)" in visible_text(await client.get(page))
    assert (await submit_form(client, f"{page}/mixture/champion-only")).status_code == 303
    text = visible_text(await client.get(page))
    assert "champion only the champion answers alone" in text
    assert "answers. It is retrained" not in text
    assert await mixed.weights() is None
    assert (await submit_form(client, f"{page}/mixture/thaw")).status_code == 303
    assert await mixed.weights() is not None
    assert (await submit_form(client, f"{page}/mixture/forget")).status_code == 422
    acts = [entry.action for entry in await mixed.agent.audit(20) if "dashboard" in entry.actor]
    assert acts == ["mixture.thaw", "mixture.champion_only", "mixture.freeze"]


async def test_a_reader_may_not_act_on_a_mixture(browser: Browser, mixed: MixedTraffic) -> None:
    answer = await submit_form(await browser("read"), "/dashboard/models/churn/mixture/freeze")
    assert answer.status_code == 403
    assert (await mixed.agent.mixture("churn")).mode == "learning"


async def test_a_slot_that_joined_late_is_compared_from_then_on(mixed: MixedTraffic) -> None:
    status = await mixed.agent.mixture("churn")
    first, second, *_ = status.history
    joined = replace(status.slots[0], name="90d", ahead=-2.0)
    names, weights = (*second.slots, "90d"), (*second.weights, 0.0)
    before = [replace(first, loss=10.0), replace(second, slots=names, weights=weights, loss=15.0)]
    later = replace(before[1], at=second.at + 100, loss=20.0)
    points = [
        before[0],
        replace(before[1], slot_losses=(*second.slot_losses, 4.0)),
        replace(later, slot_losses=(*second.slot_losses, 6.0)),
    ]
    chart = charts.mixture_gains(replace(status, slots=(joined,), history=tuple(points)))
    assert chart is not None
    assert chart["data"][0]["y"] == [1.0, -2.0]  # 4 - 15 = -11, then 6 - 20 = -14
