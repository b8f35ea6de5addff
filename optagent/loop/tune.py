"""Tune: the loop's stages from rows to a registered version, for one command."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from optagent.domain.command import TuneModel
from optagent.domain.model import ModelSpec
from optagent.domain.strategy import strategy_named
from optagent.domain.study import SearchOutcome, Study, TrialState, TuningResult
from optagent.domain.version import ModelVersion
from optagent.loop import deploy, optimize, validate
from optagent.loop.prepare import Prepared, prepare
from optagent.loop.process import Run
from optagent.ports import Clock, Datasets, Registry, Tracker, Tuner
from optagent.training.metrics import metric_named


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

    def check_data(self, spec: ModelSpec) -> None:
        """Raises InvalidData where the model's rows cannot be read, split and encoded as it says."""
        prepare(spec, self.datasets, seed=0)


async def tune(command: TuneModel, spec: ModelSpec, outside: Outside, run: Run) -> TuningResult:
    """Prepares, searches, builds, validates and registers; each stage is stored before it starts."""
    study = optimize.plan_study(run.process.process_id, spec, command, outside.limits)
    await run.stage("prepare")
    prepared = await asyncio.to_thread(prepare, spec, outside.datasets, command.seed)
    await run.stage("search")
    await asyncio.to_thread(outside.tuner.check)
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
            study.study_id,
            outside.clock.now(),
            outside.registry,
        )
        tags, succeeded = {"version": version.version, "verdict": str(comparison.verdict)}, True
    finally:
        await asyncio.to_thread(outside.tracker.end, study, succeeded, metrics, tags)
    return _result(study, outcome, built, comparison, version, (*prepared.notes, *notes), run, outside.clock)


def _judge(
    command: TuneModel, study: Study, outcome: SearchOutcome, prepared: Prepared, outside: Outside
) -> tuple[optimize.Built, validate.Comparison, tuple[str, ...]]:
    best = optimize.chosen(study, outcome)
    assert best is not None  # optimize.search has refused a search without a score
    built = optimize.build(best, prepared, study, outside.threads)
    x = prepared.holdout.x
    baseline, note = validate.baseline_for(
        prepared,
        outside.registry,
        lambda: optimize.build_default(best.family, prepared, study, outside.threads).model.predict(x),
    )
    metric = metric_named(study.metric, study.task)
    alpha = strategy_named(command.strategy).alpha
    comparison = validate.compare(built.model.predict(x), baseline, prepared, metric, alpha, study.seed)
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
        process_id=study.study_id,
        model_id=study.model_id,
        metric=study.metric,
        best_params={"family": built.family, **built.params},
        best_score=built.score,
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
