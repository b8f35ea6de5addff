"""Order of a demo: the whole loop on real market data, through the live endpoint, on this machine.

A model of market turbulence is tuned on the years to 2003 and goes live; then the days from 2004 on are asked of it
over HTTP, and labels follow days later. Nobody touches it: a mixture of the champion and of newer models answers, whose
weights follow the labels; as rows come and as the monitor notices decay, the policy has the models trained again, and
what passes the hard gates answers beside the others. At the end all of it is compared with the frozen champion, and
with the best retraining calendar that hindsight can name.
"""

import asyncio
import gc
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from optagent.agent.page_file import write_page
from optagent.bootstrap import Serving, create_optimization_agent
from optagent.demo import market
from optagent.demo.board import Board
from optagent.demo.calendars import best_calendar
from optagent.demo.ending import DemoResult, demo_result, show_demo_result
from optagent.demo.folder import NAME, check_report_path, hold_demo_folder
from optagent.demo.frozen import FrozenChampion
from optagent.demo.live import Market, wait_until_served
from optagent.demo.live_page import LivePage, open_browser, serve_live_page
from optagent.demo.pace import FAST, DemoPace, demo_settings, model_fields
from optagent.demo.product import bring_up_product, cancel_when_terminated
from optagent.demo.report import Compared, demo_page
from optagent.demo.timeline import Timeline, trained_models
from optagent.domain.process import Process
from optagent.errors import NotFound, SearchFailed
from optagent.settings import Settings, load_settings
from optagent.terminal import show_result
from optagent.terminal_progress import progress_display

_POLL_S = 0.5
_MOST_WAIT_S = 120.0  # for the first new model once all days are over


@dataclass(frozen=True, slots=True)
class DemoAsk:
    """The request of a demo: its pace, the folder of all state (None: the user's own), and the report's path."""

    pace: DemoPace
    home: Path | None = None
    report: Path = Path("demo_report.html")
    with_browser: bool = True


def run_demo(ask: DemoAsk, console: Console) -> DemoResult:
    """Runs a demo to its end, and leaves its report and its folder behind, nothing else.

    Raises InvalidRequest and Conflict before anything was started, for what a folder and the disk refuse, and what
    the parts of the product raise.
    """
    check_report_path(ask.report)
    home = (ask.home or load_settings().home).expanduser().absolute()
    settings, timeline = demo_settings(home / NAME, ask.pace), Timeline(console)
    serving, board = Serving(settings), Board(timeline)
    with hold_demo_folder(home, serving.down), serve_live_page(board.render) as page:
        timeline.say("page", f"{page.url} moves while the demo runs")
        if ask.with_browser:
            open_browser(page.url)
        try:
            return asyncio.run(Demo(ask, settings, board, page, console).run(serving))
        except asyncio.CancelledError:  # by a signal, with everything down by now
            raise KeyboardInterrupt from None


class Demo:
    """One demo: each method is a part of its way, in this order."""

    def __init__(self, ask: DemoAsk, settings: Settings, board: Board, page: LivePage, console: Console) -> None:
        self._ask, self._pace, self._settings = ask, ask.pace, settings
        self._board, self._page, self._console = board, page, console
        self._timeline = board.timeline

    async def run(self, serving: Serving) -> DemoResult:
        """The figures of all its days; raises CancelledError once everything is down where it was stopped."""
        cancel_when_terminated()
        rows, data = await asyncio.to_thread(self._write_history)
        self._timeline.say("start", "bringing up Ray, the API and the monitors on this machine")
        async with (
            bring_up_product(serving, self._timeline) as up,
            await create_optimization_agent(self._settings, strict=True) as agent,
        ):
            cancel_when_terminated()
            await self._show_doors(agent, up.api)
            if self._pace.with_companions:
                await self._show_noise(agent)
            model_id, version = await self._tune_first(agent, data)
            cancel_when_terminated()
            live_market = await self._open_market(agent, f"{up.api}/api/v1/models/{model_id}", rows)
            try:
                frozen = await asyncio.to_thread(FrozenChampion.of_version, self._settings, model_id, version, rows)
                await self._follow(agent, model_id, live_market, frozen)
            finally:
                live_market.stop()
            return await self._end(agent, model_id, rows, frozen)

    def _write_history(self) -> tuple[pd.DataFrame, Path]:
        """All days on the clock of the demo, and the file of those before the first live one."""
        days = market.turbulence(market.prices())
        rows = market.on_the_clock(days, self._pace.first_live, time.time(), self._pace.day_s)
        past = rows[rows["date"] < self._pace.first_live]
        return rows, market.write(past, self._settings.home / "turbulence.parquet")

    async def _show_doors(self, agent: Any, api: str) -> None:
        text, _ = await agent.create_token("demo viewer", ["read"])
        self._board.dashboard = f"{api}/dashboard"
        self._timeline.say("up", f"{api}/docs; {api}/dashboard, sign in with {text}")

    async def _show_noise(self, agent: Any) -> None:
        """Optimizes a model of tomorrow's direction, which cannot be learned, so that gates refuse the candidate."""
        rows = market.direction(market.prices())
        past = rows[rows["date"] < self._pace.first_live]
        data = market.write(past, self._settings.home / "direction.parquet")
        fields = {"id": "direction_v1", "task": "binary", "target": "up", "time_column": "date", "data": str(data)}
        await agent.register_model({**fields, "label_horizon": "4d", "families": ["lightgbm"]})
        result = await agent.optimize_model("direction_v1", "retrain", gates={"auc_min": 0.55})
        self._timeline.say("noise", f"next-day direction: {result.status}. {result.error_message or ''}")

    async def _tune_first(self, agent: Any, data: Path) -> tuple[str, str]:
        """Searches for the first version, which becomes champion; the model's id and that version."""
        spec, pace = await agent.register_model(model_fields(data, self._pace)), self._pace
        self._timeline.say("search", f"{pace.trials} trials on the days before {pace.first_live}")
        with progress_display(self._console, f"Tuning {spec.model_id}", "starting Ray and its workers …") as display:
            try:
                result = await agent.tune_hyperparameters(
                    spec.model_id, trials=pace.trials, timeout_s=pace.search_s, on_progress=display
                )
            except SearchFailed as error:  # a busy machine
                self._timeline.say("search", f"{error}; {FAST.trials} trials are given more")
                result = await agent.tune_hyperparameters(
                    spec.model_id, trials=FAST.trials, timeout_s=FAST.search_s, on_progress=display
                )
        gc.collect()  # references to Ray's objects go while it is connected
        show_result(self._console, result)
        await agent.set_alias(spec.model_id, "champion", str(result.version))
        self._timeline.say("champion", f"version {result.version} is live; nobody touches it from here on")
        return spec.model_id, str(result.version)

    async def _open_market(self, agent: Any, url: str, rows: pd.DataFrame) -> Market:
        """A market whose days have begun, asked of the endpoint with a token of its own."""
        live = rows[(rows["date"] >= self._pace.first_live) & (rows["date"] <= self._pace.latest_live)]
        text, _ = await agent.create_token("demo market", ["predict", "label"])
        await asyncio.to_thread(wait_until_served, url, text, live)
        live_market = Market(live, url, text, self._pace.day_s, self._pace.last_live)
        self._board.answered = live_market.answered
        self._timeline.day = lambda: live_market.today
        live_market.start()
        return live_market

    async def _follow(self, agent: Any, model_id: str, live_market: Market, frozen: FrozenChampion) -> None:
        """Says what the loop does until the days are over, a model was trained, and nothing is under way."""
        over_at = enough_rows = float("inf")
        while True:
            for alert in await agent.alerts(model_id):
                self._timeline.say_once(alert.alert_id, "alert", f"{alert.severity}: {alert.kind}: {alert.message}")
            processes = await optimizations(agent, model_id)
            for process in reversed(processes):
                self._timeline.say_process(process)
            await asyncio.to_thread(frozen.catch_up, live_market.answered.row)
            self._board.frozen = frozen.answers
            with suppress(NotFound):  # no label has come yet
                self._board.mixture = await agent.mixture(model_id)
            if trained_models(processes) and (mixture := self._board.mixture) is not None:
                enough_rows = min(enough_rows, mixture.rows + self._pace.rows_after)
                if mixture.rows >= enough_rows:
                    live_market.enough.set()
            if live_market.ended.is_set():
                over_at = min(over_at, time.monotonic())
                is_idle, waited_s = all(process.status.has_ended for process in processes), time.monotonic() - over_at
                is_over = trained_models(processes) and (is_idle or waited_s >= self._pace.last_s)
                if is_over or waited_s > _MOST_WAIT_S:
                    return
            await asyncio.sleep(_POLL_S)

    async def _end(self, agent: Any, model_id: str, rows: pd.DataFrame, frozen: FrozenChampion) -> DemoResult:
        """Compares, writes the report, and prints the figures."""
        answered = self._board.answered
        processes, chain = await optimizations(agent, model_id), await agent.verify_audit()
        mixture = await agent.mixture(model_id)
        frozen.catch_up(answered.row)
        calendar = None
        if self._pace.with_companions:
            calendar = await asyncio.to_thread(best_calendar, rows, answered.row)
        compared = Compared(answered, frozen.answers, calendar)
        page = await asyncio.to_thread(demo_page, compared, self._timeline.moments, processes, mixture)
        write_page(page, self._ask.report)
        await asyncio.to_thread(self._page.show_report, page)
        paths = (self._ask.report, self._settings.home)
        result = demo_result(self._timeline.seconds, compared, processes, mixture, chain, paths)
        show_demo_result(self._console, result, model_id)
        return result


async def optimizations(agent: Any, model_id: str) -> list[Process]:
    """The optimizations of a model, the newest first."""
    return [process for process in await agent.processes(model_id) if process.kind == "optimize"]
