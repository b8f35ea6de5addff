"""Replay of gates: an optimization's decision is made once more, of the rows, the bundles and the seed of then.

Gates that are computed (samples, limits of metrics, bias, champion) have to come out the same, bit for bit. What was
measured (latency), and what loading and serving the candidate came to, stands as it was. Rows or bundles that have
changed since are named; then nothing is computed, for the decision was about others.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from optagent.arrays import Prediction
from optagent.codec import decode
from optagent.domain.audit import AuditEntry, AuditLink
from optagent.domain.gate import GateResult, gates_from, verdict_of
from optagent.domain.gate_decision import JUDGED, GateDecision
from optagent.domain.ledger import HoldoutLook
from optagent.domain.model import ModelSpec, ModelVersion
from optagent.domain.process import Process
from optagent.domain.strategy import strategy_named
from optagent.errors import CorruptBundle, InvalidData, InvalidRequest, ModelNotFound
from optagent.loop.context import Ports
from optagent.loop.gates.bundle import LATENCY, PARITY, SECURITY, SERVABLE
from optagent.loop.gates.evaluate import computed, holdout_digest
from optagent.loop.gates.judge import as_logged, judged_rows_digest, plan_digest, scores_digest
from optagent.loop.rollout.replay import ReplayDifference
from optagent.loop.train.holdout import Baseline, version_on_holdout
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.training_rows import TrainingRows, learnable, windowed
from optagent.loop.train.training_window import window_named
from optagent.ports import Registry
from optagent.sequential.holdout_ledger import alpha_of_look
from optagent.training.bundle import library_versions
from optagent.training.encoding import encode as encoded
from optagent.training.families.engineered import EngineeredModel
from optagent.training.metrics import metric_named
from optagent.training.predictor import Predictor

NOT_COMPUTED = (SECURITY, SERVABLE, PARITY, LATENCY)
_COMMAND = ("seed", "strategy", "gates")


@dataclass(frozen=True, slots=True)
class GateReplay:
    """What came of judging once more.

    `same` are the gates that came out the same, bit for bit, and `not_computed` those that stand as they were.
    `changed` is what the decision was made of and is no longer so: where rows or bundles are among it, no gate was
    computed. `difference` is the first number that comes out otherwise. `libraries` are versions that have changed
    since the candidate was trained, which may be why.
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
class _Then:
    """What it was judged by, as it is found again."""

    prepared: PreparedRows
    libraries: Mapping[str, str]
    prediction: Prediction
    champion: Baseline | None
    why_no_champion: str | None


def judged_in(judged: AuditLink | AuditEntry) -> GateDecision:
    """What an entry says that it was judged by; InvalidRequest for another entry, and for one that says too little."""
    entry = judged.entry if isinstance(judged, AuditLink) else judged
    if entry.action != JUDGED:
        raise InvalidRequest(f"an entry {JUDGED!r} can be judged again, this one is {entry.action!r}")
    try:
        return decode(GateDecision, entry.detail)
    except InvalidRequest as error:
        raise InvalidRequest(f"the entry does not hold what it takes to judge again: {error}") from None


def replay_judged(
    judged: AuditLink | AuditEntry,
    spec: ModelSpec,
    outside: Ports,
    process: Process | None = None,
    looks: Iterable[HoldoutLook] | None = None,
) -> GateReplay:
    """Judges a candidate again as the entry says that it was judged, and compares bit for bit.

    `process` is the one that decided, and `looks` those of the ledger of its holdout, where they are kept: they must
    say the same as the entry. Raises InvalidRequest as `judged_in`, and Unavailable.
    """
    entry = judged.entry if isinstance(judged, AuditLink) else judged
    by = judged_in(entry)
    replay = GateReplay(by.process_id, entry.target, by.version, entry.outcome)
    changed = [*_unlike_process(by, process), *_unlike_ledger(by, entry.outcome, looks)]
    then = _then(by, spec, outside)
    if not isinstance(then, _Then):
        return replace(replay, changed=(*then, *changed))
    same, difference = _again(by, entry.outcome, then)
    stand = tuple(one.name for one in by.results if one.name in NOT_COMPUTED)
    libraries = _libraries(then.libraries)
    return replace(
        replay, same=same, not_computed=stand, changed=tuple(changed), difference=difference, libraries=libraries
    )


def _then(by: GateDecision, spec: ModelSpec, outside: Ports) -> _Then | list[ReplayDifference]:
    """Rows, candidate and champion of then; or what of them has changed."""
    candidate, changed = _version("candidate", spec.model_id, by.version, by.bundle_sha256, outside.registry)
    predictor = candidate if isinstance(candidate, Predictor) else None
    prepared = _prepared(by, spec, outside, predictor, changed)
    if prepared is None or predictor is None:
        return changed
    try:
        prediction = predictor.scores(encoded(prepared.holdout_rows, predictor.schema))
    except (CorruptBundle, InvalidData) as error:
        return [*changed, ReplayDifference("scores_sha256", by.scores_sha256, f"nothing: {error}")]
    changed += _unlike("scores_sha256", by.scores_sha256, scores_digest(prediction))
    champion, why = _champion(by, prepared, outside.registry, changed)
    return changed or _Then(prepared, predictor.manifest.libraries, prediction, champion, why)


def _version(
    name: str, model_id: str, number: str, digest: str | None, registry: Registry
) -> tuple[Predictor | None, list[ReplayDifference]]:
    """A version's model, of the digest that was logged."""
    found, changed = _registered(name, model_id, number, digest, registry)
    if found is None:
        return None, changed
    try:
        return load_version(found, registry), []
    except CorruptBundle as error:
        return None, [ReplayDifference(f"{name}: bundle", f"SHA-256 {digest}", f"not so: {error}")]


def _registered(
    name: str, model_id: str, number: str, digest: str | None, registry: Registry
) -> tuple[ModelVersion | None, list[ReplayDifference]]:
    try:
        found = registry.version(model_id, number)
    except ModelNotFound as error:
        return None, [ReplayDifference(f"{name}: version", number, f"gone: {error}")]
    unlike = _unlike(f"{name}: bundle", f"SHA-256 {digest}", f"SHA-256 {found.digest}")
    return (None, unlike) if unlike else (found, [])


def _prepared(
    by: GateDecision, spec: ModelSpec, outside: Ports, predictor: Predictor | None, changed: list[ReplayDifference]
) -> PreparedRows | None:
    """The rows of then, split with the seed; None, with what differs added to `changed`, where they are others."""
    try:
        rows = learnable(spec, outside.datasets, outside.observations, by.until)
        prepared = _of_window(by, rows)
        unlike = [
            *_unlike("rows", by.rows, rows.table.num_rows),
            *_unlike("holdout", by.holdout, holdout_digest(prepared)),
            *_unlike("holdout_sha256", by.holdout_sha256, judged_rows_digest(prepared)),
            *_unlike("rows_sha256", by.rows_sha256, _learned_from(by, prepared, predictor)),
        ]
    except InvalidData as error:
        unlike = [ReplayDifference("rows_sha256", by.rows_sha256, f"none: {error}")]
    changed += unlike
    return None if unlike else prepared


def _of_window(by: GateDecision, rows: TrainingRows) -> PreparedRows:
    prepared = rows.prepared(by.seed)
    if by.window == "expanding":
        return prepared
    return windowed(rows, prepared, window_named(by.window, prepared, by.changed_at), by.seed)


def _learned_from(by: GateDecision, prepared: PreparedRows, predictor: Predictor | None) -> str:
    """The digest of the rows, with the columns of the candidate's plan."""
    if by.plan_sha256 is None:
        return prepared.digest
    if predictor is None:
        return by.rows_sha256  # the plan is in the bundle, which is named already
    plan = predictor.model.plan if isinstance(predictor.model, EngineeredModel) else None
    if plan is None or plan_digest(plan) != by.plan_sha256:
        raise InvalidData("the candidate's plan is another one")
    return prepared.planned(plan).digest


def _champion(
    by: GateDecision, prepared: PreparedRows, registry: Registry, changed: list[ReplayDifference]
) -> tuple[Baseline | None, str | None]:
    """What the champion of then says of the holdout; what is no longer so is added to `changed`."""
    if by.champion_version is None:
        return None, None
    name, model_id = "champion", prepared.spec.model_id
    version, unlike = _registered(name, model_id, by.champion_version, by.champion_sha256, registry)
    changed += unlike
    if version is None:
        return None, None
    found, why = version_on_holdout(version, prepared, registry)
    said = None if found is None else scores_digest(found.prediction)
    for difference in _unlike("champion_scores_sha256", by.champion_scores_sha256, said):
        changed.append(difference if found else replace(difference, replayed=f"nothing: {why}"))
    if found is None:  # nor could it be compared with then: why is told with the name of a scratch folder
        why = next((one.reason for one in by.results if one.name == name), why)
    return found, why


def _again(by: GateDecision, outcome: str, then: _Then) -> tuple[tuple[str, ...], ReplayDifference | None]:
    """The names of the gates that come out the same, and the first difference."""
    task = then.prepared.spec.task
    made = [
        as_logged(one)
        for one in computed(
            gates_from(by.gates),
            then.prediction,
            then.champion,
            then.prepared,
            metric_named(by.metric, task),
            by.alpha,
            by.seed,
            then.why_no_champion,
        )
    ]
    known = {one.name: one for one in by.results}
    again = {one.name: one for one in made}
    due = [name for name in known if name not in NOT_COMPUTED]
    differences = {name: _unlike_gate(name, known.get(name), again.get(name)) for name in dict.fromkeys([*due, *again])}
    same = tuple(name for name, difference in differences.items() if difference is None)
    verdict = str(verdict_of([again.get(one.name, one) for one in by.results]))
    found: Iterator[ReplayDifference] = iter(
        [
            *_unlike("alpha", by.alpha, _alpha(by)),
            *(one for one in differences.values() if one is not None),
            *_unlike("verdict", outcome, verdict),
        ]
    )
    return same, next(found, None)


def _alpha(by: GateDecision) -> float | None:
    whole = strategy_named(by.strategy).alpha
    return whole if by.look is None else alpha_of_look(whole, by.look)


def _unlike_gate(name: str, known: GateResult | None, again: GateResult | None) -> ReplayDifference | None:
    where = f"gate {name}"
    if known is None or again is None:
        return ReplayDifference(where, "missing" if known is None else "there", "missing" if again is None else "there")
    for each in ("verdict", "measured", "required"):
        for difference in _unlike(f"{where}: {each}", getattr(known, each), getattr(again, each)):
            return difference
    for each in sorted({*known.evidence, *again.evidence}):
        for difference in _unlike(f"{where}: {each}", known.evidence.get(each), again.evidence.get(each)):
            return difference
    return next(iter(_unlike(f"{where}: reason", known.reason, again.reason)), None)


def _unlike_process(by: GateDecision, process: Process | None) -> Iterator[ReplayDifference]:
    """What the process that decided was asked for, where that is not what the entry says."""
    if process is None:
        return
    asked: Mapping[str, Any] = process.command
    for name in _COMMAND:
        yield from _unlike(f"{name}, as process {by.process_id} keeps it", getattr(by, name), asked.get(name))
    until = process.kept.get("rows", {}).get("until")
    yield from _unlike(f"until, as process {by.process_id} keeps it", by.until, until)


def _unlike_ledger(by: GateDecision, outcome: str, looks: Iterable[HoldoutLook] | None) -> Iterator[ReplayDifference]:
    """What the ledger says of the look, where that is not what the entry says."""
    if looks is None or by.look is None:
        return
    where = f"look {by.look} of the ledger"
    look = next((one for one in looks if one.number == by.look), None)
    if look is None:
        yield ReplayDifference(where, "there", "missing")
        return
    yield from _unlike(f"{where}: process", by.process_id, look.process_id)
    yield from _unlike(f"{where}: candidate", by.version, look.candidate)
    yield from _unlike(f"{where}: alpha", strategy_named(by.strategy).alpha, look.alpha)
    yield from _unlike(f"{where}: verdict", outcome, None if look.verdict is None else str(look.verdict))


def _unlike(where: str, stored: Any, found: Any) -> list[ReplayDifference]:
    """By what is written of both, so that -0.0 is not 0.0."""
    return [] if _written(stored) == _written(found) else [ReplayDifference(where, _told(stored), _told(found))]


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _told(value: Any) -> str:
    return value if isinstance(value, str) else _written(value)


def _libraries(then: Mapping[str, str]) -> tuple[str, ...]:
    now = library_versions()
    return tuple(
        f"{name} {then.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    )
