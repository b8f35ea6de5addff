"""Bundle cache: bundles fetched from one registry, each in a folder named by its digest and checked against it.

The digest comes from the routing table or the registry, never from the folder itself: what lies in the cache is not
trusted. The folder is closed to other users.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

from filelock import FileLock

from optagent.adapters.private_folder import make_private_folder
from optagent.errors import CorruptBundle, Unavailable
from optagent.training.manifest import verify_bundle

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TABLES = "tables.json"  # the digests that routing tables name, as the latest gateway of this machine knows them
_SPARE = 4  # bundles that no table names, the last used ones: candidates, and versions that may come back
_UNUSED_S = 3600.0  # a bundle that was used so recently may be about to be named
_SCRATCH = ".new-"
_ABANDONED_S = 24 * 3600.0  # a fetch that was killed left its scratch folder

_log = logging.getLogger(__name__)


class BundleCache:
    """The cache in one folder, which several processes of a machine may use at once. Blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """The place of the bundle, which need not be there; raises CorruptBundle for what cannot be a digest."""
        if not _DIGEST.fullmatch(digest):
            raise CorruptBundle(f"{digest[:100]!r} is no digest of a bundle: it has 64 hexadecimal digits")
        return self._folder / digest

    def has(self, digest: str) -> bool:
        """True where there is a folder of that digest; its content is not checked. It counts as used now."""
        with contextlib.suppress(OSError):
            os.utime(self.path(digest))
            return True
        return False

    def fetch(self, digest: str, download: Callable[[Path], Path]) -> Path:
        """A sound bundle of that digest: the cached one, or one that `download` brings into the folder given to it.

        An altered copy is replaced. Raises CorruptBundle where the download is not the bundle of that digest.
        """
        target = self.path(digest)
        self._make_folder()
        with FileLock(self._lock(digest)):
            if _is_sound(target, digest):
                os.utime(target)
                return target
            with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._folder) as scratch:
                bundle = download(Path(scratch))
                verify_bundle(bundle, digest)
                _remove(target)
                bundle.rename(target)
                os.utime(target)
        return target

    def keep(self, digests: Collection[str]) -> None:
        """Notes the digests that routing tables name, and drops what is not needed any more; raises Unavailable."""
        self._make_folder()
        try:
            with tempfile.NamedTemporaryFile("w", prefix=_SCRATCH, dir=self._folder, delete=False) as file:
                json.dump(sorted(digests), file)
            Path(file.name).replace(self._folder / _TABLES)
        except OSError as error:
            raise Unavailable(f"the cache of bundles {self._folder} cannot be written: {error.strerror}") from None
        self.prune()

    def prune(self) -> None:
        """Drops bundles that no table names, but the last used ones, and what killed fetches have left."""
        ages = self._ages()
        named = self._named_digests()
        spare = sorted((name for name in ages if _DIGEST.fullmatch(name) and name not in named), key=ages.__getitem__)
        for name in spare[_SPARE:]:
            if ages[name] > _UNUSED_S:
                _remove(self._folder / name)
                self._lock(name).unlink(missing_ok=True)
        for name, age in ages.items():
            if name.startswith(_SCRATCH) and age > _ABANDONED_S:
                _remove(self._folder / name)

    def _ages(self) -> dict[str, float]:
        """Seconds since the last use of what lies in the cache, by name."""
        now, ages = time.time(), {}
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process was sooner
                ages[path.name] = now - path.lstat().st_mtime
        return ages

    def _named_digests(self) -> set[str]:
        try:
            return {str(digest) for digest in json.loads((self._folder / _TABLES).read_bytes())}
        except (OSError, ValueError, TypeError):
            return set()

    def _make_folder(self) -> None:
        try:
            make_private_folder(self._folder)
        except OSError as error:
            raise Unavailable(f"the cache of bundles {self._folder} cannot be made: {error.strerror}") from None

    def _lock(self, digest: str) -> Path:
        return self._folder / f".{digest}.lock"


def _is_sound(folder: Path, digest: str) -> bool:
    if not folder.is_dir() and not folder.is_symlink():
        return False
    try:
        if folder.is_symlink():
            raise CorruptBundle(f"{folder}: a link")
        verify_bundle(folder, digest)
    except CorruptBundle as error:
        _log.warning("a cached bundle is refused and fetched again: %s", error)
        return False
    return True


def _remove(path: Path) -> None:
    """Removes a folder, or a link or file in its place."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
