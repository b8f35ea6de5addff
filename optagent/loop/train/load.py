"""Model loading: a registered version as a predictor, or its schema alone."""

from pathlib import Path
from tempfile import TemporaryDirectory

from optagent.domain.model import ModelVersion
from optagent.ports import Registry
from optagent.training.bundle import load_bundle, load_bundle_schema
from optagent.training.encoding import Schema
from optagent.training.predictor import Predictor


def load_version(version: ModelVersion, registry: Registry) -> Predictor:
    """The version's bundle, of the digest that was registered; raises CorruptBundle and Unavailable."""
    with TemporaryDirectory(prefix="optagent-version-") as scratch:
        return load_bundle(registry.fetch(version, Path(scratch)), version.digest)


def load_schema(version: ModelVersion, registry: Registry) -> Schema:
    """The schema of a version, without its model; raises CorruptBundle and Unavailable."""
    with TemporaryDirectory(prefix="optagent-schema-") as scratch:
        return load_bundle_schema(registry.fetch(version, Path(scratch)), version.digest)
