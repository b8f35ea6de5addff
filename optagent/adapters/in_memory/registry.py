"""In-memory registry: model versions that last as long as the object, with copies of bundles in a temporary folder."""

import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from optagent.adapters.models.version_errors import no_version
from optagent.domain.model import ModelVersion
from optagent.errors import CorruptBundle, InvalidRequest
from optagent.ports import Clock
from optagent.training.manifest import bundle_digest, verify_bundle

_FORBIDDEN = frozenset("/:")


class InMemoryRegistry:
    """Versions count from 1 for each model, as in MLflow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._folder = tempfile.mkdtemp(prefix="optagent-registry-")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._versions: dict[str, list[ModelVersion]] = {}
        self._numbers: dict[str, int] = {}
        self._copies: dict[tuple[str, str], Path] = {}
        self._aliases: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def register(
        self, model_id: str, bundle: Path, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        verify_bundle(bundle)
        if not model_id or _FORBIDDEN & set(model_id):
            raise InvalidRequest(f"model_id {model_id!r}: a name without '/' and ':' is needed")
        with self._lock:
            versions = self._versions.setdefault(model_id, [])
            self._numbers[model_id] = self._numbers.get(model_id, 0) + 1
            version = str(self._numbers[model_id])
            copy = Path(tempfile.mkdtemp(dir=self._folder), "bundle")
            shutil.copytree(bundle, copy, symlinks=True)
            self._copies[model_id, version] = copy
            registered = ModelVersion(
                model_id, version, bundle_digest(copy), self._clock.now(), (), dict(metrics), dict(tags)
            )
            versions.append(registered)
            return registered

    def set_alias(self, model_id: str, alias: str, version: str) -> None:
        with self._lock:
            self._find_version(model_id, version)
            self._aliases.setdefault(model_id, {})[alias] = version

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        with self._lock:
            if alias_or_version.isdigit():
                return self._with_aliases(self._find_version(model_id, alias_or_version))
            number = self._aliases.get(model_id, {}).get(alias_or_version)
            if number is None:
                raise no_version(model_id, alias_or_version, "not in the registry")
            return self._with_aliases(self._find_version(model_id, number))

    def versions(self, model_id: str) -> list[ModelVersion]:
        with self._lock:
            return [self._with_aliases(version) for version in reversed(self._versions.get(model_id, []))]

    def delete_version(self, version: ModelVersion) -> None:
        with self._lock:
            versions = self._versions.get(version.model_id, [])
            self._versions[version.model_id] = [each for each in versions if each.version != version.version]
            copy = self._copies.pop((version.model_id, version.version), None)
        if copy is not None:
            shutil.rmtree(copy.parent, ignore_errors=True)

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        with self._lock:
            registered = self._find_version(version.model_id, version.version)
            copy = self._copies[version.model_id, version.version]
        if version.digest != registered.digest:
            raise CorruptBundle(f"{copy}: its digest is {registered.digest}, not {version.digest}")
        verify_bundle(copy, version.digest)
        target = into / f"{version.model_id}-{version.version}-{version.digest[:12]}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(copy, target)
        return target

    def _find_version(self, model_id: str, version: str) -> ModelVersion:
        for registered in self._versions.get(model_id, []):
            if registered.version == version:
                return registered
        raise no_version(model_id, version, "not in the registry")

    def _with_aliases(self, version: ModelVersion) -> ModelVersion:
        aliases = self._aliases.get(version.model_id, {})
        return replace(version, aliases=tuple(sorted(name for name, of in aliases.items() if of == version.version)))
