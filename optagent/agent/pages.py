"""Verbs of pages: reports, searches and backtests as HTML that needs nothing from the network."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from optagent.agent.page_file import write_page
from optagent.agent.searching import SearchVerbs
from optagent.agent.watching import WatchVerbs
from optagent.agent.working import KINDS
from optagent.codec import decode
from optagent.domain.backtest import BacktestResult
from optagent.domain.command import BacktestModel
from optagent.domain.model_report import ModelReport
from optagent.errors import Conflict, InvalidRequest

Subject = TypeVar("Subject")


class PageVerbs(WatchVerbs, SearchVerbs):
    """A page is answered as text, or drawn to a file; most of its 5 MB is the script that draws."""

    async def analysis_page(self, model_id: str, analysis_type: str = "full", time_range: Any = "24h") -> str:
        """The report that `analyze_model` answers."""
        report = await self.analyze_model(model_id, analysis_type, time_range)
        return await _page(self._outside.draw_report, report)

    async def study_page(self, study_id: str) -> str:
        """The plots of a search; raises NotFound."""
        return await asyncio.to_thread(self._history().draw, study_id)

    async def backtest_page(self, process_id: str) -> str:
        """The result of a backtest. Raises ProcessNotFound, InvalidRequest for a process of another kind, and Conflict
        where it has no result (yet)."""
        process = await self.process(process_id)
        if process.kind != KINDS[BacktestModel]:
            raise InvalidRequest(f"process {process_id!r} is of kind {process.kind!r}, not a backtest")
        if process.result is None:
            raise Conflict(f"process {process_id!r} is {process.status}, it has no result")
        return await _page(self._outside.draw_backtest, decode(BacktestResult, process.result))

    async def draw_report(self, report: ModelReport, path: Path) -> Path:
        """Writes a report as one HTML file; InvalidRequest for a path that cannot be written."""
        return await asyncio.to_thread(write_page, await _page(self._outside.draw_report, report), path)

    async def draw_backtest(self, result: BacktestResult, path: Path) -> Path:
        """Writes a backtest as one HTML file; InvalidRequest for a path that cannot be written."""
        return await asyncio.to_thread(write_page, await _page(self._outside.draw_backtest, result), path)

    async def draw_study(self, study_id: str, folder: Path) -> list[Path]:
        """Writes a search as HTML files in a folder, which is made; raises NotFound, and InvalidRequest for a folder
        that cannot be written."""
        page = await self.study_page(study_id)
        return [await asyncio.to_thread(write_page, page, Path(folder) / "study.html", make_folder=True)]


async def _page(draw: Callable[[Subject], str] | None, subject: Subject) -> str:
    if draw is None:
        raise InvalidRequest("this agent draws no pages")
    return await asyncio.to_thread(draw, subject)
