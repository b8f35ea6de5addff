"""The verbs of watching a model: what it predicted, what came true, what is wrong."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optagent.agent.desk import Desk
from optagent.domain.alert import Alert
from optagent.domain.command import AnalyzeModel
from optagent.domain.dataset import DataSource, FileSource
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import MonitorState, Window
from optagent.errors import InvalidRequest, OptAgentError
from optagent.loop.observe.monitor import MonitorPass, watch_once
from optagent.ports import Monitors, Observations, RecordKind

if TYPE_CHECKING:
    from optagent.loop.observe.inputs import AnalysisInputs


# What analyses import (scipy.stats, scikit-learn) takes a second: it is imported where it is needed.

_LATE_LABELS_S = 7 * 86_400.0


class WatchVerbs(Desk):
    """Takes in predictions and labels, analyzes them, and has models watched."""

    async def record_predictions(self, model_id: str, rows: Any) -> int:
        """Takes in what a model answered, durably, and answers the number of rows.

        `rows` (a pandas or Arrow table, a list of dicts, a dict of columns, the path of a file) have `id`, `prediction`
        or `probability_<label>`, the features, and where known `time`, `latency_ms`, `version` and `arm`. Rows that are
        merely odd are counted by the analysis; InvalidData names the first that cannot be used, and then none is taken.
        Raises Busy where too many wait to be archived.
        """
        spec = await self._store.model(model_id)
        return await asyncio.to_thread(self._record, spec, RecordKind.PREDICTIONS, rows)

    async def record_labels(self, model_id: str, rows: Any) -> int:
        """Takes in what came true: `id`, `label`, where known `time`, and further numbers as outcomes.

        Late, twice, out of order: all is well. The latest label of an id counts.
        """
        spec = await self._store.model(model_id)
        return await asyncio.to_thread(self._record, spec, RecordKind.LABELS, rows)

    async def set_reference(self, model_id: str, rows: Any) -> int:
        """Says what a model that is served elsewhere is compared with: predictions, as recorded ones, with `label`."""
        spec = await self._store.model(model_id)
        return await asyncio.to_thread(self._set_reference, spec, rows)

    async def analyze_model(
        self,
        model_id: str,
        analysis_type: str = "full",
        time_range: Any = "24h",
        version: str = CHAMPION,
        separability: bool = False,
        seed: int = 0,
    ) -> ModelReport:
        """What is known of a model's rows in a stretch of time, and what is wrong with it.

        `analysis_type` is performance, drift, importance, confidence or full; `time_range` is `90m`, `24h`, `7d` back
        from now, or two instants. Analyses of windows that have passed are kept, and made anew where a late row or
        label changes them.
        """
        try:
            return await self._analyzed(AnalyzeModel(model_id, analysis_type, time_range, version, separability, seed))
        except OptAgentError as error:
            if self._strict:
                raise
            return ModelReport(model_id=str(model_id), error=str(error))

    async def analyze_files(
        self,
        model_id: str,
        data: DataSource | str,
        labels: DataSource | str | None = None,
        analysis_type: str = "full",
        time_range: Any = None,
        version: str = CHAMPION,
        separability: bool = False,
        seed: int = 0,
    ) -> ModelReport:
        """The same of the rows of files, which are not recorded; without a `time_range`, of all of them.

        Rows without predictions are answered by the version; a column of the target's name is labels.
        """
        try:
            command = AnalyzeModel(model_id, analysis_type, time_range, version, separability, seed)
            spec = await self._store.model(model_id)
            (gathered,) = await asyncio.to_thread(self._gather_files, command, spec, data, labels, 0)
            return await asyncio.to_thread(_report, gathered)
        except OptAgentError as error:
            if self._strict:
                raise
            return ModelReport(model_id=str(model_id), error=str(error))

    async def analyze_windows(
        self, command: AnalyzeModel, data: DataSource | str, labels: DataSource | str | None, windows: int
    ) -> list[ModelReport]:
        """Reports of equal windows of the rows of files in the order of time, and at the end one of all these rows.

        The cluster's workers analyze them side by side. A refused request raises, whether `strict` or not.
        """
        if windows < 1:
            raise InvalidRequest(f"windows must be at least 1, got {windows}")
        spec = await self._store.model(command.model_id)
        gathered = await asyncio.to_thread(self._gather_files, command, spec, data, labels, windows)
        whole, *parts = await asyncio.to_thread(self._analyze_side_by_side, gathered)
        return [*parts, whole]

    async def drain(self, model_id: str) -> int:
        """Moves recorded rows that wait into the archive, and answers how many; analyses do so by themselves."""
        return await asyncio.to_thread(self._observations().drain, model_id)

    async def watch_once(self, model_id: str) -> MonitorPass:
        """Looks at the windows of a model that have closed since the last look, and keeps its alerts; see monitors."""
        spec = await self._store.model(model_id)
        monitoring, now = self._monitoring(spec), self._outside.clock.now()

        async def analyzed(window: Window) -> ModelReport:
            return await self._analyzed(AnalyzeModel(model_id, time_range=window))

        watched = await watch_once(spec, analyzed, self._observations(), self._store, monitoring, now)
        if watched.reports:
            await asyncio.to_thread(_mature, spec, self._observations(), watched)
        return watched

    async def start_monitor(self, model_id: str, shards: int = 1) -> None:
        """Has a detached actor of the cluster watch a model: archives what is recorded, analyzes, keeps alerts.

        It outlives this program where the cluster does (`ray_address`). Starting what runs is no error.
        """
        await self._store.model(model_id)
        await asyncio.to_thread(self._monitors().start, model_id, shards)

    async def stop_monitor(self, model_id: str) -> None:
        """Ends the watching of a model; what is recorded waits."""
        await asyncio.to_thread(self._monitors().stop, model_id)

    async def monitors(self) -> list[MonitorState]:
        """The actors that watch models, and how they are doing."""
        return await asyncio.to_thread(self._monitors().running)

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        """What is wrong and what was, of all models or of one: open alerts first."""
        return await self._store.alerts(model_id, limit)

    async def _analyzed(self, command: AnalyzeModel) -> ModelReport:
        spec = await self._store.model(command.model_id)
        gathered = await self._add_past(await asyncio.to_thread(self._gather, command, spec))
        digest = await asyncio.to_thread(gathered.digest) if gathered.closed else ""
        kept = await self._store.report(gathered.key, digest) if gathered.closed else None
        if kept is not None:
            return kept
        report = await asyncio.to_thread(_report, gathered)
        if gathered.closed:
            await self._store.save_report(gathered.key, digest, report)
        return report

    async def _add_past(self, gathered: "AnalysisInputs") -> "AnalysisInputs":
        from optagent.loop.observe.past_remedies import past_remedies

        tried = await past_remedies(gathered, self._store, self._outside.registry, self._observations())
        return replace(gathered, tried=tried)

    def _gather(self, command: AnalyzeModel, spec: ModelSpec) -> "AnalysisInputs":
        from optagent.loop.observe.inputs import gather

        outside, observations = self._outside, self._observations()
        observations.drain(spec.model_id)
        now = outside.clock.now()
        return gather(command, spec, self._monitoring(spec), outside.registry, observations, outside.datasets, now)

    def _gather_files(
        self,
        command: AnalyzeModel,
        spec: ModelSpec,
        data: DataSource | str,
        labels: DataSource | str | None,
        parts: int,
    ) -> "list[AnalysisInputs]":
        """All rows that the command asks for, then those of each of so many equal parts of their window."""
        from optagent.loop.observe.inputs import gather
        from optagent.loop.observe.uploaded_rows import given_rows

        outside, now = self._outside, self._outside.clock.now()
        rows, known = (None if source is None else outside.datasets.read(_source(source)) for source in (data, labels))
        assert rows is not None
        given = given_rows(rows, known, spec, command.version, outside.registry, self._observations(), now)

        def gather_in(time_range: Any) -> "AnalysisInputs":
            asked, monitoring = replace(command, time_range=time_range), self._monitoring(spec)
            return gather(asked, spec, monitoring, outside.registry, given, outside.datasets, now)

        whole = gather_in(given.span if command.time_range is None else command.time_range)
        return [whole, *(gather_in(window) for window in (whole.window.parts(parts) if parts else ()))]

    def _analyze_side_by_side(self, gathered: "list[AnalysisInputs]") -> list[ModelReport]:
        if self._outside.workers is None:
            raise InvalidRequest("this agent has no workers: give it `workers`")
        with self._outside.workers.share(None) as crew:
            return crew.map(_report_of_item, gathered)

    def _record(self, spec: ModelSpec, kind: RecordKind, rows: Any) -> int:
        from optagent.loop.observe.record import checked_labels, checked_predictions

        checked = checked_predictions if kind is RecordKind.PREDICTIONS else checked_labels
        table = checked(self._read(rows), spec, self._outside.clock.now())
        self._observations().record(spec.model_id, kind, table)
        return int(table.num_rows)

    def _set_reference(self, spec: ModelSpec, rows: Any) -> int:
        from optagent.loop.observe.reference import LOGGED, encode_reference, logged_reference

        reference = logged_reference(self._read(rows), spec, self._outside.clock.now())
        self._observations().save_reference(spec.model_id, LOGGED, encode_reference(reference))
        return reference.rows

    def _read(self, rows: Any) -> Any:
        """The table of a file, where rows are given by its path."""
        return self._outside.datasets.read(FileSource(str(rows))) if isinstance(rows, Path | str) else rows

    def _monitors(self) -> Monitors:
        if self._outside.monitors is None:
            raise InvalidRequest("this agent starts no monitors: give it `monitors`")
        return self._outside.monitors


def _mature(spec: ModelSpec, observations: Observations, watched: MonitorPass) -> None:
    """Keeps the labelled rows of the windows that were looked at, and of the week before: some labels are late."""
    from optagent.loop.observe.labelled_rows import mature
    from optagent.loop.observe.reference import decode_reference

    for report in watched.reports:
        if report.window is not None and report.version is not None:
            schema = decode_reference(observations.reference(spec.model_id, report.version)).schema
            mature(observations, spec, schema, Window(report.window.start - _LATE_LABELS_S, report.window.end))


def _source(source: DataSource | str) -> DataSource:
    return FileSource(source) if isinstance(source, str) else source


def _report(gathered: "AnalysisInputs") -> ModelReport:
    from optagent.loop.observe.analyze import analyze

    return analyze(gathered)


def _report_of_item(shared: None, gathered: "AnalysisInputs") -> ModelReport:
    return _report(gathered)
