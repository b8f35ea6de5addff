"""Slot renewal: the end of an optimization of a model that a mixture answers for.

Every trained slot gets a new model of the recipe, of all labelled rows of its window up to the newest. What passes the
hard gates enters its slot, and inherits the slot's record; whether it is any better is for the weights to find out.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from optagent.codec import plain
from optagent.domain.audit import AuditEntry
from optagent.domain.gate import GateReport, Gates, Verdict, gates_from
from optagent.domain.mixture import JOINED, RETIRED, MixtureRecord, SlotTraining
from optagent.domain.model import ModelVersion
from optagent.domain.optimization import REJECTED, SUCCESS, OptimizationResult
from optagent.domain.policy import RetrainingPolicy, Trigger
from optagent.domain.slot import CHAMPION_SLOT, MOST_SLOTS, SEARCH_SLOT, Slot, parse_slot
from optagent.domain.strategy import strategy_named
from optagent.errors import Infeasible, InvalidData
from optagent.loop.context import Optimization
from optagent.loop.gates.evaluate import judge_gates
from optagent.loop.gates.judge import open_candidate
from optagent.loop.mixture.advance import begin_mixture
from optagent.loop.mixture.learn import change_slots
from optagent.loop.mixture.ports import MixturePorts, change_journal
from optagent.loop.train.candidate import CandidateRecipes, build_candidate
from optagent.loop.train.holdout import HoldoutTest
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.refit import fit_recipes_again, prepare_slot
from optagent.loop.train.register import register_once
from optagent.loop.train.training_rows import TrainingRows
from optagent.mixing.learner import MixtureLearner

RENEWED = "mixture.renewed"
"""The action of the audit entry."""


@dataclass(frozen=True, slots=True)
class SlotModel:
    """A slot's new model with the report of its hard gates, or the reason why there is none."""

    slot: Slot
    version: ModelVersion | None = None
    report: GateReport | None = None
    rows: int = 0
    reason: str = ""

    @property
    def enters(self) -> bool:
        """True for a model that may stand in its slot."""
        return self.report is not None and self.report.verdict is Verdict.PASS


async def renew_slots(
    job: Optimization,
    candidate: CandidateRecipes,
    rows: TrainingRows,
    prepared: PreparedRows,
    champion: ModelVersion,
    result: OptimizationResult,
    searched: bool = False,
) -> OptimizationResult:
    """The result once every trained slot has its new model; rejected where none of them passed the hard gates.

    A recipe that was `searched` for gets a slot of its own beside the others, which stay as they are. What an earlier
    runner of the process registered is taken as it is. Raises what the ports raise.
    """
    assert job.spec.policy is not None
    await job.run.stage("renew")
    slots = [parse_slot(SEARCH_SLOT)] if searched else await _due_slots(job, job.spec.policy)
    models = [await _train_slot(job, slot, candidate, rows, prepared) for slot in slots]
    entered = {model.slot.name: model.version.version for model in models if model.enters and model.version}
    reasons = [f"slot {model.slot.name}: {_describe_refusal(model)}" for model in models if not model.enters]
    result = replace(
        result,
        slots=entered,
        version=next(iter(entered.values()), None),
        gates=tuple(plain(gate) for model in models[:1] if model.report for gate in model.report.results),
        notes=(*result.notes, *reasons),
    )
    if not entered:
        return replace(result, status=REJECTED, verdict=str(Verdict.FAIL), error_message="; ".join(reasons))
    rows_of_slots = {model.slot.name: model.rows for model in models if model.enters}
    await _enter(job, champion, entered, rows_of_slots)
    return replace(result, status=SUCCESS, verdict=str(Verdict.PASS))


async def _due_slots(job: Optimization, policy: RetrainingPolicy) -> list[Slot]:
    """The trained slots; of an optimization that the growth of rows has started, those that are due."""
    slots = [slot for slot in map(parse_slot, policy.slots) if slot.is_trained]
    record = await job.ports.store.mixture(job.spec.model_id)
    if job.command.trigger != Trigger.GROWTH or record is None:
        return slots
    due = record.due_slots([slot.name for slot in slots], policy.growth)
    return [slot for slot in slots if slot.name in due] or slots


async def _train_slot(
    job: Optimization, slot: Slot, candidate: CandidateRecipes, rows: TrainingRows, prepared: PreparedRows
) -> SlotModel:
    try:
        of_slot = await asyncio.to_thread(prepare_slot, rows, prepared, slot)
        if of_slot.schema.classes != prepared.schema.classes:
            raise InvalidData("its rows have other classes than the champion's")
        recipes = fit_recipes_again(candidate, of_slot)
        built = await asyncio.to_thread(build_candidate, recipes, of_slot, job.command.seed, job.ports.threads)
    except (InvalidData, Infeasible) as error:
        return SlotModel(slot, reason=f"its rows cannot be learned from: {error}")
    version = await register_once(built, of_slot, job.run.process.process_id, job.ports)
    gates = slot_gates(gates_from(job.command.gates), job.spec.policy)
    test = HoldoutTest(of_slot, job.metric, strategy_named(job.command.strategy).alpha, job.command.seed)
    prediction = await asyncio.to_thread(built.model.predict, of_slot.holdout.x)
    with open_candidate(version, prediction, job.ports.registry) as bundle:
        report = await asyncio.to_thread(judge_gates, gates, bundle, None, test, loader=job.ports.loader)
    return SlotModel(slot, version, report, len(of_slot.problem.data))


def slot_gates(gates: Gates, policy: RetrainingPolicy | None) -> Gates:
    """The hard gates of a slot: nothing has to be better, and all slots together keep the limit of latency."""
    slots = 1 if policy is None else len(policy.slots)
    limit_ms = gates.max_latency_ms / slots
    return replace(gates, beats_champion=False, beats_constant=False, max_latency_ms=limit_ms)


async def _enter(
    job: Optimization, champion: ModelVersion, entered: Mapping[str, str], rows: Mapping[str, int]
) -> None:
    """Writes the new models into the journal, whoever else writes it, and logs them."""
    ports = MixturePorts.of(job.ports)

    async def read() -> MixtureRecord:
        return await ports.store.mixture(job.spec.model_id) or await begin_mixture(job.spec, champion, ports)

    await change_journal(read, lambda record: _with_models(record, entered, rows, ports.clock.now()), ports.store)
    detail = {"process_id": job.run.process.process_id, "slots": dict(entered), "rows": dict(rows)}
    await job.ports.store.append_audit(
        AuditEntry(
            job.ports.clock.now(), f"process {job.run.process.process_id}", RENEWED, job.spec.model_id, detail=detail
        )
    )


def _with_models(
    record: MixtureRecord, entered: Mapping[str, str], rows: Mapping[str, int], now: float
) -> MixtureRecord:
    learner, learned = MixtureLearner.from_plain(record.state), int(record.state["rows"])
    trained = {**record.trained, **{name: SlotTraining(count, learned) for name, count in rows.items()}}
    record = replace(record, versions={**record.versions, **entered}, trained=trained)
    if SEARCH_SLOT not in entered or SEARCH_SLOT in learner.slots:
        return record
    retired = [(RETIRED, lightest_slot(learner))] if len(learner.slots) >= MOST_SLOTS else []
    return change_slots(record, [*retired, (JOINED, SEARCH_SLOT)], now)


def lightest_slot(learner: MixtureLearner) -> str:
    """The slot with the least part of the answers, beside the champion's."""
    others = [
        (weight, name)
        for name, weight in zip(learner.slots, learner.slot_weights.tolist(), strict=True)
        if name != CHAMPION_SLOT
    ]
    return min(others)[1]


def _describe_refusal(model: SlotModel) -> str:
    if model.report is None:
        return model.reason
    failures = [result for result in model.report.results if result.verdict is not Verdict.PASS]
    return "; ".join(f"{result.name}: {result.verdict}, {result.reason}" for result in failures)
