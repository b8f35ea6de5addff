"""Durable files: small files that are whole or absent, and on disk once they exist."""

import os
import secrets
from pathlib import Path


def create_file(path: Path, data: bytes, mode: int = 0o666) -> bool:
    """Creates the file, whole and on disk; False where one of that name exists or the scratch file was swept away."""
    make_folder(path.parent)
    scratch = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        _write(scratch, data, mode)
        os.link(scratch, path)
    except (FileExistsError, FileNotFoundError):
        return False
    finally:
        scratch.unlink(missing_ok=True)
    sync(path.parent)
    return True


def replace_file(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replaces the content of the file by `data`, or leaves the file as it was."""
    make_folder(path.parent)
    scratch = path.with_name(f".{secrets.token_hex(8)}.new")
    try:
        _write(scratch, data, mode)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    sync(path.parent)


def _write(path: Path, data: bytes, mode: int = 0o666) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Makes the folder and its parents, on disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
