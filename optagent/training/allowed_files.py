"""Allowed files of a bundle: data formats only, ours and those that a user's own family may need, never a pickle.

A pickle is recognised by its first bytes or, in the protocols that have no such bytes, by parsing as one from end to
end.
"""

import pickletools
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from optagent.errors import CorruptBundle

_OURS = frozenset({".json", ".skops", ".txt", ".ubj"})
_SUFFIXES = _OURS | {".cbm", ".csv", ".npy", ".onnx", ".parquet", ".safetensors"}
_PICKLE_SUFFIXES = frozenset({".cloudpickle", ".dill", ".joblib", ".pck", ".pickle", ".pkl", ".pt", ".pth"})
_PICKLE_STARTS = frozenset(bytes((0x80, protocol)) for protocol in range(2, 6))


def refuse_pickle(path: Path) -> None:
    """Raises CorruptBundle for a file that is a pickle, contains one, or is of a kind that no family writes."""
    if path.suffix.lower() not in _SUFFIXES:
        raise CorruptBundle(f"{path}: a bundle holds {', '.join(sorted(_SUFFIXES))} files only")
    with path.open("rb") as file:
        if _starts_as_pickle(file):
            raise CorruptBundle(f"{path}: this is a pickle, which is never loaded")
        if path.suffix.lower() == ".npy":
            _refuse_objects(file, path)
        elif path.suffix.lower() not in _OURS and _is_old_pickle(file):
            raise CorruptBundle(f"{path}: this is a pickle, which is never loaded")
    if zipfile.is_zipfile(path):
        _refuse_pickled_members(path)


def _refuse_pickled_members(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    pickled = _starts_as_pickle(member)
                if pickled or PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES:
                    raise CorruptBundle(f"{path}: its member {name} is a pickle, which is never loaded")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise CorruptBundle(f"{path}: not a readable archive: {error}") from None


def _refuse_objects(file: IO[bytes], path: Path) -> None:
    """An array of objects is a pickle behind a header."""
    file.seek(0)
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        dtype = read_header(file)[2]
    except (ValueError, EOFError) as error:
        raise CorruptBundle(f"{path}: not an array: {error}") from None
    if dtype.hasobject:
        raise CorruptBundle(f"{path}: an array of Python objects holds a pickle, which is never loaded")


def _is_old_pickle(file: IO[bytes]) -> bool:
    """True for a file that parses as a pickle to its last byte: protocols 0 and 1 have no first bytes of their own."""
    file.seek(0)
    try:
        for _ in pickletools.genops(file):
            pass
    except Exception:  # whatever it is, it is no pickle
        return False
    return not file.read().strip()


def _starts_as_pickle(file: IO[bytes]) -> bool:
    return file.read(2) in _PICKLE_STARTS
