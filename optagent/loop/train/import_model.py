"""Model import: a model that was trained elsewhere becomes a version here, if it predicts the same as it did there."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion
from optagent.loop.champion import champion_of
from optagent.loop.context import Ports
from optagent.loop.train.prepare import prepare
from optagent.loop.train.register import keep_reference
from optagent.ports import Importer
from optagent.training.bundle import load_bundle, save_bundle
from optagent.training.families.registry import family_named
from optagent.training.imported import check_parity
from optagent.training.metrics import metric_named

_COMPARED_ROWS = 50_000


def import_model(spec: ModelSpec, uri: str, ports: Ports, trust_pickle: bool = False) -> ModelVersion:
    """Converts, compares on holdout rows, registers; the first version of a model becomes its champion.

    Raises InvalidRequest for a model that cannot be imported, and InvalidData where its columns, classes or predictions
    do not fit the rows of `spec`.
    """
    importer: Importer = ports.require("importer")
    prepared = prepare(spec, ports.datasets)
    metric = metric_named(spec.metric, spec.task)
    rows = prepared.holdout_rows.slice(0, _COMPARED_ROWS)
    with tempfile.TemporaryDirectory(prefix="optagent-import-") as scratch:
        converted = importer.convert(uri, spec, prepared.schema, rows, Path(scratch), trust_pickle)
        bundle = Path(scratch) / "bundle"
        facts = {
            "model_id": spec.model_id,
            "task": spec.task,
            "params": dict(converted.params),
            "rounds": converted.rounds,
            "created_at": ports.clock.now(),
            "data": {**converted.source, "imported_from": uri},
        }
        digest = save_bundle(bundle, converted.model, converted.family, converted.schema, facts)
        predictor = load_bundle(bundle, digest)
        parity = check_parity(predictor.probabilities(rows), converted)
        score = metric.score(prepared.holdout.y, predictor.probabilities(prepared.holdout_rows))
        metrics = {f"holdout_{metric.name}": float(score), **parity}
        tags = {"family": converted.family, "imported_from": uri, "flavor": str(converted.source.get("flavor", ""))}
        if converted.params:
            # A search starts from these.
            defaults = family_named(converted.family).defaults(spec.task)
            tags["params"] = json.dumps({**defaults, **converted.params})
        version = ports.registry.register(spec.model_id, bundle, metrics, tags)
        keep_reference(predictor, prepared, version, ports.observations)
    if champion_of(spec.model_id, ports.registry) is not None:
        return version
    ports.registry.set_alias(spec.model_id, CHAMPION, version.version)
    return replace(version, aliases=(CHAMPION,))
