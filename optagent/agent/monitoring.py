"""Monitoring verbs: predictions and labels are recorded, analyzed and watched."""

import asyncio
from pathlib import Path
from typing import Any

from optagent.agent.base import AgentBase
from optagent.domain.alert import Alert
from optagent.domain.command import AnalyzeModel
from optagent.domain.dataset import DataSource, FileSource
from optagent.domain.interval_status import IntervalStatus
from optagent.domain.label_maturity import LabelMaturity
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import MonitorState, Window
from optagent.errors import InvalidRequest
from optagent.loop.observe.monitor import MonitorPass, watch_once
from optagent.ports import Observations, RecordKind

# What analyses import (scipy.stats, scikit-learn) takes a second: it is imported where it is needed.

_LATE_LABELS_S = 7 * 86_400.0


class MonitoringVerbs(AgentBase):
    """Takes in predictions and labels, analyzes them, and has models watched."""

    async def record_predictions(self, model_id: str, rows: Any) -> int:
        """Takes in the predictions of a model, durably, and answers the number of rows.

        `rows` (a pandas or Arrow table, a list of dicts, a dict of columns, the path of a file) have `id`, `prediction`
        or `probability_<label>`, the features, and where known `time`, `latency_ms`, `version` and `arm`. Rows that are
        merely odd are counted by the analysis; InvalidData names the first that cannot be used, and then none is taken.
        Raises Busy where too many wait to be archived.
        """
        spec = await self._ports.store.model(model_id)
        return await asyncio.to_thread(self._record, spec, RecordKind.PREDICTIONS, rows)

    async def record_labels(self, model_id: str, rows: Any) -> int:
        """Takes in labels: rows of `id`, `label`, where known `time`, and further numbers as outcomes.

        Labels may come late, twice and in any order. The latest label of an id counts.
        """
        spec = await self._ports.store.model(model_id)
        return await asyncio.to_thread(self._record, spec, RecordKind.LABELS, rows)

    async def set_reference(self, model_id: str, rows: Any) -> int:
        """Stores the reference of a model that is served elsewhere: predictions, as recorded ones, with `label`."""
        return await self._perform("model.reference", model_id, self._store_reference(model_id, rows))

    async def analyze_model(
        self,
        model_id: str,
        analysis_type: str = "full",
        time_range: Any = "24h",
        version: str = CHAMPION,
        separability: bool = False,
        seed: int = 0,
    ) -> ModelReport:
        """Analyzes the rows of a model in a time range, and diagnoses its troubles.

        `analysis_type` is performance, drift, importance, confidence or full; `time_range` is `90m`, `24h`, `7d` back
        from now, or two instants. Analyses of past windows are stored, and made anew where a late row or label changes
        them.
        """

        async def analyze() -> ModelReport:
            from optagent.loop.observe.cached_report import analyze_cached

            command = AnalyzeModel(model_id, analysis_type, time_range, version, separability, seed)
            return await analyze_cached(command, self._ports)

        return await self._answer(analyze(), lambda error: ModelReport(model_id=str(model_id), error=error))

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
        """Analyzes the rows of files as `analyze_model` does; they are not recorded. No `time_range` means all of them.

        Rows without predictions are answered by the version; a column of the target's name is labels.
        """

        async def analyze() -> ModelReport:
            from optagent.loop.observe.cached_report import analyze_uploaded

            command = AnalyzeModel(model_id, analysis_type, time_range, version, separability, seed)
            label_source = None if labels is None else _source(labels)
            return await analyze_uploaded(command, _source(data), label_source, self._ports)

        return await self._answer(analyze(), lambda error: ModelReport(model_id=str(model_id), error=error))

    async def analyze_windows(
        self, command: AnalyzeModel, data: DataSource | str, labels: DataSource | str | None, windows: int
    ) -> list[ModelReport]:
        """Reports of equal windows of the rows of files in the order of time, and at the end one of all these rows.

        The cluster's workers analyze them side by side. A refused request raises, whether `strict` or not.
        """
        if windows < 1:
            raise InvalidRequest(f"windows must be at least 1, got {windows}")
        from optagent.loop.observe.cached_report import analyze_uploaded_windows

        label_source = None if labels is None else _source(labels)
        return await analyze_uploaded_windows(command, _source(data), label_source, windows, self._ports)

    async def drain(self, model_id: str) -> int:
        """Moves recorded rows that wait into the archive, and answers how many; analyses do so by themselves."""
        return await asyncio.to_thread(self._ports.require("observations").drain, model_id)

    async def watch_once(self, model_id: str) -> MonitorPass:
        """Analyzes the windows of a model that have closed since the last call, and updates its alerts."""
        from optagent.loop.observe.cached_report import analyze_cached
        from optagent.loop.observe.running_detector import run_detector

        ports, observations = self._ports, self._ports.require("observations")
        spec = await ports.store.model(model_id)

        async def analyze(window: Window) -> ModelReport:
            command = AnalyzeModel(model_id, time_range=window)
            return await analyze_cached(command, ports, run_detector, findings_only=not ports.keeps_reports)

        monitoring, now = ports.monitoring_of(spec), ports.clock.now()
        monitor_pass = await watch_once(spec, analyze, observations, ports.store, monitoring, now)
        if monitor_pass.reports:
            await asyncio.to_thread(_store_labelled_rows, spec, observations, monitor_pass)
        return monitor_pass

    async def start_monitor(self, model_id: str, shards: int = 1) -> None:
        """Starts a detached actor of the cluster that watches a model: it archives rows, analyzes, and updates alerts.

        It outlives this program where the cluster does (`ray_address`). Starting a running monitor is no error.
        """
        await self._perform("monitor.start", model_id, self._start_monitor(model_id, shards), shards=shards)

    async def stop_monitor(self, model_id: str) -> None:
        """Stops the actor that watches a model; rows that are recorded later wait."""
        work = asyncio.to_thread(lambda: self._ports.require("monitors").stop(model_id))
        await self._perform("monitor.stop", model_id, work)

    async def monitors(self) -> list[MonitorState]:
        """The actors that watch models, and how they are doing."""
        return await asyncio.to_thread(self._ports.require("monitors").running)

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        """The alerts of all models or of one, open ones first."""
        return await self._ports.store.alerts(model_id, limit)

    async def label_maturity(self, model_id: str, version: str = CHAMPION) -> LabelMaturity:
        """The ages at which the labels of a model come, the label delay that they suggest, and whether they have become
        slower. `version` is the one whose reference says what the labels look like."""
        from optagent.loop.observe.cached_report import current_label_maturity

        return await current_label_maturity(AnalyzeModel(model_id, "performance", "1h", version), self._ports)

    async def intervals(self, model_id: str) -> IntervalStatus:
        """The coverage that a model's intervals were asked for and the one that was seen, in all and by tenth of time.

        Raises ModelNotFound, and NotFound where it has none.
        """
        from optagent.loop.intervals.status import read_interval_status

        return await read_interval_status(model_id, self._ports.store)

    async def _store_reference(self, model_id: str, rows: Any) -> int:
        spec = await self._ports.store.model(model_id)
        return await asyncio.to_thread(self._set_reference, spec, rows)

    async def _start_monitor(self, model_id: str, shards: int) -> None:
        await self._ports.store.model(model_id)
        await asyncio.to_thread(self._ports.require("monitors").start, model_id, shards)

    def _record(self, spec: ModelSpec, kind: RecordKind, rows: Any) -> int:
        from optagent.loop.observe.record import checked_labels, checked_predictions

        check_rows = checked_predictions if kind is RecordKind.PREDICTIONS else checked_labels
        table = check_rows(self._read(rows), spec, self._ports.clock.now())
        self._ports.require("observations").record(spec.model_id, kind, table)
        return int(table.num_rows)

    def _set_reference(self, spec: ModelSpec, rows: Any) -> int:
        from optagent.loop.observe.reference import LOGGED, encode_reference, logged_reference

        reference = logged_reference(self._read(rows), spec, self._ports.clock.now())
        self._ports.require("observations").save_reference(spec.model_id, LOGGED, encode_reference(reference))
        return reference.rows

    def _read(self, rows: Any) -> Any:
        """The table of a file where `rows` is its path, otherwise `rows`."""
        return self._ports.datasets.read(FileSource(str(rows))) if isinstance(rows, Path | str) else rows


def _store_labelled_rows(spec: ModelSpec, observations: Observations, monitor_pass: MonitorPass) -> None:
    """Stores the labelled rows of the analyzed windows and of the week before, for labels that came late."""
    from optagent.loop.observe.labelled_rows import store_labelled_rows
    from optagent.loop.observe.reference import decode_reference

    for report in monitor_pass.reports:
        if report.window is not None and report.version is not None:
            schema = decode_reference(observations.reference(spec.model_id, report.version)).schema
            store_labelled_rows(
                observations, spec, schema, Window(report.window.start - _LATE_LABELS_S, report.window.end)
            )


def _source(source: DataSource | str) -> DataSource:
    return FileSource(source) if isinstance(source, str) else source
