"""Bundle gates: a sound bundle, the model that was built, an engine that agrees with it and answers quickly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optagent.arrays import Matrix, Prediction
from optagent.domain.gate import GateResult, Gates, Verdict, judge_number
from optagent.errors import CorruptBundle, EngineFailed
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Loader
from optagent.serving.engine import ServedModel
from optagent.serving.parity import TOLERANCE, choose_engine, largest_difference
from optagent.training.bundle import load_bundle, verify_bundle
from optagent.training.cost import one_row_times_s
from optagent.training.encoding import encode
from optagent.training.manifest import Manifest
from optagent.training.predictor import Predictor

SECURITY, SERVABLE, PARITY, LATENCY = "security", "servable", "serving parity", "latency"

_ROWS_AT_ONCE = 1_000
_READ_ROWS = 200
_TIMED_S = 2.0


@dataclass(frozen=True, slots=True)
class CandidateBundle:
    """A trained model on its way to traffic: its bundle, and the prediction of the built model on the holdout.

    `version` is the number under which the same bundle is registered already, by which a loader finds it.
    """

    folder: Path
    digest: str
    prediction: Prediction
    version: str = ""


def judge_bundle(
    gates: Gates, candidate: CandidateBundle, prepared: PreparedRows, loader: Loader | None = None
) -> list[GateResult]:
    """Security, servability, parity and latency; a bundle is loaded here only after it came up in its own process.

    Without a loader, or for a candidate without a version, the engine runs in this process.
    """
    names = [SECURITY, SERVABLE] if gates.enable_security_scan else [SERVABLE]
    try:
        manifest = _verify_manifest(candidate, prepared)
        with _load_isolated(candidate, prepared, loader) as isolated:
            security = [_judge_security(manifest, isolated)] if gates.enable_security_scan else []
            return [*security, *_judge_loaded(gates, candidate, prepared, isolated)]
    except (CorruptBundle, EngineFailed) as error:
        refused = GateResult(names[0], Verdict.FAIL, None, None, f"it cannot be loaded: {error}")
    except Exception as error:  # such as a registry that is away
        refused = GateResult(names[0], Verdict.ERROR, None, None, f"it could not be loaded: {error}")
    return [refused, *(_unjudged_gate(name) for name in (*names[1:], PARITY, LATENCY))]


def guarded_gate(name: str, judge: Callable[[], GateResult]) -> GateResult:
    """The result, or an error of that gate: the libraries of a model may raise anything."""
    try:
        return judge()
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        return GateResult(name, Verdict.ERROR, None, None, f"it could not be judged: {reason}")


def _verify_manifest(candidate: CandidateBundle, prepared: PreparedRows) -> Manifest:
    """The manifest of a bundle whose files are exactly those that it lists, all of formats that hold data only."""
    manifest = verify_bundle(candidate.folder, candidate.digest)
    spec = prepared.spec
    if (manifest.model_id, manifest.task) != (spec.model_id, spec.task):
        raise CorruptBundle(f"it is of {manifest.model_id!r}, a {manifest.task} model; {spec.model_id!r} is judged")
    return manifest


@contextmanager
def _load_isolated(
    candidate: CandidateBundle, prepared: PreparedRows, loader: Loader | None
) -> Iterator[ServedModel | None]:
    """The candidate as the loader serves it, None without a loader."""
    if loader is None or not candidate.version:
        yield None
        return
    served = loader.load(prepared.spec.model_id, candidate.version, candidate.digest)
    try:
        yield served
    finally:
        served.close()


def _judge_security(manifest: Manifest, isolated: ServedModel | None) -> GateResult:
    files = f"{len(manifest.files)} files, all of formats that are data, each with the SHA-256 of the manifest"
    where = "loaded in a process of its own, under limits of memory and time"
    if isolated is None:
        where = "no loader was given: it was not loaded in a process of its own"
    evidence = {"files": sorted(manifest.files), "isolated": isolated is not None}
    return GateResult(SECURITY, Verdict.PASS, None, None, f"{files}; {where}", evidence)


def _judge_loaded(
    gates: Gates, candidate: CandidateBundle, prepared: PreparedRows, isolated: ServedModel | None
) -> list[GateResult]:
    """Servability, parity and latency of a bundle that the loader, if there is one, could serve."""
    predictors: list[Predictor] = []

    def servable() -> GateResult:
        predictors.append(load_bundle(candidate.folder, candidate.digest))
        return _judge_servable(predictors[0], candidate, prepared)

    results = [guarded_gate(SERVABLE, servable)]
    if not predictors:
        return [*results, _unjudged_gate(PARITY), _unjudged_gate(LATENCY)]
    served = isolated

    def parity() -> GateResult:
        nonlocal served
        served = served or _serve_here(predictors[0], prepared, candidate.version)
        return _judge_parity(served, candidate, prepared)

    results.append(guarded_gate(PARITY, parity))
    if served is None:
        return [*results, _unjudged_gate(LATENCY)]
    engine = served
    return [*results, guarded_gate(LATENCY, lambda: _judge_latency(engine, prepared, gates.max_latency_ms))]


def _judge_servable(predictor: Predictor, candidate: CandidateBundle, prepared: PreparedRows) -> GateResult:
    """Passes where the loaded bundle predicts for the rows as they were read the same as the model did, bit for bit."""
    scores = predictor.scores(encode(prepared.holdout_rows, predictor.schema))
    reason = f"loaded by its digest, it has to say of {len(scores):,} rows to the last bit what the built model said"
    evidence = {"rows": len(scores), "digest": candidate.digest}
    if scores.shape != candidate.prediction.shape:
        reason = f"{reason}; it answers {scores.shape}, the built model {candidate.prediction.shape}"
        return GateResult(SERVABLE, Verdict.FAIL, None, 0.0, reason, evidence)
    if not np.isfinite(scores).all():
        reason = f"{reason}; it answers values that are no numbers"
        return GateResult(SERVABLE, Verdict.ERROR, None, 0.0, reason, evidence)
    different = int(np.count_nonzero((scores != candidate.prediction).reshape(len(scores), -1).any(axis=1)))
    return judge_number(SERVABLE, float(different), 0.0, True, f"{reason}; {different:,} rows differ", evidence)


def _serve_here(predictor: Predictor, prepared: PreparedRows, version: str) -> ServedModel:
    choice = choose_engine(predictor, prepared.holdout.x)
    return ServedModel(predictor.schema, choice.engine, version, reason=choice.reason)


def _judge_parity(served: ServedModel, candidate: CandidateBundle, prepared: PreparedRows) -> GateResult:
    """The largest difference of the engine to the built model, on encoded rows and on rows by name as in requests."""
    x = prepared.holdout.x
    parts = [served.scores(x[start : start + _ROWS_AT_ONCE]) for start in range(0, len(x), _ROWS_AT_ONCE)]
    rows = _named_rows(served, prepared)
    worst = max(
        largest_difference(candidate.prediction, np.concatenate(parts)),
        largest_difference(candidate.prediction[: len(rows)], served.scores(served.reader.read_rows(rows))),
    )
    reason = (
        f"the {served.engine.name} engine differs by {worst:.1e} at most on {len(x):,} rows, {len(rows):,} of them by"
        f" name; it had to be at most {TOLERANCE:.0e}"
    )
    evidence = {"engine": served.engine.name, "why": served.reason, "rows": len(x)}
    if worst == float("inf"):
        return GateResult(PARITY, Verdict.FAIL, None, TOLERANCE, reason, evidence)
    return judge_number(PARITY, worst, TOLERANCE, True, reason, evidence)


def _judge_latency(served: ServedModel, prepared: PreparedRows, max_latency_ms: float) -> GateResult:
    """The 99th percentile of the time from one row of names and values to its answer."""
    rows = _named_rows(served, prepared)
    places: Matrix = np.arange(len(rows), dtype=np.float32)[:, None]
    seconds = one_row_times_s(lambda place: served.answer([rows[int(place[0, 0])]]), places, _TIMED_S)
    p99 = float(np.quantile(seconds, 0.99) * 1000)
    reason = (
        f"99 % of {len(seconds)} rows, served one at a time by the {served.engine.name} engine, took at most {p99:.3g}"
        f" ms; it had to be at most {max_latency_ms:g} ms"
    )
    evidence = {"engine": served.engine.name, "calls": len(seconds), "median_ms": float(np.median(seconds) * 1000)}
    return judge_number(LATENCY, p99, max_latency_ms, True, reason, evidence)


def _named_rows(served: ServedModel, prepared: PreparedRows) -> list[dict[str, object]]:
    count = min(_READ_ROWS, served.reader.most_rows)
    return prepared.holdout_rows.select(served.schema.names).slice(0, count).to_pylist()


def _unjudged_gate(name: str) -> GateResult:
    return GateResult(name, Verdict.INCONCLUSIVE, None, None, "not judged: the candidate could not be loaded")
