"""Scoring verbs: files of any size are answered by a model, and recorded where that is asked."""

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optagent.agent.base import AgentBase

if TYPE_CHECKING:
    from optagent.domain.scored_file import ScoredFile


class ScoringVerbs(AgentBase):
    """Scores files in batches."""

    async def score(
        self,
        model_id: str,
        data: str | Path,
        out: str | Path,
        version: str | None = None,
        record: bool = False,
        columns: Sequence[str] | None = None,
        overwrite: bool = False,
        interval: float | None = None,
    ) -> "ScoredFile":
        """Answers the rows of `data` (a path, a folder, a glob, an address) in the new file `out`, bit for bit as a
        gateway answers requests of 10,000 rows.

        By the champion, or by the mixture where the model's answer is one; or by a `version`, a number or an alias.
        `out` gets the `columns` that are named (by default `id`), then `prediction`, `probability_<label>` and
        `version`. With `record`, rows become predictions of the model, under the ids of the column `id`, or under new
        ones, which `out` has then. Both files are Parquet, CSV or Arrow by their names. With an `interval`, a level
        such as 0.9, it has `low` and `high`, or for classes `set`, and the `level` that answered.

        A refused request raises, whether `strict` or not, and leaves no file: InvalidRequest, InvalidData, NotFound
        for a model without a champion, Conflict for one without intervals, EngineFailed and Unavailable.
        """
        from optagent.loop.score.answering import find_answering, load_scorer
        from optagent.loop.score.score_file import ScoreRequest, score_file
        from optagent.serving.answer_interval import check_level, find_interval

        level = None if interval is None else check_level(interval)
        spec = await self._ports.store.model(model_id)
        answering = await find_answering(model_id, version, self._ports)
        asked = None if level is None else find_interval(model_id, answering.thresholds, level)
        names = None if columns is None else tuple(columns)
        request = ScoreRequest(model_id, str(data), Path(out), names, record, overwrite, spec.data, asked)
        load = partial(load_scorer, model_id, answering, self._ports.require("loader"))
        stopped = threading.Event()
        try:
            return await asyncio.to_thread(score_file, request, load, self._ports, stopped.is_set)
        finally:
            stopped.set()  # the thread of a call that was cancelled ends after the next table
