"""Bundle manifest: the description and the checksums of a bundle, and the check that its folder holds exactly that."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from optagent.codec import decode, plain
from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidRequest
from optagent.training.allowed_files import refuse_pickle
from optagent.training.families.registry import check_name
from optagent.training.target import Label

FORMAT = 1
MANIFEST = "manifest.json"
SCHEMA = "schema.json"
MODEL = "model"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle, by which a change of it is seen."""

    sha256: str
    """The digest of its bytes, in hexadecimal."""
    size: int
    """Its bytes."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of `manifest.json`; its own SHA-256 is the digest of the bundle."""

    format: int
    """The version of the bundle's layout; a number that is not known is refused."""
    model_id: str
    """The model of which the bundle is a version."""
    task: Task
    """The task of the model."""
    family: str
    """The family that trained it, and that reads its files."""
    params: Mapping[str, Any]
    """The parameters that it was trained with."""
    rounds: int
    """The rounds of boosting, the trees or the epochs that it was trained for."""
    classes: tuple[Label, ...]
    """The labels in the order of its probabilities; empty for a regression."""
    features: tuple[str, ...]
    """The columns that it reads, in order."""
    created_at: float
    """The time at which it was written."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the training rows, such as the `digest` and the number of `rows`."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """The versions of the libraries that wrote it, by name."""
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    """Every other file, by its path below the folder."""
    trained_until: float | None = None
    """The time of the newest training row in the unit of the rows' times (POSIX seconds for dates); unset where
    rows have no order, or the bundle does not tell."""

    def to_json(self) -> bytes:
        return json.dumps(plain(self), indent=2, sort_keys=True, allow_nan=False).encode() + b"\n"


def bundle_digest(folder: Path) -> str:
    """SHA-256 of the bundle's manifest."""
    return hashlib.sha256(_manifest_bytes(folder)).hexdigest()


def verify_bundle(folder: Path, digest: str | None = None) -> Manifest:
    """The manifest of a sound bundle; CorruptBundle names the file that differs from the manifest.

    With a `digest`, the manifest itself must have that digest.
    """
    data = _manifest_bytes(folder)
    actual = hashlib.sha256(data).hexdigest()
    if digest is not None and actual != digest:
        raise CorruptBundle(f"{folder / MANIFEST}: its SHA-256 is {actual}, {digest} was registered")
    manifest = _parse_manifest(folder, data)
    _check_files(folder, manifest)
    try:
        check_name(manifest.family)
    except InvalidRequest as error:
        raise CorruptBundle(f"{folder / MANIFEST}: {error}") from None
    return manifest


def file_entries(folder: Path) -> dict[str, FileEntry]:
    """Every regular file below `folder` except the manifest; raises CorruptBundle for links and other kinds of file."""
    entries = {}
    for path in _regular_files(folder):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST:
            refuse_pickle(path)
            entries[name] = FileEntry(file_digest(path), path.stat().st_size)
    return entries


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise CorruptBundle(f"{folder}: no such folder")
    if path.is_symlink() or not path.is_file():
        raise CorruptBundle(f"{path}: missing or not a regular file")
    return path.read_bytes()


def _parse_manifest(folder: Path, data: bytes) -> Manifest:
    path = folder / MANIFEST
    try:
        content = json.loads(data)
    except ValueError as error:
        raise CorruptBundle(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        version = content.get("format") if isinstance(content, dict) else None
        raise CorruptBundle(f"{path}: format {version!r} is unknown, this version reads format {FORMAT}")
    try:
        return decode(Manifest, content)
    except InvalidRequest as error:
        raise CorruptBundle(f"{path}: {error}") from None


def _check_files(folder: Path, manifest: Manifest) -> None:
    present = {path.relative_to(folder).as_posix(): path for path in _regular_files(folder)}
    present.pop(MANIFEST, None)
    for name in manifest.files:
        if not _is_plain(name):
            raise CorruptBundle(f"{folder / MANIFEST}: {name!r} is not a plain path below the bundle")
    for name in (SCHEMA, *manifest.files):
        if name not in present or name not in manifest.files:
            raise CorruptBundle(f"{folder / name}: missing")
    for name, path in present.items():
        if name not in manifest.files:
            raise CorruptBundle(f"{path}: not listed in the manifest")
        entry = manifest.files[name]
        if path.stat().st_size != entry.size or file_digest(path) != entry.sha256:
            raise CorruptBundle(f"{path}: altered: its size or SHA-256 is not the manifest's")
        refuse_pickle(path)


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    escapes = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    return not escapes and path.as_posix() == name and name not in ("", ".", MANIFEST)


def _regular_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise CorruptBundle(f"{path}: a link or special file has no place in a bundle")
            yield path
