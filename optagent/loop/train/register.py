"""Model registration: a built model becomes a version, with the alias that its verdict earns."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from optagent.domain.ensemble_result import EnsembleResult
from optagent.domain.feature_result import FeatureResult
from optagent.domain.gate import Verdict
from optagent.domain.model import CHALLENGER, CHAMPION, MEASURED_AS, ModelVersion
from optagent.domain.study import TuningResult
from optagent.errors import OptAgentError
from optagent.loop.champion import champion_of
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train.build import BuiltModel
from optagent.loop.train.holdout import Comparison
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows, digest_of
from optagent.ports import Observations, Registry
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.predictor import Predictor
from optagent.training.version_warnings import BASELINE_TAG, version_warnings

_log = logging.getLogger(__name__)

Result = TypeVar("Result", TuningResult, EnsembleResult, FeatureResult)


async def register_result(
    result: Result,
    built: BuiltModel,
    comparison: Comparison,
    metrics: Mapping[str, float],
    prepared: PreparedRows,
    ports: Ports,
    run: Run,
) -> Result:
    """The end of a search: registers the built model, and answers the result with the comparison and the version.

    `result` is a dataclass with the fields of `Comparison.answer`, `duration_s` and `notes`, which say where a version
    that is in use from now on is worse than what it was compared with.
    """
    await run.stage("register")
    process_id = run.process.process_id
    version = await asyncio.to_thread(register, built, prepared, comparison, metrics, process_id, ports)
    duration_s = ports.clock.now() - run.process.created_at
    notes = result.notes + _warning_notes(version)
    return replace(result, **comparison.answer(version), duration_s=duration_s, notes=notes)


def _warning_notes(version: ModelVersion) -> tuple[str, ...]:
    return tuple(f"version {version.version}: {warning}" for warning in version_warnings(version))


def register(
    built: BuiltModel,
    prepared: PreparedRows,
    comparison: Comparison,
    metrics: Mapping[str, float],
    process_id: str,
    ports: Ports,
) -> ModelVersion:
    """A new version, whole or not at all, with its alias set last; the holdout is kept as its monitoring reference."""
    tags = {"verdict": str(comparison.verdict), BASELINE_TAG: comparison.baseline_name}
    version = register_version(built, prepared, process_id, ports, metrics, tags)
    alias = alias_earned(comparison.verdict, champion_of(version.model_id, ports.registry) is not None)
    if alias is None:
        return version
    ports.registry.set_alias(version.model_id, alias, version.version)
    return replace(version, aliases=(alias,))


def register_version(
    built: BuiltModel,
    prepared: PreparedRows,
    process_id: str,
    ports: Ports,
    metrics: Mapping[str, float] = MappingProxyType({}),
    more_tags: Mapping[str, str] = MappingProxyType({}),
) -> ModelVersion:
    """A new version without an alias; the holdout is kept as its monitoring reference."""
    spec = prepared.spec
    with tempfile.TemporaryDirectory(prefix="optagent-bundle-") as scratch:
        folder = Path(scratch) / "bundle"
        facts = {
            "model_id": spec.model_id,
            "task": spec.task,
            "params": dict(built.params),
            "rounds": built.rounds,
            "created_at": ports.clock.now(),
            "data": prepared.facts(),
            "trained_until": prepared.trained_until,
        }
        digest = save_bundle(folder, built.model, built.bundled_as, prepared.schema, facts)
        tags = {
            **more_tags,
            "process_id": process_id,
            "family": built.family,
            "form": built.bundled_as,
            "rows": prepared.digest,
            "rounds": str(built.rounds),
            "params": json.dumps(dict(built.params)),
            **_history_tags(prepared),
        }
        version = ports.registry.register(spec.model_id, folder, metrics, tags)
        keep_reference(load_bundle(folder, digest), prepared, version, ports.observations, ports.registry)
    return version


async def register_once(built: BuiltModel, prepared: PreparedRows, process_id: str, ports: Ports) -> ModelVersion:
    """The model as a version without an alias: the one that an earlier runner of the process registered, if it did."""
    key = (process_id, prepared.digest, prepared.measured_as)
    for version in await asyncio.to_thread(ports.registry.versions, prepared.spec.model_id):
        tags = version.tags
        if (tags.get("process_id"), tags.get("rows"), tags.get(MEASURED_AS, "")) == key:
            return version
    return await asyncio.to_thread(register_version, built, prepared, process_id, ports)


def _history_tags(prepared: PreparedRows) -> dict[str, str]:
    """The time of the newest training row, where rows have one, and the version by which a refit was judged."""
    tags = {} if prepared.trained_until is None else {"trained_until": repr(prepared.trained_until)}
    return {**tags, MEASURED_AS: prepared.measured_as} if prepared.measured_as else tags


def keep_reference(
    predictor: Predictor,
    prepared: PreparedRows,
    version: ModelVersion,
    observations: Observations | None,
    registry: Registry | None = None,
) -> None:
    """Stores the holdout with the version's predictions; where that fails, the first analysis makes it anew.

    A refit has learned the holdout: the predictions are those of the version by which it was measured, of `registry`.
    """
    if observations is None:
        return
    # What these import takes a second.
    from optagent.loop.observe.measured_reference import make_measured_reference
    from optagent.loop.observe.reference import encode_reference, make_reference

    try:
        rows, time, digest = prepared.holdout_rows, prepared.holdout_time, digest_of(prepared.holdout)
        if prepared.measured_as and registry is not None:
            measured = load_version(registry.version(version.model_id, prepared.measured_as), registry)
            reference = make_measured_reference(rows, time, predictor, measured, version.version)
        else:
            reference = make_reference(rows, time, predictor, version.version, digest)
        observations.save_reference(version.model_id, version.version, encode_reference(reference))
    except OptAgentError as error:
        _log.warning("the reference of %s version %s is not kept: %s", version.model_id, version.version, error)


def alias_earned(verdict: Verdict, champion_exists: bool) -> str | None:
    """A first model becomes champion unless it lost to its baseline; a later one has to beat the champion."""
    if champion_exists:
        return CHALLENGER if verdict is Verdict.PASS else None
    return None if verdict is Verdict.FAIL else CHAMPION
