"""Improve: the whole loop for one model as one process, from what is wrong to a candidate in its place.

Each stage is stored before it starts, and what it came to once it has; a runner that takes over goes on from there.
What is not stored (rows, splits, the trained model) is made again from the same rows and seed, and is the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from optagent.codec import plain
from optagent.domain.audit import AuditEntry
from optagent.domain.command import OptimizeModel
from optagent.domain.diagnosis import Remedy
from optagent.domain.gate import Verdict
from optagent.domain.gate_decision import JUDGED, GateDecision
from optagent.domain.model import CHALLENGER, CHAMPION, ModelSpec, ModelVersion
from optagent.domain.model_report import ModelReport
from optagent.domain.optimization import REJECTED, SUCCESS, UNCHANGED, OptimizationResult
from optagent.domain.policy import Action, OptimizationType, Stage, stages_of
from optagent.domain.rollout import Rollout
from optagent.domain.strategy import strategy_named
from optagent.errors import Conflict, InvalidData, InvalidRequest, NotFound
from optagent.loop.context import Ports
from optagent.loop.gates.evaluate import holdout_digest
from optagent.loop.gates.judge import GateJudgement, as_logged, judge_candidate, judged_rows_digest, plan_digest
from optagent.loop.observe.labelled_rows import mature_since
from optagent.loop.observe.reference import decode_reference
from optagent.loop.process import Run
from optagent.loop.train import register
from optagent.loop.train.candidate import CandidateRecipes, built, champion_candidate, found_features, searched
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.search import BuiltModel
from optagent.loop.train.training_rows import TrainingRows, learnable, windowed
from optagent.loop.train.training_window import choose_window
from optagent.ports import Store
from optagent.training.metrics import Metric, metric_named

_OF_ROWS = ("rows", "features", "search", "candidate", "gate")
"""What was kept and depends on the rows."""

Analyze = Callable[[str], Awaitable[ModelReport]]
"""A report of the champion over a stretch of time."""
RollOut = Callable[[str, Mapping[str, Any], str], Awaitable[Rollout]]
"""Lets a version compete, by changes of a policy, in somebody's name."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What an optimization asks of the other verbs."""

    store: Store
    analyze: Analyze
    roll_out: RollOut | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of the champion's last rows."""

    remedy: Remedy | None
    changed_at: float | None
    diagnosis: Mapping[str, Any] | None
    said: str


async def improve(
    command: OptimizeModel, spec: ModelSpec, outside: Ports, doors: Doors, run: Run
) -> OptimizationResult:
    """Raises what a stage raises; nothing that failed, or is not shown to be better, is ever promoted."""
    result = OptimizationResult(
        process_id=run.process.process_id,
        model_id=spec.model_id,
        trigger=command.trigger,
        optimization_type=command.optimization_type,
        metric=metric_named(spec.metric, spec.task).name,
    )
    seen = await _analyzed(command, doors, run)
    stages = stages_of(OptimizationType(command.optimization_type), seen.remedy)
    result = replace(result, diagnosis=seen.diagnosis, notes=(seen.said,) if seen.said else ())
    if not stages:
        return _ended(result, UNCHANGED, _nothing_to_do(seen), run, outside)
    try:
        result = await _improved(command, spec, stages, seen, result, outside, doors, run)
    except InvalidData as error:
        return _ended(result, UNCHANGED, f"the rows cannot be learned from: {error}", run, outside)
    return _ended(result, result.status or UNCHANGED, result.error_message, run, outside)


async def _improved(
    command: OptimizeModel,
    spec: ModelSpec,
    stages: tuple[Stage, ...],
    seen: _Seen,
    result: OptimizationResult,
    outside: Ports,
    doors: Doors,
    run: Run,
) -> OptimizationResult:
    await run.stage("prepare")
    rows = await _rows(spec, outside, run)
    metric = metric_named(spec.metric, spec.task)
    prepared = await asyncio.to_thread(rows.prepared, command.seed)
    champion, notes = await asyncio.to_thread(champion_candidate, prepared, outside.registry)
    prepared, window = await asyncio.to_thread(_windowed, command, rows, prepared, champion, metric, seen)
    plan, why = champion.plan, ""
    if Stage.FEATURES in stages:
        found, why = await found_features(command, champion.recipes[0], prepared, metric, outside, run)
        plan = found or plan
    prepared = prepared if plan is None else prepared.planned(plan)
    candidate = await searched(command, stages, champion, prepared, outside, run)
    result = replace(
        result,
        rows=len(prepared.problem.data),
        live_rows=rows.live_rows,
        window=window,
        features=() if plan is None else tuple(step.name for step in plan.steps),
        notes=(*result.notes, *prepared.notes, *notes, *((why,) if why else ()), *candidate.said),
    )
    return await _judged(command, candidate, prepared, metric, result, outside, doors, run)


def _windowed(
    command: OptimizeModel,
    rows: TrainingRows,
    prepared: PreparedRows,
    champion: CandidateRecipes,
    metric: Metric,
    seen: _Seen,
) -> tuple[PreparedRows, str]:
    """The rows of the window that was asked for, or chosen; all rows where the chosen one is too small."""
    chosen = choose_window(prepared, champion.recipes[0], metric, command.window, seen.changed_at, command.seed)
    try:
        return windowed(rows, prepared, chosen, command.seed), chosen.name
    except InvalidData:
        if command.window != "auto":
            raise
        return prepared, "expanding"


async def _analyzed(command: OptimizeModel, doors: Doors, run: Run) -> _Seen:
    """What is wrong, if rows were recorded that tell; without any, a person may know better all the same."""
    if "analyze" in run.kept:
        kept = run.kept["analyze"]
        remedy = None if kept["remedy"] is None else Remedy(kept["remedy"])
        return _Seen(remedy, kept["changed_at"], kept["diagnosis"], kept["said"])
    await run.stage("analyze")
    seen = _Seen(None, None, None, "")
    try:
        report = await doors.analyze(command.time_range)
    except (InvalidData, InvalidRequest, NotFound) as error:
        seen = replace(seen, said=f"nothing is known of what the champion answered lately: {error}")
    else:
        diagnosis, drift = report.diagnosis, report.concept_drift
        seen = _Seen(
            None if diagnosis is None else diagnosis.remedy,
            None if drift is None or not drift.detected else drift.changed_at,
            None if diagnosis is None else plain(diagnosis),
            "" if diagnosis is None else f"{diagnosis.verdict}: {'; '.join(diagnosis.reasons)}",
        )
    await run.keep(
        "analyze",
        {"remedy": seen.remedy, "changed_at": seen.changed_at, "diagnosis": seen.diagnosis, "said": seen.said},
    )
    return seen


async def _rows(spec: ModelSpec, outside: Ports, run: Run) -> TrainingRows:
    """The same rows for every runner of the process: what came later is left to the next one.

    Where that is not to be had, since labels of earlier rows came meanwhile, a runner that takes over begins anew.
    """
    kept = run.kept.get("rows")
    until = outside.clock.now() if kept is None else float(kept["until"])
    await asyncio.to_thread(_matured, spec, outside, until)
    found = await asyncio.to_thread(learnable, spec, outside.datasets, outside.observations, until)
    if kept is not None and kept["rows"] != found.table.num_rows:
        await run.forget(_OF_ROWS)
        kept = None
    if kept is None:
        await run.keep("rows", {"until": until, "rows": found.table.num_rows})
    return found


def _matured(spec: ModelSpec, outside: Ports, until: float) -> None:
    """Rows whose labels came on days that no monitor has looked at are rows to learn from as well."""
    if outside.observations is None:
        return
    try:
        champion = outside.registry.version(spec.model_id, CHAMPION)
        reference = decode_reference(outside.observations.reference(spec.model_id, champion.version))
    except NotFound:  # no champion, or nothing that says how its rows are read
        return
    outside.observations.drain(spec.model_id)
    mature_since(outside.observations, spec, reference.schema, champion.created_at, until)


async def _judged(
    command: OptimizeModel,
    candidate: CandidateRecipes,
    prepared: PreparedRows,
    metric: Metric,
    result: OptimizationResult,
    outside: Ports,
    doors: Doors,
    run: Run,
) -> OptimizationResult:
    await run.stage("build")
    made = await asyncio.to_thread(built, candidate, prepared, command.seed, outside.threads)
    version = await _registered(made, prepared, outside, run)
    judgement = await _judgement(
        command, version, made, prepared, metric, result.window or "expanding", outside, doors, run
    )
    result = replace(
        result,
        family=made.family,
        params=made.params,
        version=version.version,
        verdict=str(judgement.report.verdict),
        gates=tuple(plain(one) for one in judgement.report.results),
        looks=judgement.report.look or 0,
        old_metrics=judgement.old_metrics,
        new_metrics=judgement.new_metrics,
        improvement=judgement.improvement,
        improvement_percentage=judgement.percentage,
        baseline_name=judgement.baseline_name,
    )
    if judgement.report.verdict is not Verdict.PASS:
        return replace(result, status=REJECTED, error_message=judgement.in_words())
    await run.stage("deploy")
    return await _placed(command, version, result, outside, doors, run)


async def _judgement(
    command: OptimizeModel,
    version: ModelVersion,
    made: BuiltModel,
    prepared: PreparedRows,
    metric: Metric,
    window: str,
    outside: Ports,
    doors: Doors,
    run: Run,
) -> GateJudgement:
    if "gate" in run.kept:
        return GateJudgement.from_plain(run.kept["gate"])
    await run.stage("gate")
    judgement = await judge_candidate(
        command.gates,
        version,
        made.model,
        prepared,
        metric,
        strategy_named(command.strategy).alpha,
        command.seed,
        run.process.process_id,
        outside,
        doors.store,
    )
    await doors.store.append_audit(_entry(command, version, judgement, prepared, window, outside, run))
    await run.keep("gate", judgement.to_plain())
    return judgement


def _entry(
    command: OptimizeModel,
    version: ModelVersion,
    judgement: GateJudgement,
    prepared: PreparedRows,
    window: str,
    outside: Ports,
    run: Run,
) -> AuditEntry:
    """The decision, with what it takes to make it again."""
    report = judgement.report
    detail = GateDecision(
        process_id=run.process.process_id,
        version=version.version,
        bundle_sha256=version.digest,
        rows=run.kept["rows"]["rows"],
        rows_sha256=prepared.digest,
        holdout=holdout_digest(prepared),
        holdout_sha256=judged_rows_digest(prepared),
        until=run.kept["rows"]["until"],
        seed=command.seed,
        window=window,
        changed_at=run.kept["analyze"]["changed_at"],
        plan_sha256=plan_digest(prepared.plan),
        strategy=command.strategy,
        gates=dict(command.gates),
        metric=judgement.metric,
        look=report.look,
        alpha=report.alpha,
        champion=judgement.baseline_name,
        results=tuple(as_logged(one) for one in report.results),
        **judgement.evidence,  # type: ignore[arg-type]
    )
    return AuditEntry(
        outside.clock.now(), "optagent", JUDGED, version.model_id, str(report.verdict), detail=plain(detail)
    )


async def _registered(made: BuiltModel, prepared: PreparedRows, outside: Ports, run: Run) -> ModelVersion:
    """The candidate as a version without an alias: the one that an earlier runner registered, if it did."""
    process_id, registry = run.process.process_id, outside.registry
    model_id = prepared.spec.model_id
    for version in await asyncio.to_thread(registry.versions, model_id):
        if (version.tags.get("process_id"), version.tags.get("rows")) == (process_id, prepared.digest):
            return version
    return await asyncio.to_thread(
        register.register_version, made, prepared, {}, process_id, outside.clock.now(), registry, outside.observations
    )


async def _placed(
    command: OptimizeModel,
    version: ModelVersion,
    result: OptimizationResult,
    outside: Ports,
    doors: Doors,
    run: Run,
) -> OptimizationResult:
    """The alias that it has earned, and a rollout where the command wants one. Done again, it changes nothing."""
    registry = outside.registry
    first = not await asyncio.to_thread(register.has_champion, version.model_id, registry)
    alias = CHAMPION if first or CHAMPION in version.aliases else CHALLENGER
    await asyncio.to_thread(registry.set_alias, version.model_id, alias, version.version)
    result = replace(result, status=SUCCESS, aliases=(alias,))
    if alias == CHAMPION or command.action == Action.CANDIDATE:
        return result
    rollout, note = await _rolled_out(command, version, doors, run)
    notes = (*result.notes, note) if note else result.notes
    return replace(result, rollout_id=None if rollout is None else rollout.rollout_id, notes=notes)


async def _rolled_out(
    command: OptimizeModel, version: ModelVersion, doors: Doors, run: Run
) -> tuple[Rollout | None, str]:
    if doors.roll_out is None:
        return None, "no rollout: this agent routes no requests"
    who = f"process {run.process.process_id}"
    for known in await doors.store.rollouts(version.model_id, 10):
        if known.candidate == version.version and known.transitions and known.transitions[0].by == who:
            return known, ""
    changes = {**command.rollout, **({} if command.action == Action.FULL else {"hold": True})}
    try:
        return await doors.roll_out(version.version, changes, who), ""
    except (Conflict, InvalidRequest, NotFound) as error:
        return None, f"no rollout: {error}"


def _nothing_to_do(seen: _Seen) -> str:
    if seen.remedy is None:
        return f"nothing is known to be wrong, so that there is nothing to do. {seen.said}".strip()
    return f"the remedy is to {seen.remedy}, which is not for a new model to do. {seen.said}".strip()


def _ended(
    result: OptimizationResult, status: str, message: str | None, run: Run, outside: Ports
) -> OptimizationResult:
    now = outside.clock.now()
    events = [(event.at, str(event.detail["stage"])) for event in run.process.history if event.kind == "stage"]
    ends = [at for at, _ in events[1:]] + [now]
    stages = tuple({"stage": name, "seconds": end - at} for (at, name), end in zip(events, ends, strict=True))
    return replace(
        result,
        status=status,
        error_message=None if status == SUCCESS else message,
        stages=stages,
        duration_s=now - run.process.created_at,
    )
