"""Optimization: the whole loop for one model as one process, from its diagnosis to the deployment of a candidate.

Each stage is stored before it starts, and its outcome once it has ended; a runner that takes over goes on from there.
Rows, splits and the trained model are not stored: they are made again from the same data and seed, and are the same.
"""

import asyncio
from contextlib import nullcontext
from dataclasses import replace

from optagent.codec import plain
from optagent.domain.command import OptimizeModel
from optagent.domain.gate import Criterion, Verdict, gates_from
from optagent.domain.model import ModelSpec, ModelVersion
from optagent.domain.optimization import REJECTED, UNCHANGED, OptimizationResult
from optagent.domain.policy import Action, OptimizationType, Stage, stages_of
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidData, NotFound
from optagent.loop.champion import champion_of
from optagent.loop.context import Optimization, Ports
from optagent.loop.gates.evaluate import criterion_of
from optagent.loop.gates.judge import GateJudgement, judge_candidate
from optagent.loop.gates.log import log_judgement
from optagent.loop.mixture.renew import renew_slots
from optagent.loop.observe.champion_health import ChampionHealth, check_champion
from optagent.loop.observe.labelled_rows import store_labelled_rows_since
from optagent.loop.observe.reference import decode_reference
from optagent.loop.process import Run
from optagent.loop.refit import is_refitted, refit_candidate
from optagent.loop.rollout.deploy import deploy_candidate
from optagent.loop.rollout.gate_rows import read_gate_rows
from optagent.loop.train.build import BuiltModel
from optagent.loop.train.candidate import (
    CandidateRecipes,
    build_candidate,
    champion_candidate,
    search_candidate,
    search_features,
)
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.register import register_once
from optagent.loop.train.start import starting
from optagent.loop.train.training_rows import TrainingRows, prepare_window, read_training_rows
from optagent.loop.train.training_window import choose_window

_OF_ROWS = ("rows", "features", "search", "candidate", "gate", "refit")
"""Stages whose stored outcome depends on the rows."""

_GATES_S = 6.0  # of a limit: the candidate's bundle is loaded and tried in a process of its own, and so is its refit's


async def optimize(command: OptimizeModel, spec: ModelSpec, ports: Ports, run: Run) -> OptimizationResult:
    """Finds, judges and deploys a candidate; one that failed or is not shown to be better is never promoted.

    Raises what a stage raises.
    """
    job = Optimization(command, spec, ports, run)
    health = await check_champion(command, ports, run)
    result = OptimizationResult(
        process_id=run.process.process_id,
        model_id=spec.model_id,
        trigger=command.trigger,
        optimization_type=command.optimization_type,
        metric=job.metric.name,
        diagnosis=health.diagnosis,
        notes=(health.note,) if health.note else (),
    )
    stages = stages_of(OptimizationType(command.optimization_type), health.remedy)
    if not stages:
        return _finish(replace(result, status=UNCHANGED, error_message=_nothing_to_do(health)), job)
    try:
        result = await _improve(job, stages, health, result)
    except InvalidData as error:
        result = replace(result, status=UNCHANGED, error_message=f"the rows cannot be learned from: {error}")
    return _finish(result, job)


async def _improve(
    job: Optimization, stages: tuple[Stage, ...], health: ChampionHealth, result: OptimizationResult
) -> OptimizationResult:
    """Finds a candidate by these stages, judges it, and deploys it where it passes."""
    await job.run.stage("prepare")
    async with starting(job.ports.tuner, job.spec) if Stage.TUNE in stages else nullcontext():
        rows = await _gather_rows(job)
        prepared = await asyncio.to_thread(rows.prepare, job.command.seed)
    job.run.set_end_aside(_GATES_S)
    champion, champion_notes = await asyncio.to_thread(champion_candidate, prepared, job.ports.registry)
    renewing = await _mixed_champion(job)
    if renewing is not None and stages == (Stage.RETRAIN,):
        result = replace(result, rows=len(prepared.problem.data), live_rows=rows.live_rows)
        return await renew_slots(job, champion, rows, prepared, renewing, result)
    prepared, window = await asyncio.to_thread(_take_window, job, rows, prepared, champion, health)
    plan, feature_note = champion.plan, ""
    if Stage.FEATURES in stages:
        features, feature_note = await search_features(job, champion.recipes[0], prepared, Stage.TUNE in stages)
        plan = features or plan
    prepared = prepared if plan is None else prepared.with_plan(plan)
    candidate = await search_candidate(job.command, stages, champion, prepared, job.ports, job.run)
    feature_notes = (feature_note,) if feature_note else ()
    result = replace(
        result,
        rows=len(prepared.problem.data),
        live_rows=rows.live_rows,
        window=window,
        features=() if plan is None else tuple(step.name for step in plan.steps),
        notes=(*result.notes, *prepared.notes, *champion_notes, *feature_notes, *candidate.notes),
    )
    if renewing is not None:
        return await renew_slots(job, candidate, rows, prepared, renewing, result, searched=True)
    return await _judge_and_deploy(job, candidate, rows, prepared, result)


async def _mixed_champion(job: Optimization) -> ModelVersion | None:
    """The champion beside which a mixture's slots are to be renewed; None where one version answers alone.

    The action shadow is a person's wish to compare a candidate with the champion, by a rollout.
    """
    policy = job.spec.policy
    if policy is None or not policy.is_mixed or job.command.action == Action.SHADOW:
        return None
    return await asyncio.to_thread(champion_of, job.spec.model_id, job.ports.registry)


async def _gather_rows(job: Optimization) -> TrainingRows:
    """The same rows for every runner of the process: rows that came later are left to the next process.

    Where labels of earlier rows came meanwhile, they are no longer the same: then a runner that takes over begins anew.
    """
    ports, run = job.ports, job.run
    stored = run.stage_outputs.get("rows")
    until = ports.clock.now() if stored is None else float(stored["until"])
    await asyncio.to_thread(_store_labelled_rows, job.spec, ports, until)
    rows = await asyncio.to_thread(read_training_rows, job.spec, ports.datasets, ports.observations, until)
    if stored is not None and stored["rows"] != rows.table.num_rows:
        await run.forget(_OF_ROWS)
        stored = None
    if stored is None:
        await run.keep("rows", {"until": until, "rows": rows.table.num_rows})
    return rows


def _store_labelled_rows(spec: ModelSpec, ports: Ports, until: float) -> None:
    """Stores the labelled rows since the champion was made, also those of days without a monitor."""
    champion = champion_of(spec.model_id, ports.registry)
    if ports.observations is None or champion is None:
        return
    try:
        reference = decode_reference(ports.observations.reference(spec.model_id, champion.version))
    except NotFound:  # without it nothing tells how its rows are read
        return
    ports.observations.drain(spec.model_id)
    store_labelled_rows_since(ports.observations, spec, reference.schema, champion.created_at, until)


def _take_window(
    job: Optimization, rows: TrainingRows, prepared: PreparedRows, champion: CandidateRecipes, health: ChampionHealth
) -> tuple[PreparedRows, str]:
    """The rows of the window that was asked for, or chosen; all rows where the chosen one is too small."""
    command = job.command
    window = choose_window(prepared, champion.recipes[0], job.metric, command.window, health.changed_at, command.seed)
    try:
        return prepare_window(rows, prepared, window, command.seed), window.name
    except InvalidData:
        if command.window != "auto":
            raise
        return prepared, "expanding"


async def _judge_and_deploy(
    job: Optimization,
    candidate: CandidateRecipes,
    rows: TrainingRows,
    prepared: PreparedRows,
    result: OptimizationResult,
) -> OptimizationResult:
    command, run, window = job.command, job.run, result.window or "expanding"
    await run.stage("build")
    built = await asyncio.to_thread(build_candidate, candidate, prepared, command.seed, job.ports.threads)
    version = await register_once(built, prepared, run.process.process_id, job.ports)
    champion = await asyncio.to_thread(champion_of, job.spec.model_id, job.ports.registry)
    refits, alpha = is_refitted(command, champion, version), strategy_named(command.strategy).alpha
    test = HoldoutTest(prepared, job.metric, alpha, command.seed, refits, criterion_of(command))
    judgement = await _judge_once(job, version, built, test, window)
    result = replace(
        result,
        family=built.family,
        params=built.params,
        version=version.version,
        verdict=str(judgement.report.verdict),
        gates=tuple(plain(gate) for gate in judgement.report.results),
        looks=judgement.report.look or 0,
        old_metrics=judgement.old_metrics,
        new_metrics=judgement.new_metrics,
        improvement=judgement.improvement,
        improvement_percentage=judgement.percentage,
        corrected_improvement=judgement.corrected_gain,
        baseline_name=judgement.baseline_name,
        notes=(*result.notes, *judgement.notes),
    )
    if judgement.report.verdict is not Verdict.PASS:
        return replace(result, status=REJECTED, error_message=judgement.describe_failures())
    if refits:
        deployable = await refit_candidate(job, candidate, rows, prepared, version, window)
        if deployable.version.version != version.version:
            result = replace(result, version=deployable.version.version, measured_as=version.version)
        version, result = deployable.version, replace(result, notes=(*result.notes, deployable.note))
    gate_rows = None
    if champion is not None and not result.measured_as and test.criterion is Criterion.FILTER:
        gates = gates_from(command.gates)
        gate_rows = await asyncio.to_thread(read_gate_rows, champion, built.model, gates, test, job.ports.registry)
    await run.stage("deploy")
    return await deploy_candidate(command, version, result, job.ports, gate_rows)


async def _judge_once(
    job: Optimization, version: ModelVersion, built: BuiltModel, test: HoldoutTest, window: str
) -> GateJudgement:
    """The judgement of the gates, logged: the one that an earlier runner made, if it did."""
    run, gates = job.run, job.command.gates
    if "gate" in run.stage_outputs:
        return GateJudgement.from_plain(run.stage_outputs["gate"])
    await run.stage("gate")
    process_id = run.process.process_id
    judgement = await judge_candidate(gates_from(gates), version, built.model, test, process_id, job.ports)
    await log_judgement(job, judgement, version, test, window)
    await run.keep("gate", judgement.to_plain())
    return judgement


def _nothing_to_do(health: ChampionHealth) -> str:
    if health.remedy is None:
        return f"nothing is known to be wrong, so that there is nothing to do. {health.note}".strip()
    return f"the remedy is to {health.remedy}, which is not for a new model to do. {health.note}".strip()


def _finish(result: OptimizationResult, job: Optimization) -> OptimizationResult:
    """The result with its duration, in total and by stage."""
    now, process = job.ports.clock.now(), job.run.process
    events = [(event.at, str(event.detail["stage"])) for event in process.history if event.kind == "stage"]
    ends = [at for at, _ in events[1:]] + [now]
    stages = tuple({"stage": name, "seconds": end - at} for (at, name), end in zip(events, ends, strict=True))
    return replace(
        result,
        status=result.status or UNCHANGED,
        stages=stages,
        duration_s=now - process.created_at,
    )
