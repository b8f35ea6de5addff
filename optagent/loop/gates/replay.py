"""Gate replay: an optimization's decision is made again from the same rows, bundles and seed.

Gates that are computed (samples, limits of metrics, bias, champion) have to come out the same, bit for bit. Gates that
are measured (latency) or that load and serve the candidate stay as they were logged. Rows or bundles that have changed
since are named, and then no gate is computed, since the decision was about other ones.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from optagent.codec import decode
from optagent.domain.audit import AuditEntry, AuditLink
from optagent.domain.gate import Criterion, gates_from, verdict_of
from optagent.domain.gate_decision import JUDGED, GateDecision
from optagent.domain.ledger import HoldoutLook
from optagent.domain.model import ModelSpec
from optagent.domain.process import Process
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports
from optagent.loop.gates.bundle import LATENCY, PARITY, SECURITY, SERVABLE
from optagent.loop.gates.compare import compare_gate, compare_ledger, compare_process, compare_values
from optagent.loop.gates.coverage import COVERAGE
from optagent.loop.gates.decision_materials import DecisionMaterials, find_materials
from optagent.loop.gates.evaluate import holdout_gates
from optagent.loop.gates.judge import as_logged
from optagent.loop.rollout.replay import ReplayDifference
from optagent.loop.train.holdout import HoldoutTest
from optagent.sequential.holdout_ledger import FIRST_SHARE, alpha_of_look
from optagent.training.bundle import library_versions
from optagent.training.metrics import metric_named

NOT_COMPUTED = (SECURITY, SERVABLE, PARITY, LATENCY)


@dataclass(frozen=True, slots=True)
class GateReplay:
    """Outcome of judging a candidate again.

    `same` are the gates that came out the same, bit for bit, and `not_computed` those that stay as they were logged.
    `changed` are the inputs of the decision that have changed since: where rows or bundles are among them, no gate was
    computed. `difference` is the first value that differs. `libraries` are those whose version has changed since the
    candidate was trained, which may be the reason.
    """

    process_id: str
    model_id: str
    version: str
    outcome: str
    same: tuple[str, ...] = ()
    not_computed: tuple[str, ...] = ()
    changed: tuple[ReplayDifference, ...] = ()
    difference: ReplayDifference | None = None
    libraries: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        return not self.changed and self.difference is None


def decision_of(record: AuditLink | AuditEntry) -> GateDecision:
    """The decision that an entry holds; InvalidRequest for another kind of entry and for an incomplete one."""
    entry = record.entry if isinstance(record, AuditLink) else record
    if entry.action != JUDGED:
        raise InvalidRequest(f"an entry {JUDGED!r} can be judged again, this one is {entry.action!r}")
    try:
        return decode(GateDecision, entry.detail)
    except InvalidRequest as error:
        raise InvalidRequest(f"the entry does not hold what it takes to judge again: {error}") from None


def replay_gates(
    record: AuditLink | AuditEntry,
    spec: ModelSpec,
    ports: Ports,
    process: Process | None = None,
    looks: Iterable[HoldoutLook] | None = None,
) -> GateReplay:
    """Judges a candidate again by the settings of the entry, and compares bit for bit.

    `process` is the one that decided, and `looks` those of the ledger that counted its look, where they are still
    stored: they must agree with the entry. Raises InvalidRequest as `decision_of`, and Unavailable.
    """
    entry = record.entry if isinstance(record, AuditLink) else record
    decision = decision_of(entry)
    replay = GateReplay(decision.process_id, entry.target, decision.version, entry.outcome)
    changed = [*compare_process(decision, process), *compare_ledger(decision, entry.outcome, looks)]
    materials = find_materials(decision, _spec_of_then(decision, spec), ports)
    if not isinstance(materials, DecisionMaterials):
        return replace(replay, changed=(*materials, *changed))
    same, difference = _judge_again(decision, entry.outcome, materials)
    stand = tuple(result.name for result in decision.results if result.name in NOT_COMPUTED)
    libraries = _changed_libraries(materials.libraries)
    return replace(
        replay, same=same, not_computed=stand, changed=tuple(changed), difference=difference, libraries=libraries
    )


def _spec_of_then(decision: GateDecision, spec: ModelSpec) -> ModelSpec:
    """The model with intervals where the decision judged their coverage: they may be set since, or older than it."""
    return replace(spec, intervals=any(result.name == COVERAGE for result in decision.results))


def _judge_again(
    decision: GateDecision, outcome: str, materials: DecisionMaterials
) -> tuple[tuple[str, ...], ReplayDifference | None]:
    """The names of the gates that come out the same, and the first difference."""
    metric = metric_named(decision.metric, materials.prepared.spec.task)
    test = HoldoutTest(
        materials.prepared,
        metric,
        decision.alpha,
        decision.seed,
        criterion=decision.criterion,
        rules=decision.interval_rules,
    )
    gates = gates_from(decision.gates)
    results = holdout_gates(gates, materials.prediction, materials.champion, test, materials.why_no_champion)
    logged = {result.name: result for result in decision.results}
    replayed = {result.name: as_logged(result) for result in results}
    computed = [name for name in logged if name not in NOT_COMPUTED]
    differences = {
        name: compare_gate(name, logged.get(name), replayed.get(name)) for name in dict.fromkeys([*computed, *replayed])
    }
    same = tuple(name for name, difference in differences.items() if difference is None)
    verdict = str(verdict_of([replayed.get(result.name, result) for result in decision.results]))
    every_difference: Iterator[ReplayDifference] = iter(
        [
            *compare_values("alpha", decision.alpha, _alpha_of_decision(decision)),
            *(difference for difference in differences.values() if difference is not None),
            *compare_values("verdict", outcome, verdict),
        ]
    )
    return same, next(every_difference, None)


def ledger_of(decision: GateDecision, model_id: str) -> str:
    """The ledger that counted the look of a decision: the model's, or that of the holdout for one of before."""
    return decision.holdout if decision.criterion is Criterion.TWO_SIDED else model_id


def _alpha_of_decision(decision: GateDecision) -> float | None:
    """The alpha that the rules give the look; of a proof only the most, `compare_ledger` has what the ledger gave."""
    whole = strategy_named(decision.strategy).alpha
    if decision.criterion is Criterion.PROOF:
        return min(decision.alpha, whole * FIRST_SHARE)
    if decision.look is None or decision.criterion is Criterion.FILTER:
        return whole
    return alpha_of_look(whole, decision.look)


def _changed_libraries(then: Mapping[str, str]) -> tuple[str, ...]:
    now = library_versions()
    return tuple(
        f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    )
