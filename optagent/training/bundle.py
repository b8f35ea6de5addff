"""Model bundle: a folder of data (native files, schema, manifest) that holds a model, written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from optagent.codec import decode, encode
from optagent.errors import Conflict, CorruptBundle, InvalidRequest
from optagent.training.encoding import Schema
from optagent.training.families.family import Family, FittedModel
from optagent.training.families.names import is_ours
from optagent.training.families.registry import family_named
from optagent.training.families.user_family import is_resolved
from optagent.training.manifest import (
    FORMAT,
    MANIFEST,
    MODEL,
    SCHEMA,
    Manifest,
    bundle_digest,
    file_entries,
    verify_bundle,
)
from optagent.training.predictor import Predictor

__all__ = ["bundle_digest", "load_bundle", "save_bundle", "sync_folder", "verify_bundle"]

_LIBRARIES = ("optagent", "catboost", "lightgbm", "numpy", "scikit-learn", "skops", "xgboost", "xgboost-cpu")
_FACTS = frozenset({"model_id", "task", "params", "rounds", "created_at"})
_OPTIONAL_FACTS = frozenset({"data", "trained_until"})


def save_bundle(folder: Path, model: FittedModel, family: str, schema: Schema, facts: Mapping[str, Any]) -> str:
    """Writes a new bundle and returns its digest.

    `facts` are `model_id`, `task`, `params`, `rounds`, `created_at` (POSIX seconds) and, if known, `data` (a mapping
    that describes the training rows, such as their digest and number) and `trained_until` (the time of the newest of
    them). The folder appears complete, in one rename.
    Raises Conflict where it exists already.
    """
    _check_facts(facts, schema)
    family_named(family)
    if folder.exists():
        raise Conflict(f"{folder}: exists already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        (staging / MODEL).mkdir()
        model.save(staging / MODEL)
        (staging / SCHEMA).write_bytes(encode(schema))
        manifest = _build_manifest(staging, family, schema, facts)
        (staging / MANIFEST).write_bytes(manifest.to_json())
        sync_folder(staging)
        staging.rename(folder)
        _sync_path(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return bundle_digest(folder)


def load_bundle(folder: Path, digest: str | None = None) -> Predictor:
    """The predictor of a verified bundle; raises CorruptBundle.

    Loading a bundle of a user's own family imports that family. Without a `digest` it is loaded only if this process
    has imported the family before.
    """
    manifest = verify_bundle(folder, digest)
    schema = _read_schema(folder)
    model = _bundle_family(folder, manifest, digest).load(folder / MODEL, manifest.task, len(manifest.classes))
    return Predictor(manifest, schema, model)


def load_bundle_schema(folder: Path, digest: str) -> Schema:
    """The schema of a verified bundle, whose model is not loaded; raises CorruptBundle."""
    verify_bundle(folder, digest)
    return _read_schema(folder)


def _read_schema(folder: Path) -> Schema:
    try:
        return decode(Schema, (folder / SCHEMA).read_bytes())
    except InvalidRequest as error:
        raise CorruptBundle(f"{folder / SCHEMA}: {error}") from None


def _bundle_family(folder: Path, manifest: Manifest, digest: str | None) -> Family:
    name = manifest.family
    if digest is None and not is_ours(name) and not is_resolved(name):
        raise CorruptBundle(f"{folder}: to load it imports {name}: give the digest by which the bundle is known")
    try:
        return family_named(name)
    except InvalidRequest as error:
        raise CorruptBundle(f"{folder / MANIFEST}: {error}") from None


def _build_manifest(staging: Path, family: str, schema: Schema, facts: Mapping[str, Any]) -> Manifest:
    fields = {
        **facts,
        "format": FORMAT,
        "family": family,
        "classes": schema.classes,
        "features": schema.names,
        "libraries": library_versions(),
        "files": file_entries(staging),
    }
    return decode(Manifest, fields)


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that write and read bundles, by distribution."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _check_facts(facts: Mapping[str, Any], schema: Schema) -> None:
    missing, unknown = sorted(_FACTS - set(facts)), sorted(set(facts) - _FACTS - _OPTIONAL_FACTS)
    if missing or unknown:
        raise InvalidRequest(f"bundle facts: missing {missing}, unknown {unknown}")
    if facts["task"] != schema.task:
        raise InvalidRequest(f"bundle facts: task {facts['task']}, the schema is for {schema.task}")


def sync_folder(folder: Path, parents: int = 0) -> None:
    """Brings a folder with all below it to the disk, and the names of so many of its `parents`.

    A file whose folder is not synced may have no name after a power cut, though its content is on the disk.
    """
    for path in (*folder.rglob("*"), folder, *folder.parents[:parents]):
        _sync_path(path)


def _sync_path(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and writes their entries with the files
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
