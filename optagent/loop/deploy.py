"""Deploy: put a judged model into the registry, and give it the alias that its verdict earns."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from optagent.domain.version import CHALLENGER, CHAMPION, ModelVersion
from optagent.errors import ModelNotFound
from optagent.loop.optimize import Built
from optagent.loop.prepare import Prepared
from optagent.loop.validate import Verdict
from optagent.ports import Registry
from optagent.training.bundle import save_bundle


def register(
    built: Built,
    prepared: Prepared,
    verdict: Verdict,
    metrics: Mapping[str, float],
    process_id: str,
    created_at: float,
    registry: Registry,
) -> ModelVersion:
    """A new version, whole or not at all, with its alias set last."""
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
        save_bundle(folder, built.model, built.family, prepared.schema, facts)
        tags = {
            "verdict": str(verdict),
            "process_id": process_id,
            "family": built.family,
            "params": json.dumps(dict(built.params)),
        }
        version = registry.register(spec.model_id, folder, metrics, tags)
    alias = alias_earned(verdict, has_champion(spec.model_id, registry))
    if alias is None:
        return version
    registry.set_alias(spec.model_id, alias, version.version)
    return replace(version, aliases=(alias,))


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
