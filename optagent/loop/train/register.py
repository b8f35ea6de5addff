"""Deploy: put a judged model into the registry, and give it the alias that its verdict earns."""

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from optagent.domain.gate import Verdict
from optagent.domain.model import CHALLENGER, CHAMPION, ModelVersion
from optagent.errors import ModelNotFound, OptAgentError
from optagent.loop.train.prepare import PreparedRows, digest_of
from optagent.loop.train.search import BuiltModel
from optagent.ports import Observations, Registry
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.predictor import Predictor

_log = logging.getLogger(__name__)


def register(
    built: BuiltModel,
    prepared: PreparedRows,
    verdict: Verdict,
    metrics: Mapping[str, float],
    process_id: str,
    created_at: float,
    registry: Registry,
    observations: Observations | None = None,
) -> ModelVersion:
    """A new version, whole or not at all, with its alias set last; the holdout is kept as what it is watched by."""
    more = {"verdict": str(verdict)}
    version = register_version(built, prepared, metrics, process_id, created_at, registry, observations, more)
    alias = alias_earned(verdict, has_champion(version.model_id, registry))
    if alias is None:
        return version
    registry.set_alias(version.model_id, alias, version.version)
    return replace(version, aliases=(alias,))


def register_version(
    built: BuiltModel,
    prepared: PreparedRows,
    metrics: Mapping[str, float],
    process_id: str,
    created_at: float,
    registry: Registry,
    observations: Observations | None = None,
    more_tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """A new version without an alias; the holdout is kept as what it is watched by."""
    spec = prepared.spec
    with tempfile.TemporaryDirectory(prefix="optagent-bundle-") as scratch:
        folder = Path(scratch) / "bundle"
        facts = {
            "model_id": spec.model_id,
            "task": spec.task,
            "params": dict(built.params),
            "rounds": built.rounds,
            "created_at": created_at,
            "data": prepared.facts(),
        }
        digest = save_bundle(folder, built.model, built.bundled_as, prepared.schema, facts)
        tags = {
            **(more_tags or {}),
            "process_id": process_id,
            "family": built.family,
            "form": built.bundled_as,
            "rows": prepared.digest,
            "rounds": str(built.rounds),
            "params": json.dumps(dict(built.params)),
        }
        version = registry.register(spec.model_id, folder, metrics, tags)
        keep_reference(load_bundle(folder, digest), prepared, version, observations)
    return version


def keep_reference(
    predictor: Predictor, prepared: PreparedRows, version: ModelVersion, observations: Observations | None
) -> None:
    """Keeps the holdout, with what the version says of it; without it, the first analysis makes it anew."""
    if observations is None:
        return
    from optagent.loop.observe.reference import encode_reference, make_reference  # what it imports takes a second

    try:
        digest = digest_of(prepared.holdout)
        made = make_reference(prepared.holdout_rows, prepared.holdout_time, predictor, version.version, digest)
        observations.save_reference(version.model_id, version.version, encode_reference(made))
    except OptAgentError as error:
        _log.warning("the reference of %s version %s is not kept: %s", version.model_id, version.version, error)


def alias_earned(verdict: Verdict, champion_exists: bool) -> str | None:
    """A first model is champion unless it lost to its baseline; a later one must beat the champion to challenge it."""
    if champion_exists:
        return CHALLENGER if verdict is Verdict.PASS else None
    return None if verdict is Verdict.FAIL else CHAMPION


def has_champion(model_id: str, registry: Registry) -> bool:
    try:
        registry.version(model_id, CHAMPION)
    except ModelNotFound:
        return False
    return True
