"""Cached reports: a window that has passed is analyzed once, until a late row or a failed remedy changes the answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from optagent.domain.command import AnalyzeModel
from optagent.domain.concept_drift import ConceptDrift
from optagent.domain.dataset import DataSource
from optagent.domain.label_maturity import LabelMaturity
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import AnalysisType
from optagent.loop.context import Ports
from optagent.loop.intervals.report import with_coverage
from optagent.loop.observe.analyze import analyze
from optagent.loop.observe.inputs import AnalysisInputs, Question, gather_inputs
from optagent.loop.observe.label_history import LabelSource, maturity_of, refresh_label_history
from optagent.loop.observe.past_remedies import past_remedies
from optagent.loop.observe.uploaded_rows import prepare_uploaded_rows
from optagent.ports import Observations, Store, WorkerPool, Workers

Detect = Callable[[AnalysisInputs, Ports], Awaitable[ConceptDrift | None]]
"""The verdict of the detector that goes on from window to window; None where there is none."""


async def analyze_cached(
    command: AnalyzeModel, ports: Ports, detect: Detect | None = None, findings_only: bool = False
) -> ModelReport:
    """The report of recorded rows; one that was made of the same rows before is answered again.

    With `findings_only` it holds the findings of the whole report, and the parts by which they are judged; it is made
    anew each time, and not kept.

    The monitor, which gives `detect`, stores what it counted of the ages of labels; without it a look changes nothing,
    and the detector of concept drift begins anew with these rows.

    Raises ModelNotFound, InvalidRequest, NotFound where nothing says what the model is compared with, and Unavailable.
    """
    spec = await ports.store.model(command.model_id)
    observations: Observations = ports.require("observations")
    inputs = await asyncio.to_thread(_gather_recorded, command, spec, observations, ports, findings_only)
    inputs = replace(inputs, tried=await past_remedies(inputs, ports.store, ports.registry, observations))
    inputs = await _with_label_maturity(inputs, ports.store, observations, saves=detect is not None)
    if detect is not None:
        inputs = replace(inputs, concept=await detect(inputs, ports))
    report = await _find_or_make_report(inputs, ports)
    record = await ports.store.intervals(spec.model_id) if spec.intervals else None
    return with_coverage(report, record, inputs.window)


async def _find_or_make_report(inputs: AnalysisInputs, ports: Ports) -> ModelReport:
    if not inputs.is_closed or inputs.findings_only:
        return await asyncio.to_thread(analyze, inputs)
    digest = await asyncio.to_thread(inputs.digest)
    report = await ports.store.find_report(inputs.key, digest)
    if report is None:
        report = await asyncio.to_thread(analyze, inputs)
        await ports.store.save_report(inputs.key, digest, report)
    return report


async def _with_label_maturity(
    inputs: AnalysisInputs, store: Store, observations: Observations, saves: bool
) -> AnalysisInputs:
    if not inputs.command.wants(AnalysisType.PERFORMANCE):
        return inputs
    spec, monitoring, reference = inputs.spec, inputs.monitoring, inputs.reference
    source = LabelSource(spec, reference.schema, reference.observed.y, monitoring.window_s, observations)
    history = await refresh_label_history(source, store, inputs.now, saves)
    curve, maturity = await asyncio.to_thread(maturity_of, history, spec, monitoring)
    return replace(inputs, labels=maturity, label_curve=curve, label_edges=history.edges)


async def current_label_maturity(command: AnalyzeModel, ports: Ports) -> LabelMaturity:
    """The maturing of a model's labels now; raises as `analyze_cached` does."""
    spec = await ports.store.model(command.model_id)
    observations: Observations = ports.require("observations")
    inputs = await asyncio.to_thread(_gather_recorded, command, spec, observations, ports)
    inputs = await _with_label_maturity(inputs, ports.store, observations, saves=False)
    return inputs.labels or LabelMaturity(reason="no requests are recorded")


async def analyze_uploaded(
    command: AnalyzeModel, data: DataSource, labels: DataSource | None, ports: Ports
) -> ModelReport:
    """The report of the rows of files, which are not recorded; without a time range, of all of them."""
    spec = await ports.store.model(command.model_id)
    (inputs,) = await asyncio.to_thread(_gather_uploaded, command, spec, data, labels, 0, ports)
    return await asyncio.to_thread(analyze, inputs)


async def analyze_uploaded_windows(
    command: AnalyzeModel, data: DataSource, labels: DataSource | None, windows: int, ports: Ports
) -> list[ModelReport]:
    """Reports of equal windows of the rows of files in the order of time, and at the end one of all these rows.

    The workers analyze them side by side.
    """
    spec = await ports.store.model(command.model_id)
    inputs = await asyncio.to_thread(_gather_uploaded, command, spec, data, labels, windows, ports)
    whole, *parts = await asyncio.to_thread(_analyze_side_by_side, inputs, ports.require("workers"))
    return [*parts, whole]


def _gather_recorded(
    command: AnalyzeModel, spec: ModelSpec, observations: Observations, ports: Ports, findings_only: bool = False
) -> AnalysisInputs:
    observations.drain(spec.model_id)
    question = Question(command, spec, ports.monitoring_of(spec), ports.clock.now(), findings_only)
    return gather_inputs(question, ports.registry, observations, ports.datasets)


def _gather_uploaded(
    command: AnalyzeModel, spec: ModelSpec, data: DataSource, labels: DataSource | None, parts: int, ports: Ports
) -> list[AnalysisInputs]:
    """All rows that the command asks for, then those of each of so many equal parts of their window."""
    now, observations = ports.clock.now(), ports.require("observations")
    table = ports.datasets.read(data)
    label_table = None if labels is None else ports.datasets.read(labels)
    rows = prepare_uploaded_rows(table, label_table, spec, command.version, ports.registry, observations, now)

    def gather_in(time_range: Any) -> AnalysisInputs:
        question = Question(replace(command, time_range=time_range), spec, ports.monitoring_of(spec), now)
        return gather_inputs(question, ports.registry, rows, ports.datasets)

    whole = gather_in(rows.span if command.time_range is None else command.time_range)
    return [whole, *(gather_in(window) for window in (whole.window.parts(parts) if parts else ()))]


def _analyze_side_by_side(inputs: Sequence[AnalysisInputs], workers: Workers) -> list[ModelReport]:
    pool: WorkerPool
    with workers.share(None) as pool:
        return pool.map(_analyze_item, inputs)


def _analyze_item(shared: None, inputs: AnalysisInputs) -> ModelReport:
    return analyze(inputs)
