"""Refit stage: the version that goes to shadow learns from all rows, and names the version that was measured for it."""

import asyncio
from dataclasses import dataclass

from optagent.domain.audit import AuditEntry
from optagent.domain.command import OptimizeModel
from optagent.domain.gate import Criterion, GateResult, Verdict, gates_from, verdict_of
from optagent.domain.model import MEASURED_AS, ModelVersion
from optagent.errors import Infeasible, InvalidData
from optagent.loop.context import Optimization
from optagent.loop.gates.evaluate import criterion_of
from optagent.loop.gates.judge import judge_built_bundle
from optagent.loop.train.build import BuiltModel
from optagent.loop.train.candidate import CandidateRecipes, build_candidate
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.refit import fit_recipes_again, prepare_refit
from optagent.loop.train.register import register_once
from optagent.loop.train.training_rows import TrainingRows

REFITTED = "optimize.refitted"
"""The action of the audit entry."""


@dataclass(frozen=True, slots=True)
class Deployable:
    """The version that is deployed, and the reason as text; it is the measured one where no refit stands for it."""

    version: ModelVersion
    note: str = ""


def is_refitted(command: OptimizeModel, champion: ModelVersion | None, candidate: ModelVersion) -> bool:
    """True for a candidate that shadow judges beside a champion, not for one that an earlier runner made champion.

    Without shadow nobody would judge the refit: a first model, one that a person decides on (action candidate), and one
    whose rollout has no shadow are those that were measured.
    """
    competes = champion is not None and champion.version != candidate.version
    return command.refit and competes and criterion_of(command) is Criterion.FILTER


async def refit_candidate(
    job: Optimization,
    candidate: CandidateRecipes,
    rows: TrainingRows,
    judged: PreparedRows,
    measured: ModelVersion,
    window: str,
) -> Deployable:
    """The refit of a candidate that passed its gates, or the candidate where the refit's bundle did not pass its own.

    An earlier runner's refit is taken as it is. Raises what the ports raise.
    """
    output = job.run.stage_outputs.get("refit")
    if output is not None:
        version = await asyncio.to_thread(job.ports.registry.version, measured.model_id, output["version"])
        return Deployable(version, output["note"])
    await job.run.stage("refit")
    try:
        refit = await asyncio.to_thread(prepare_refit, rows, judged, window, measured.version)
        recipes = fit_recipes_again(candidate, refit)
        built = await asyncio.to_thread(build_candidate, recipes, refit, job.command.seed, job.ports.threads)
    except (InvalidData, Infeasible) as error:
        deployable = Deployable(measured, f"it was not trained again: {error}")
    else:
        deployable = await _register_and_judge(job, built, refit, measured)
    await job.run.keep("refit", {"version": deployable.version.version, "note": deployable.note})
    return deployable


async def _register_and_judge(
    job: Optimization, built: BuiltModel, refit: PreparedRows, measured: ModelVersion
) -> Deployable:
    """The refit where its bundle passes, with an entry in the audit log; otherwise the measured version."""
    version = await register_once(built, refit, job.run.process.process_id, job.ports)
    gates = gates_from(job.command.gates)
    results = await asyncio.to_thread(judge_built_bundle, gates, version, built.model, refit, job.ports)
    verdict, count = verdict_of(results), len(refit.problem.data)
    await job.ports.store.append_audit(_audit_entry(job, version, refit, results))
    if verdict is Verdict.PASS:
        rest = f"live rows judge it; version {measured.version} is the one that was measured"
        return Deployable(version, f"version {version.version} was trained again on all {count:,} rows: {rest}")
    reasons = "; ".join(f"{each.name}: {each.verdict}, {each.reason}" for each in results if each.verdict != "pass")
    return Deployable(measured, f"version {version.version}, trained again on all rows, is left out: {reasons}")


def _audit_entry(
    job: Optimization, version: ModelVersion, refit: PreparedRows, results: list[GateResult]
) -> AuditEntry:
    detail = {
        "process_id": job.run.process.process_id,
        "version": version.version,
        "bundle_sha256": version.digest,
        MEASURED_AS: refit.measured_as,
        "rows": len(refit.problem.data),
        "rows_sha256": refit.digest,
        "trained_until": refit.trained_until,
        "gates": {result.name: str(result.verdict) for result in results},
    }
    at = job.ports.clock.now()
    return AuditEntry(at, "optagent", REFITTED, job.spec.model_id, str(verdict_of(results)), detail=detail)
