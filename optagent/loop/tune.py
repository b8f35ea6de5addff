"""Tune: the loop's stages from rows to a registered version, for one command."""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from optagent.domain.command import TuneModel
from optagent.domain.model import ModelSpec
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import Monitoring
from optagent.domain.strategy import strategy_named
from optagent.domain.study import SearchOutcome, Study, TrialState, TuningResult
from optagent.domain.version import ModelVersion
from optagent.errors import NotFound
from optagent.loop import deploy, optimize, validate
from optagent.loop.prepare import Prepared, prepare
from optagent.loop.process import Run
from optagent.ports import (
    Clock,
    Datasets,
    Importer,
    Launcher,
    Monitors,
    Observations,
    Registry,
    Routes,
    Studies,
    Tokens,
    Tracker,
    Tuner,
)
from optagent.training.metrics import metric_named

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outside:
    """The ports that the loop works through, and the limits it works within."""

    datasets: Datasets
    tuner: Tuner
    registry: Registry
    tracker: Tracker
    clock: Clock
    limits: optimize.Limits = field(default_factory=optimize.Limits)
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    importer: Importer | None = None
    studies: Studies | None = None
    observations: Observations | None = None
    monitors: Monitors | None = None
    routes: Routes | None = None
    tokens: Tokens | None = None
    launcher: Launcher | None = None
    monitoring: Monitoring = field(default_factory=Monitoring)
    draw_report: Callable[[ModelReport, Path], Path] | None = None

    def check_data(self, spec: ModelSpec) -> None:
        """Raises InvalidData where the model's rows cannot be read, split and encoded as it says."""
        prepare(spec, self.datasets, seed=0)


async def tune(command: TuneModel, spec: ModelSpec, outside: Outside, run: Run) -> TuningResult:
    """Prepares, searches, builds, validates and registers; each stage is stored before it starts."""
    await run.stage("prepare")
    champion = await asyncio.to_thread(optimize.champion_params, spec.model_id, outside.registry)
    study = optimize.plan_study(run.process.process_id, spec, command, outside.limits, champion)
    prepared = await asyncio.to_thread(prepare, spec, outside.datasets, command.seed)
    study = replace(study, data_digest=prepared.digest)
    await run.stage("search")
    prepared = replace(prepared, problem=await asyncio.to_thread(outside.tuner.share, prepared.problem))
    outside.tracker.begin(study)
    metrics: Mapping[str, float] = {}
    tags: Mapping[str, str] = {}
    succeeded = False
    try:
        outcome = await optimize.search(study, prepared, outside.tuner, outside.tracker, run)
        await run.stage("validate")
        built, comparison, notes = await asyncio.to_thread(_judge, command, study, outcome, prepared, outside)
        metrics = _metrics(study, built, comparison)
        await run.stage("register")
        version = await asyncio.to_thread(
            deploy.register,
            built,
            prepared,
            comparison.verdict,
            metrics,
            run.process.process_id,
            outside.clock.now(),
            outside.registry,
            outside.observations,
        )
        tags, succeeded = {"version": version.version, "verdict": str(comparison.verdict)}, True
    finally:
        await asyncio.to_thread(_close, study, succeeded, metrics, tags, outside)
    return _result(study, outcome, built, comparison, version, (*prepared.notes, *notes), run, outside.clock)


def _close(
    study: Study, succeeded: bool, metrics: Mapping[str, float], tags: Mapping[str, str], outside: Outside
) -> None:
    """Ends the tracking of the study, with its plots where it succeeded."""
    with tempfile.TemporaryDirectory(prefix="optagent-study-") as folder:
        drawn = Path(folder) if succeeded and _drawn(study.study_id, outside.studies, Path(folder)) else None
        outside.tracker.end(study, succeeded, metrics, tags, drawn)


def _drawn(study_id: str, studies: Studies | None, folder: Path) -> bool:
    """Whether the study's plots and importances are in `folder`; what prevents it is logged."""
    if studies is None:
        return False
    try:
        studies.draw(study_id, folder)
        importances = dict(studies.study(study_id).importances)
        (folder / "importances.json").write_text(json.dumps(importances, indent=2), encoding="utf-8")
    except NotFound:  # a tuner that keeps no trials
        return False
    except Exception as error:
        _log.warning("the plots of %s are not drawn: %s: %s", study_id, type(error).__name__, error)
        return False
    return True


def _judge(
    command: TuneModel, study: Study, outcome: SearchOutcome, prepared: Prepared, outside: Outside
) -> tuple[optimize.Built, validate.Comparison, tuple[str, ...]]:
    strategy = strategy_named(command.strategy)
    best = optimize.chosen(study, outcome, strategy.margin)
    assert best is not None  # optimize.search has refused a search without a score
    built = optimize.build(best, prepared, study, outside.threads)
    x = prepared.holdout.x
    baseline, note = validate.baseline_for(
        prepared,
        outside.registry,
        lambda: optimize.build_default(best.family, prepared, study, outside.threads).model.predict(x),
    )
    metric = metric_named(study.metric, study.task)
    comparison = validate.compare(built.model.predict(x), baseline, prepared, metric, strategy.alpha, study.seed)
    return built, comparison, (note,) if note else ()


def _metrics(study: Study, built: optimize.Built, comparison: validate.Comparison) -> dict[str, float]:
    return {
        f"cv_{study.metric}": built.score,
        f"holdout_{study.metric}": comparison.candidate.estimate,
        f"baseline_{study.metric}": comparison.baseline.estimate,
        "improvement": comparison.improvement.estimate,
    }


def _result(
    study: Study,
    outcome: SearchOutcome,
    built: optimize.Built,
    comparison: validate.Comparison,
    version: ModelVersion,
    notes: tuple[str, ...],
    run: Run,
    clock: Clock,
) -> TuningResult:
    return TuningResult(
        process_id=run.process.process_id,
        model_id=study.model_id,
        metric=study.metric,
        best_params={"family": built.family, **built.params},
        best_score=built.score,
        front=optimize.front(study, outcome),
        hypervolume=optimize.hypervolume_over_time(study, outcome),
        holdout=comparison.candidate,
        baseline_name=comparison.baseline_name,
        baseline_holdout=comparison.baseline,
        improvement=comparison.improvement,
        verdict=str(comparison.verdict),
        version=version.version,
        aliases=version.aliases,
        trials=len(outcome.trials),
        pruned=outcome.count(TrialState.PRUNED),
        failed=outcome.count(TrialState.FAILED, TrialState.INFEASIBLE),
        timed_out=outcome.timed_out,
        duration_s=clock.now() - run.process.created_at,
        notes=notes,
    )
