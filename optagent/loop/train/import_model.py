"""Importing: a model that was trained elsewhere becomes a version of ours, if it predicts as it did there."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion
from optagent.errors import InvalidRequest
from optagent.loop.context import Ports
from optagent.loop.train.prepare import prepare
from optagent.loop.train.register import has_champion, keep_reference
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.families.registry import family_named
from optagent.training.imported import check_parity
from optagent.training.metrics import metric_named

_COMPARED_ROWS = 50_000


def import_model(spec: ModelSpec, uri: str, outside: Ports, trust_pickle: bool = False) -> ModelVersion:
    """Converts, compares on holdout rows, registers; the first version of a model becomes its champion.

    Raises InvalidRequest for what cannot be imported, InvalidData where its columns, classes or predictions are not
    those that the model's rows ask for.
    """
    if outside.importer is None:
        raise InvalidRequest("this agent has no importer")
    prepared = prepare(spec, outside.datasets)
    metric = metric_named(spec.metric, spec.task)
    rows = prepared.holdout_rows.slice(0, _COMPARED_ROWS)
    with tempfile.TemporaryDirectory(prefix="optagent-import-") as scratch:
        imported = outside.importer.convert(uri, spec, prepared.schema, rows, Path(scratch), trust_pickle)
        bundle = Path(scratch) / "bundle"
        facts = {
            "model_id": spec.model_id,
            "task": spec.task,
            "params": dict(imported.params),
            "rounds": imported.rounds,
            "created_at": outside.clock.now(),
            "data": {**imported.source, "imported_from": uri},
        }
        digest = save_bundle(bundle, imported.model, imported.family, imported.schema, facts)
        predictor = load_bundle(bundle, digest)
        parity = check_parity(predictor.probabilities(rows), imported)
        score = metric.score(prepared.holdout.y, predictor.probabilities(prepared.holdout_rows))
        metrics = {f"holdout_{metric.name}": float(score), **parity}
        tags = {"family": imported.family, "imported_from": uri, "flavor": str(imported.source.get("flavor", ""))}
        if imported.params:
            # What a search starts from.
            defaults = family_named(imported.family).defaults(spec.task)
            tags["params"] = json.dumps({**defaults, **imported.params})
        version = outside.registry.register(spec.model_id, bundle, metrics, tags)
        keep_reference(predictor, prepared, version, outside.observations)
    if has_champion(spec.model_id, outside.registry):
        return version
    outside.registry.set_alias(spec.model_id, CHAMPION, version.version)
    return replace(version, aliases=(CHAMPION,))
