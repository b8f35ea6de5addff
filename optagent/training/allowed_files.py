"""Which files a bundle may hold: the native formats of the families, and never a pickle under any name."""

import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from optagent.errors import CorruptBundle

_SUFFIXES = frozenset({".json", ".skops", ".txt", ".ubj"})
_PICKLE_SUFFIXES = frozenset({".cloudpickle", ".dill", ".joblib", ".pck", ".pickle", ".pkl", ".pt", ".pth"})
_PICKLE_STARTS = frozenset(bytes((0x80, protocol)) for protocol in range(2, 6))


def refuse_pickle(path: Path) -> None:
    """Raises CorruptBundle for a file that is, or contains, a pickle, or is of a kind that no family writes."""
    if path.suffix.lower() not in _SUFFIXES:
        raise CorruptBundle(f"{path}: a bundle holds {', '.join(sorted(_SUFFIXES))} files only")
    with path.open("rb") as file:
        if _starts_as_pickle(file):
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


def _starts_as_pickle(file: IO[bytes]) -> bool:
    return file.read(2) in _PICKLE_STARTS
