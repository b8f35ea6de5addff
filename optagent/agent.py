"""The SDK's verbs; each is a command to the loop."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from optagent.codec import decode, model_from, plain
from optagent.domain.alert import Alert
from optagent.domain.command import AnalyzeModel, TuneModel
from optagent.domain.dataset import DataSource, FileSource
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring, MonitorState, Window
from optagent.domain.process import Process, Status
from optagent.domain.study import Progress, TuningResult
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.domain.version import CHAMPION, ModelVersion
from optagent.errors import Conflict, InvalidRequest, OptAgentError, ProcessNotFound
from optagent.loop.importing import import_model
from optagent.loop.monitor import Watched, watch_once
from optagent.loop.optimize import check_spec, objectives_of
from optagent.loop.process import run_process
from optagent.loop.tune import Outside, tune
from optagent.ports import Monitors, Observations, Recorded, Store, Studies

if TYPE_CHECKING:
    from optagent.loop.gather import Gathered

# What analyses import (scipy.stats, scikit-learn) takes a second: it is imported where it is needed.

_LATE_LABELS_S = 7 * 86_400.0


class OptimizationAgent:
    """Keeps models good. Made by `create_optimization_agent`; use it from one event loop, and close it at the end.

    A refused or failed request is an answer with an `error`, or raised where `strict`.
    """

    def __init__(self, outside: Outside, store: Store, resources: AsyncExitStack, strict: bool = False) -> None:
        self._outside = outside
        self._store = store
        self._resources = resources
        self._strict = strict

    async def __aenter__(self) -> "OptimizationAgent":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops what this agent started: its Ray cluster, its tracker's thread, its hold on the embedded Redis."""
        await self._resources.aclose()

    async def register_model(self, model: ModelSpec | Mapping[str, Any] | Path) -> ModelSpec:
        """Stores a model, or replaces it: a `ModelSpec`, its fields, or a YAML file of them.

        Raises InvalidRequest for an unknown field, family, metric or parameter, and, since the rows are read, for
        data that cannot be trained on.
        """
        spec = _spec(model)
        check_spec(spec)
        await asyncio.to_thread(self._outside.check_data, spec)
        await self._store.save_model(spec)
        return spec

    async def models(self) -> list[ModelSpec]:
        """All registered models, by id."""
        return await self._store.models()

    async def model(self, model_id: str) -> ModelSpec:
        """Raises ModelNotFound."""
        return await self._store.model(model_id)

    async def versions(self, model_id: str) -> list[ModelVersion]:
        """The versions of a model, the newest first."""
        await self._store.model(model_id)
        return await asyncio.to_thread(self._outside.registry.versions, model_id)

    async def tune_hyperparameters(
        self,
        model_id: str,
        method: str = "optuna",
        trials: int | None = None,
        timeout_s: float | None = None,
        strategy: str = "balanced",
        resume: bool | str = False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        **more: Any,
    ) -> TuningResult:
        """Searches for better parameters, judges the best on a holdout that no trial saw, and registers it.

        The first version of a model becomes its champion; a later one becomes challenger when it beats the champion.
        `more` are the other fields of `TuneModel`: `objectives`, `max_concurrent`, `cpus_per_trial`, `seed`,
        `stopping`, `trial_timeout_s`, `trial_memory_mb`, `max_cpu_s`, `transfer`. `resume` goes on with the model's
        last search that did not succeed, or with the process of that id, as it was asked: every finished trial is
        kept. `on_progress` is called from another thread.
        """
        try:
            if resume:
                command = await self._resumed(model_id, resume)
            else:
                command = _command(model_id, method, trials, timeout_s, strategy, more)
            spec = await self._store.model(model_id)
            objectives_of(spec, command)
            process = self._new_process("tune", model_id, plain(command))
            result: TuningResult = await run_process(
                process,
                lambda run: tune(command, spec, self._outside, run),
                self._store,
                self._outside.clock,
                on_progress,
            )
            return result
        except OptAgentError as error:
            if self._strict:
                raise
            return TuningResult(model_id=str(model_id), error=str(error))

    async def _resumed(self, model_id: str, resume: bool | str) -> TuneModel:
        """The command of a search that ended early, told to go on with its study."""
        earlier = [process for process in await self._store.processes(model_id) if process.kind == "tune"]
        if isinstance(resume, str):
            earlier = [process for process in earlier if process.process_id == resume]
        if not earlier:
            raise ProcessNotFound(f"model {model_id!r} has no search to resume")
        last = earlier[0]
        if not last.status.ended:
            raise Conflict(f"process {last.process_id} is running: wait for it, or cancel it first")
        if last.status is Status.SUCCEEDED:
            raise Conflict(f"process {last.process_id} has succeeded: there is nothing left to resume")
        command = decode(TuneModel, last.command)
        return replace(command, resume=command.resume or last.process_id)

    async def import_model(self, uri: str, model_id: str, trust_pickle: bool = False) -> ModelVersion:
        """Makes an MLflow model (`models:/NAME/3`, `runs:/ID/path` or a folder) a version of a registered model.

        Its first version becomes champion. A model kept as a pickle is refused unless `trust_pickle`: then it is opened
        once, in a process without secrets. Raises InvalidRequest or InvalidData with the reason for a refusal.
        """
        spec = await self._store.model(model_id)
        return await asyncio.to_thread(import_model, spec, uri, self._outside, trust_pickle)

    async def record_predictions(self, model_id: str, rows: Any) -> int:
        """Takes in what a model answered, durably, and answers the number of rows.

        `rows` (a pandas or Arrow table, a list of dicts, a dict of columns, the path of a file) have `id`, `prediction`
        or `probability_<label>`, the features, and where known `time`, `latency_ms`, `version` and `arm`. Rows that are
        merely odd are counted by the analysis; InvalidData names the first that cannot be used, and then none is taken.
        Raises Busy where too many wait to be archived.
        """
        spec = await self._store.model(model_id)
        return await asyncio.to_thread(self._record, spec, Recorded.PREDICTIONS, rows)

    async def record_labels(self, model_id: str, rows: Any) -> int:
        """Takes in what came true: `id`, `label`, where known `time`, and further numbers as outcomes.

        Late, twice, out of order: all is well. The latest label of an id counts.
        """
        spec = await self._store.model(model_id)
        return await asyncio.to_thread(self._record, spec, Recorded.LABELS, rows)

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
            gathered = await asyncio.to_thread(self._gather_files, command, spec, data, labels)
            return await asyncio.to_thread(_report, gathered)
        except OptAgentError as error:
            if self._strict:
                raise
            return ModelReport(model_id=str(model_id), error=str(error))

    async def drain(self, model_id: str) -> int:
        """Moves recorded rows that wait into the archive, and answers how many; analyses do so by themselves."""
        return await asyncio.to_thread(self._observations().drain, model_id)

    async def watch_once(self, model_id: str) -> Watched:
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

    async def draw_report(self, report: ModelReport, path: Path) -> Path:
        """Writes a report as one HTML file that needs nothing from the network."""
        if self._outside.draw_report is None:
            raise InvalidRequest("this agent draws no reports")
        return await asyncio.to_thread(self._outside.draw_report, report, path)

    async def alerts(self, model_id: str | None = None, limit: int = 100) -> list[Alert]:
        """What is wrong and what was, of all models or of one: open alerts first."""
        return await self._store.alerts(model_id, limit)

    async def studies(self, model_id: str | None = None) -> list[StudySummary]:
        """Searches whose trials are kept, the newest first, of all models or of one."""
        return await asyncio.to_thread(self._history().summaries, model_id)

    async def study(self, study_id: str) -> StudyReport:
        """The trials of a search, the importances of parameters and the Pareto front; raises NotFound."""
        return await asyncio.to_thread(self._history().study, study_id)

    async def draw_study(self, study_id: str, folder: Path) -> list[Path]:
        """Draws a search as HTML files that need nothing from the network; raises NotFound."""
        return await asyncio.to_thread(self._history().draw, study_id, folder)

    async def process(self, process_id: str) -> Process:
        """A run of this or of any other agent on the same store; raises ProcessNotFound."""
        return await self._store.process(process_id)

    async def processes(self, model_id: str | None = None, limit: int = 100) -> list[Process]:
        """Runs, the newest first."""
        return await self._store.processes(model_id, limit)

    async def cancel(self, process_id: str) -> None:
        """Asks a running process to stop; it ends as cancelled within a few seconds."""
        await self._store.request_cancel(process_id)

    async def _analyzed(self, command: AnalyzeModel) -> ModelReport:
        spec = await self._store.model(command.model_id)
        gathered = await asyncio.to_thread(self._gather, command, spec)
        digest = await asyncio.to_thread(gathered.digest) if gathered.closed else ""
        kept = await self._store.report(gathered.key, digest) if gathered.closed else None
        if kept is not None:
            return kept
        report = await asyncio.to_thread(_report, gathered)
        if gathered.closed:
            await self._store.save_report(gathered.key, digest, report)
        return report

    def _gather(self, command: AnalyzeModel, spec: ModelSpec) -> "Gathered":
        from optagent.loop.gather import gather

        outside, observations = self._outside, self._observations()
        observations.drain(spec.model_id)
        now = outside.clock.now()
        return gather(command, spec, self._monitoring(spec), outside.registry, observations, outside.datasets, now)

    def _gather_files(
        self, command: AnalyzeModel, spec: ModelSpec, data: DataSource | str, labels: DataSource | str | None
    ) -> "Gathered":
        from optagent.loop.gather import gather
        from optagent.loop.given import given_rows

        outside, now = self._outside, self._outside.clock.now()
        rows, known = (None if source is None else outside.datasets.read(_source(source)) for source in (data, labels))
        assert rows is not None
        given = given_rows(rows, known, spec, command.version, outside.registry, self._observations(), now)
        if command.time_range is None:
            command = replace(command, time_range=given.span)
        return gather(command, spec, self._monitoring(spec), outside.registry, given, outside.datasets, now)

    def _record(self, spec: ModelSpec, kind: Recorded, rows: Any) -> int:
        from optagent.loop.record import checked_labels, checked_predictions

        checked = checked_predictions if kind is Recorded.PREDICTIONS else checked_labels
        table = checked(self._read(rows), spec, self._outside.clock.now())
        self._observations().record(spec.model_id, kind, table)
        return int(table.num_rows)

    def _set_reference(self, spec: ModelSpec, rows: Any) -> int:
        from optagent.loop.reference import LOGGED, encode_reference, logged_reference

        reference = logged_reference(self._read(rows), spec, self._outside.clock.now())
        self._observations().save_reference(spec.model_id, LOGGED, encode_reference(reference))
        return reference.rows

    def _read(self, rows: Any) -> Any:
        """The table of a file, where rows are given by its path."""
        return self._outside.datasets.read(FileSource(str(rows))) if isinstance(rows, Path | str) else rows

    def _monitoring(self, spec: ModelSpec) -> Monitoring:
        return spec.monitoring or self._outside.monitoring

    def _monitors(self) -> Monitors:
        if self._outside.monitors is None:
            raise InvalidRequest("this agent starts no monitors: give it `monitors`")
        return self._outside.monitors

    def _observations(self) -> Observations:
        if self._outside.observations is None:
            raise InvalidRequest("this agent keeps no observations: give it `observations`")
        return self._outside.observations

    def _history(self) -> Studies:
        if self._outside.studies is None:
            raise InvalidRequest("this agent keeps no studies: give it `studies` beside its own tuner")
        return self._outside.studies

    def _new_process(self, kind: str, model_id: str, command: Mapping[str, Any]) -> Process:
        now = self._outside.clock.now()
        return Process(f"{kind}-{uuid.uuid4().hex[:12]}", kind, model_id, Status.PENDING, now, now, command)


def _mature(spec: ModelSpec, observations: Observations, watched: Watched) -> None:
    """Keeps the labelled rows of the windows that were looked at, and of the week before: some labels are late."""
    from optagent.loop.mature import mature
    from optagent.loop.reference import decode_reference

    for report in watched.reports:
        if report.window is not None and report.version is not None:
            schema = decode_reference(observations.reference(spec.model_id, report.version)).schema
            mature(observations, spec, schema, Window(report.window.start - _LATE_LABELS_S, report.window.end))


def _source(source: DataSource | str) -> DataSource:
    return FileSource(source) if isinstance(source, str) else source


def _report(gathered: "Gathered") -> ModelReport:
    from optagent.loop.analyze import analyze

    return analyze(gathered)


def _command(
    model_id: str, method: str, trials: int | None, timeout_s: float | None, strategy: str, more: Mapping[str, Any]
) -> TuneModel:
    known = {item.name for item in fields(TuneModel)} - {"model_id", "resume"}
    unknown = sorted(set(more) - known)
    if unknown:
        raise InvalidRequest(f"unknown argument {', '.join(unknown)}; one of {sorted(known)}")
    asked = {**more, "objectives": tuple(more.get("objectives", ()))}
    return TuneModel(model_id, method, trials, timeout_s, strategy, **asked)


def _spec(model: ModelSpec | Mapping[str, Any] | Path) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, Path):
        return model_from(model)
    try:
        fields = yaml.safe_load(model.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{model}: cannot be read as YAML: {error}") from None
    return model_from(fields, folder=model.absolute().parent)
