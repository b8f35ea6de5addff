"""Page verbs: reports, searches and backtests as HTML that needs nothing from the network."""

import asyncio
from pathlib import Path
from typing import Any

from optagent.agent.base import AgentBase
from optagent.agent.page_file import write_page
from optagent.codec import decode, without_secrets
from optagent.domain.backtest import BacktestResult
from optagent.domain.command import AnalyzeModel, BacktestModel
from optagent.domain.model_report import ModelReport
from optagent.errors import Conflict, InvalidRequest
from optagent.loop.commands import HANDLERS


class PageVerbs(AgentBase):
    """A page is answered as text, or drawn to a file; most of its 5 MB is the script that draws."""

    async def analysis_page(self, model_id: str, analysis_type: str = "full", time_range: Any = "24h") -> str:
        """The report of `analyze_model` as a page."""

        async def analyze() -> ModelReport:
            from optagent.loop.observe.cached_report import analyze_cached  # what it imports takes a second

            return await analyze_cached(AnalyzeModel(model_id, analysis_type, time_range), self._ports)

        report = await self._answer(analyze(), lambda error: ModelReport(model_id=str(model_id), error=error))
        return await self._draw("draw_report", report)

    async def study_page(self, study_id: str) -> str:
        """The plots of a search as a page; raises NotFound."""
        return await asyncio.to_thread(self._ports.require("studies").draw, study_id)

    async def backtest_page(self, process_id: str) -> str:
        """The result of a backtest as a page.

        Raises ProcessNotFound, InvalidRequest for a process of another kind, and Conflict where it has no result (yet).
        """
        process = await self._ports.store.process(process_id)
        if process.kind != HANDLERS[BacktestModel].kind:
            raise InvalidRequest(f"process {process_id!r} is of kind {process.kind!r}, not a backtest")
        if process.result is None:
            raise Conflict(f"process {process_id!r} is {process.status}, it has no result")
        return await self._draw("draw_backtest", decode(BacktestResult, process.result))

    async def draw_report(self, report: ModelReport, path: Path) -> Path:
        """Writes a report as one HTML file; InvalidRequest for a path that cannot be written."""
        return await asyncio.to_thread(write_page, await self._draw("draw_report", report), path)

    async def draw_backtest(self, result: BacktestResult, path: Path) -> Path:
        """Writes a backtest as one HTML file; InvalidRequest for a path that cannot be written."""
        return await asyncio.to_thread(write_page, await self._draw("draw_backtest", result), path)

    async def draw_study(self, study_id: str, folder: Path) -> list[Path]:
        """Writes a search as HTML files in a folder, which is made; raises NotFound, and InvalidRequest for a folder
        that cannot be written."""
        page = await self.study_page(study_id)
        return [await asyncio.to_thread(write_page, page, Path(folder) / "study.html", make_folder=True)]

    async def _draw(self, port: str, subject: Any) -> str:
        """The page of a report or backtest, by the port that draws it."""
        page: str = await asyncio.to_thread(self._ports.require(port), without_secrets(subject))
        return page
