"""Verbs of pages: what was found, as HTML that needs nothing from the network."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optagent.agent.searching import SearchVerbs
from optagent.agent.watching import WatchVerbs
from optagent.agent.working import KINDS
from optagent.codec import decode
from optagent.domain.backtest import BacktestResult
from optagent.domain.command import BacktestModel
from optagent.errors import Conflict, InvalidRequest


class PageVerbs(WatchVerbs, SearchVerbs):
    """Each answers the text of a page; most of its 5 MB is the script that draws."""

    async def analysis_page(self, model_id: str, analysis_type: str = "full", time_range: Any = "24h") -> str:
        """What `analyze_model` answers."""
        report = await self.analyze_model(model_id, analysis_type, time_range)
        return await _page(self._outside.draw_report, report)

    async def study_page(self, study_id: str) -> str:
        """The plots of a search; raises NotFound."""

        def draw(name: str, path: Path) -> None:
            for drawn in self._history().draw(name, path.parent):
                drawn.replace(path)

        return await _page(draw, study_id)

    async def backtest_page(self, process_id: str) -> str:
        """What a backtest found. Raises ProcessNotFound, InvalidRequest for a process of another kind, and Conflict
        where it has no result (yet)."""
        process = await self.process(process_id)
        if process.kind != KINDS[BacktestModel]:
            raise InvalidRequest(f"process {process_id!r} is of kind {process.kind!r}, not a backtest")
        if process.result is None:
            raise Conflict(f"process {process_id!r} is {process.status}, it has no result")
        return await _page(self._outside.draw_backtest, decode(BacktestResult, process.result))


async def _page(draw: Callable[[Any, Path], Any] | None, found: Any) -> str:
    if draw is None:
        raise InvalidRequest("this agent draws no pages")
    with tempfile.TemporaryDirectory(prefix="optagent-page-") as folder:
        path = Path(folder) / "page.html"
        await asyncio.to_thread(draw, found, path)
        return path.read_text(encoding="utf-8")
