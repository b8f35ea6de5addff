"""Decision materials: rows, candidate and champion of a logged decision, read again and compared by their digests."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from optagent.arrays import Prediction
from optagent.domain.gate import gates_from
from optagent.domain.gate_decision import GateDecision
from optagent.domain.model import ModelSpec, ModelVersion
from optagent.errors import CorruptBundle, InvalidData, ModelNotFound
from optagent.loop.context import Ports
from optagent.loop.gates.anchor import ANCHOR, rename_anchor
from optagent.loop.gates.compare import compare_values
from optagent.loop.gates.evaluate import CHAMPION
from optagent.loop.gates.judge import judged_rows_digest, plan_digest
from optagent.loop.rollout.replay import ReplayDifference
from optagent.loop.train.holdout import Baseline, version_on_holdout
from optagent.loop.train.holdout_looks import holdout_digest, scores_digest
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.training_rows import TrainingRows, prepare_window, read_training_rows
from optagent.loop.train.training_window import window_named
from optagent.ports import Registry
from optagent.training.encoding import encode as encoded
from optagent.training.families.engineered import EngineeredModel
from optagent.training.folds import MIN_HOLDOUT_ROWS
from optagent.training.predictor import Predictor


@dataclass(frozen=True, slots=True)
class DecisionMaterials:
    """The rows of a decision and the predictions of its candidate and champion, read or computed again."""

    prepared: PreparedRows
    libraries: Mapping[str, str]
    prediction: Prediction
    champion: Baseline | None
    why_no_champion: str | None


def find_materials(decision: GateDecision, spec: ModelSpec, ports: Ports) -> DecisionMaterials | list[ReplayDifference]:
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
    return changed or DecisionMaterials(prepared, predictor.manifest.libraries, prediction, champion, why)


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
