"""Gate replay: an optimization's decision is made again from the same rows, bundles and seed.

Gates that are computed (samples, limits of metrics, bias, champion) have to come out the same, bit for bit. Gates that
are measured (latency) or that load and serve the candidate stay as they were logged. Rows or bundles that have changed
since are named, and then no gate is computed, since the decision was about other ones.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from optagent.arrays import Prediction
from optagent.codec import decode
from optagent.domain.audit import AuditEntry, AuditLink
from optagent.domain.gate import Criterion, gates_from, verdict_of
from optagent.domain.gate_decision import JUDGED, GateDecision
from optagent.domain.ledger import HoldoutLook
from optagent.domain.model import ModelSpec, ModelVersion
from optagent.domain.process import Process
from optagent.domain.strategy import strategy_named
from optagent.errors import CorruptBundle, InvalidData, InvalidRequest, ModelNotFound
from optagent.loop.context import Ports
from optagent.loop.gates.anchor import ANCHOR, rename_anchor
from optagent.loop.gates.bundle import LATENCY, PARITY, SECURITY, SERVABLE
from optagent.loop.gates.compare import compare_gate, compare_ledger, compare_process, compare_values
from optagent.loop.gates.evaluate import CHAMPION, holdout_gates
from optagent.loop.gates.judge import as_logged, judged_rows_digest, plan_digest
from optagent.loop.rollout.replay import ReplayDifference
from optagent.loop.train.holdout import Baseline, HoldoutTest, version_on_holdout
from optagent.loop.train.holdout_looks import holdout_digest, scores_digest
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.training_rows import TrainingRows, prepare_window, read_training_rows
from optagent.loop.train.training_window import window_named
from optagent.ports import Registry
from optagent.sequential.holdout_ledger import FIRST_SHARE, alpha_of_look
from optagent.training.bundle import library_versions
from optagent.training.encoding import encode as encoded
from optagent.training.families.engineered import EngineeredModel
from optagent.training.folds import MIN_HOLDOUT_ROWS
from optagent.training.metrics import metric_named
from optagent.training.predictor import Predictor

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


@dataclass(frozen=True, slots=True)
class _Materials:
    """The rows of a decision and the predictions of its candidate and champion, read or computed again."""

    prepared: PreparedRows
    libraries: Mapping[str, str]
    prediction: Prediction
    champion: Baseline | None
    why_no_champion: str | None


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
    materials = _find_materials(decision, spec, ports)
    if not isinstance(materials, _Materials):
        return replace(replay, changed=(*materials, *changed))
    same, difference = _judge_again(decision, entry.outcome, materials)
    stand = tuple(result.name for result in decision.results if result.name in NOT_COMPUTED)
    libraries = _changed_libraries(materials.libraries)
    return replace(
        replay, same=same, not_computed=stand, changed=tuple(changed), difference=difference, libraries=libraries
    )


def _find_materials(decision: GateDecision, spec: ModelSpec, ports: Ports) -> _Materials | list[ReplayDifference]:
    """Rows, candidate and champion of the decision; or the differences of those that have changed."""
    candidate, changed = _load_version(
        "candidate", spec.model_id, decision.version, decision.bundle_sha256, ports.registry
    )
    predictor = candidate if isinstance(candidate, Predictor) else None
    prepared = _find_rows(decision, spec, ports, predictor, changed)
    if prepared is None or predictor is None:
        return changed
    try:
        prediction = predictor.scores(encoded(prepared.holdout_rows, predictor.schema))
    except (CorruptBundle, InvalidData) as error:
        return [*changed, ReplayDifference("scores_sha256", decision.scores_sha256, f"nothing: {error}")]
    changed += compare_values("scores_sha256", decision.scores_sha256, scores_digest(prediction))
    champion, why = _find_champion(decision, prepared, ports.registry, changed)
    champion = _find_anchor(decision, champion, prepared, ports.registry, changed)
    return changed or _Materials(prepared, predictor.manifest.libraries, prediction, champion, why)


def _load_version(
    name: str, model_id: str, number: str, digest: str | None, registry: Registry
) -> tuple[Predictor | None, list[ReplayDifference]]:
    """The model of a version with the digest that was logged, or None with the differences."""
    version, changed = _find_version(name, model_id, number, digest, registry)
    if version is None:
        return None, changed
    try:
        return load_version(version, registry), []
    except CorruptBundle as error:
        return None, [ReplayDifference(f"{name}: bundle", f"SHA-256 {digest}", f"not so: {error}")]


def _find_version(
    name: str, model_id: str, number: str, digest: str | None, registry: Registry
) -> tuple[ModelVersion | None, list[ReplayDifference]]:
    try:
        version = registry.version(model_id, number)
    except ModelNotFound as error:
        return None, [ReplayDifference(f"{name}: version", number, f"gone: {error}")]
    unlike = compare_values(f"{name}: bundle", f"SHA-256 {digest}", f"SHA-256 {version.digest}")
    return (None, unlike) if unlike else (version, [])


def _find_rows(
    decision: GateDecision, spec: ModelSpec, ports: Ports, predictor: Predictor | None, changed: list[ReplayDifference]
) -> PreparedRows | None:
    """The rows of the decision, split with its seed; None where they differ, and `changed` gets the differences."""
    try:
        rows = read_training_rows(spec, ports.datasets, ports.observations, decision.until)
        prepared = _rows_of_window(decision, rows)
        unlike = [
            *compare_values("rows", decision.rows, rows.table.num_rows),
            *compare_values("holdout", decision.holdout, holdout_digest(prepared)),
            *compare_values("holdout_sha256", decision.holdout_sha256, judged_rows_digest(prepared)),
            *compare_values("rows_sha256", decision.rows_sha256, _training_digest(decision, prepared, predictor)),
        ]
    except InvalidData as error:
        unlike = [ReplayDifference("rows_sha256", decision.rows_sha256, f"none: {error}")]
    changed += unlike
    return None if unlike else prepared


def _rows_of_window(decision: GateDecision, rows: TrainingRows) -> PreparedRows:
    prepared = rows.prepare(decision.seed)
    if decision.window == "expanding":
        return prepared
    return prepare_window(rows, prepared, window_named(decision.window, prepared, decision.changed_at), decision.seed)


def _training_digest(decision: GateDecision, prepared: PreparedRows, predictor: Predictor | None) -> str:
    """The digest of the development rows with the columns of the candidate's plan."""
    if decision.plan_sha256 is None:
        return prepared.digest
    if predictor is None:
        return decision.rows_sha256  # the plan is in the bundle, which is named already
    plan = predictor.model.plan if isinstance(predictor.model, EngineeredModel) else None
    if plan is None or plan_digest(plan) != decision.plan_sha256:
        raise InvalidData("the candidate's plan is another one")
    return prepared.with_plan(plan).digest


def _find_champion(
    decision: GateDecision, prepared: PreparedRows, registry: Registry, changed: list[ReplayDifference]
) -> tuple[Baseline | None, str | None]:
    """The prediction of the decision's champion on the holdout; differences are added to `changed`."""
    if decision.champion_version is None:
        return None, None
    name, number, sha256 = "champion", decision.champion_version, decision.champion_sha256
    if decision.rival_version not in (None, number):
        name, number, sha256 = "rival", str(decision.rival_version), decision.rival_sha256
    version, unlike = _find_version(name, prepared.spec.model_id, number, sha256, registry)
    changed += unlike
    if version is None:
        return None, None
    least = max(gates_from(decision.gates).min_validation_samples, MIN_HOLDOUT_ROWS)
    baseline, why = version_on_holdout(version, prepared, registry, least)
    if baseline is not None and decision.champion is not None:
        baseline = replace(baseline, name=decision.champion)
    digest = None if baseline is None else scores_digest(baseline.prediction)
    for difference in compare_values("champion_scores_sha256", decision.champion_scores_sha256, digest):
        changed.append(difference if baseline else replace(difference, replayed=f"nothing: {why}"))
    if baseline is None:  # as it was then; its reason names a scratch folder, so the logged reason is taken
        why = next((result.reason for result in decision.results if result.name == CHAMPION), why)
    return baseline, why


def _find_anchor(
    decision: GateDecision,
    champion: Baseline | None,
    prepared: PreparedRows,
    registry: Registry,
    changed: list[ReplayDifference],
) -> Baseline | None:
    """The champion with the decision's anchor beside it; differences are added to `changed`."""
    logged = next((result for result in decision.results if result.name == ANCHOR), None)
    if champion is None or logged is None:
        return champion
    if decision.anchor_version is None:
        return replace(champion, why_no_anchor=logged.reason)
    version, unlike = _find_version(
        ANCHOR, prepared.spec.model_id, decision.anchor_version, decision.anchor_sha256, registry
    )
    changed += unlike
    if version is None:
        return champion
    least = max(gates_from(decision.gates).min_validation_samples, MIN_HOLDOUT_ROWS)
    anchor, why = version_on_holdout(version, prepared, registry, least)
    digest = f"nothing: {why}" if anchor is None else scores_digest(anchor.prediction)
    changed += compare_values("anchor_scores_sha256", decision.anchor_scores_sha256, digest)
    return champion if anchor is None else replace(champion, anchor=rename_anchor(anchor, version))


def _judge_again(
    decision: GateDecision, outcome: str, materials: _Materials
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
