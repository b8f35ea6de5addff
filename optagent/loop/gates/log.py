"""Gate log: the audit entry of a decision, with all values that are needed to make the decision again."""

from optagent.analysis.bootstrap import RULES
from optagent.codec import plain
from optagent.domain.audit import AuditEntry
from optagent.domain.gate_decision import JUDGED, GateDecision
from optagent.domain.model import ModelVersion
from optagent.loop.context import Optimization
from optagent.loop.gates.judge import GateJudgement, as_logged, judged_rows_digest, plan_digest
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.holdout_looks import holdout_digest


async def log_judgement(
    job: Optimization, judgement: GateJudgement, version: ModelVersion, test: HoldoutTest, window: str
) -> None:
    """Appends the decision to the audit log: rows and scores as SHA-256, without feature values."""
    command, run, report, prepared = job.command, job.run, judgement.report, test.prepared
    decision = GateDecision(
        process_id=run.process.process_id,
        version=version.version,
        bundle_sha256=version.digest,
        rows=run.stage_outputs["rows"]["rows"],
        rows_sha256=prepared.digest,
        holdout=holdout_digest(prepared),
        holdout_sha256=judged_rows_digest(prepared),
        until=run.stage_outputs["rows"]["until"],
        seed=command.seed,
        window=window,
        changed_at=run.stage_outputs["analyze"]["changed_at"],
        plan_sha256=plan_digest(prepared.plan),
        strategy=command.strategy,
        gates=dict(command.gates),
        metric=judgement.metric,
        look=report.look,
        alpha=report.alpha,
        champion=judgement.baseline_name,
        interval_rules=RULES,
        results=tuple(as_logged(result) for result in report.results),
        criterion=test.criterion,
        **judgement.evidence,  # type: ignore[arg-type]
    )
    outcome, model_id = str(report.verdict), version.model_id
    entry = AuditEntry(job.ports.clock.now(), "optagent", JUDGED, model_id, outcome, detail=plain(decision))
    await job.ports.store.append_audit(entry)
