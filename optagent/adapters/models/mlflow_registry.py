"""MLflow registry: the `Registry` port on MLflow; each version is one bundle, which plain MLflow opens as well."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from optagent.adapters.models.mlflow_artifact import BUNDLE, artifact_digest, save_artifact
from optagent.adapters.models.mlflow_connection import MlflowConnection
from optagent.adapters.models.version_errors import no_version
from optagent.domain.model import ModelVersion
from optagent.errors import CorruptBundle, InvalidRequest, ModelNotFound, NotFound
from optagent.training.bundle import sync_folder
from optagent.training.manifest import bundle_digest, verify_bundle

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DIGEST, _ARTIFACT_DIGEST, _METRICS = "optagent.digest", "optagent.artifact_digest", "optagent.metrics"
_OURS = frozenset({_DIGEST, _ARTIFACT_DIGEST, _METRICS})
_FOLDER = "model"
_ARTIFACT_PARENTS = 3  # RUN/artifacts/model below the folder of all artifacts


class MlflowRegistry:
    """Registers under the model's id. It neither reads nor sets MLflow's global tracking URI."""

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        artifact_root: str | None = None,
        *,
        cache_folder: Path | None = None,
    ) -> None:
        self._server = MlflowConnection(tracking_uri, experiment, artifact_root, cache_folder)

    def register(
        self, model_id: str, bundle: Path, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> ModelVersion:
        """Writes the version's row last, when its files are complete: a kill before leaves only an unused run."""
        manifest = verify_bundle(bundle)
        if clash := sorted(_OURS & set(tags)):
            raise InvalidRequest(f"tags: {clash} are reserved")
        with tempfile.TemporaryDirectory(prefix="optagent-register-") as scratch, self._server.session() as client:
            model = Path(scratch, _FOLDER)
            artifact = save_artifact(model, bundle, manifest)
            ours = {
                _DIGEST: bundle_digest(model / BUNDLE),
                _ARTIFACT_DIGEST: artifact,
                _METRICS: json.dumps(dict(metrics)),
            }
            source, run_id = self._log(client, model_id, model, metrics, tags)
            _sync_local(source)
            self._ensure_name(client, model_id)
            row = self._create_version(client, model_id, source, run_id, {**tags, **ours})
            return _version_of(row, ())

    def set_alias(self, model_id: str, alias: str, version: str) -> None:
        with self._lookup(f"{model_id} version {version}") as client:
            client.set_registered_model_alias(model_id, alias, version)

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        row = self._row(model_id, alias_or_version)
        return _version_of(row, tuple(sorted(row.aliases)))

    def versions(self, model_id: str) -> list[ModelVersion]:
        try:
            with self._lookup(model_id) as client:
                aliases = client.get_registered_model(model_id).aliases
                rows = _all_rows(client, model_id)
        except ModelNotFound:
            return []
        rows.sort(key=lambda row: int(row.version), reverse=True)
        return [_version_of(row, _aliases_of(row.version, aliases)) for row in rows if _DIGEST in row.tags]

    def delete_version(self, version: ModelVersion) -> None:
        """Deletes the files first: a version whose files are gone is still listed, and deleted by the next call."""
        with suppress(ModelNotFound):
            row = self._row(version.model_id, version.version)
            with self._lookup(f"{version.model_id} version {version.version}") as client:
                uri = client.get_model_version_download_uri(version.model_id, version.version)
                _delete_files(uri, self._server.tracking_uri)
                if row.run_id:
                    client.delete_run(row.run_id)
                client.delete_model_version(version.model_id, version.version)

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        """Compares every file of the MLflow model with what was registered, including the loader.

        It uses a sound copy from an earlier fetch again.
        """
        target = into / f"{version.model_id}-{version.version}-{version.digest[:12]}"
        if _is_sound(target, version.digest):
            return target
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into) as scratch:
            bundle = self._download(version, Path(scratch))
            verify_bundle(bundle, version.digest)
            shutil.rmtree(target, ignore_errors=True)
            bundle.rename(target)
        return target

    def _download(self, version: ModelVersion, scratch: Path) -> Path:
        label = f"{version.model_id} version {version.version}"
        row = self._row(version.model_id, version.version)
        try:
            with self._server.session() as client:
                uri = client.get_model_version_download_uri(version.model_id, version.version)
                path = _download_files(uri, scratch, self._server.tracking_uri)
        except NotFound as error:
            raise CorruptBundle(f"{label}: its files are gone: {error}") from error
        model = Path(path)
        if artifact_digest(model) != row.tags.get(_ARTIFACT_DIGEST):
            verify_bundle(model / BUNDLE, version.digest)  # names the file, if it is one of the bundle's
            raise CorruptBundle(f"{label}: the files at {uri} are not those that were registered")
        return model / BUNDLE

    def _log(
        self, client: "MlflowClient", model_id: str, model: Path, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> tuple[str, str]:
        """Logs a finished run with the model; returns the location of its artifacts and the run's id."""
        run = client.create_run(self._server.experiment_id(), run_name=f"{model_id} registration", tags=dict(tags))
        run_id = run.info.run_id
        client.log_artifacts(run_id, str(model), _FOLDER)
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
        client.set_terminated(run_id)
        return f"{run.info.artifact_uri.rstrip('/')}/{_FOLDER}", run_id

    def _ensure_name(self, client: "MlflowClient", model_id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(model_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create_version(
        self, client: "MlflowClient", model_id: str, source: str, run_id: str, tags: Mapping[str, str]
    ) -> Any:
        return client.create_model_version(model_id, source, run_id=run_id, tags=dict(tags))

    def _row(self, model_id: str, alias_or_version: str) -> Any:
        is_number = alias_or_version.isdigit()
        label = f"{model_id} {'version' if is_number else 'alias'} {alias_or_version}"
        try:
            with self._lookup(label) as client:
                lookup = client.get_model_version if is_number else client.get_model_version_by_alias
                row = lookup(model_id, alias_or_version)
        except ModelNotFound as error:
            raise no_version(model_id, alias_or_version, f"not in MLflow at {self._server.address}") from error
        if _DIGEST not in row.tags:
            raise ModelNotFound(f"{label}: not registered by optagent, its digest is unknown")
        return row

    @contextmanager
    def _lookup(self, label: str) -> Iterator["MlflowClient"]:
        """A session that raises ModelNotFound for a model that MLflow does not have or whose name it refuses.

        A database that does not exist has none: to know that needs no MLflow, which takes seconds to load.
        """
        if self._server.is_empty:
            raise ModelNotFound(f"{label}: not in MLflow at {self._server.address}")
        try:
            with self._server.session() as client:
                yield client
        except (NotFound, InvalidRequest) as error:
            raise ModelNotFound(f"{label}: not in MLflow at {self._server.address}") from error


def _sync_local(source: str) -> None:
    """Brings files that MLflow has copied into a local folder to the disk, before a version refers to them."""
    parts = urlsplit(source)
    if parts.scheme == "file":
        sync_folder(Path(url2pathname(parts.path)), _ARTIFACT_PARENTS)


def _download_files(uri: str, scratch: Path, tracking_uri: str) -> str:
    from mlflow.artifacts import download_artifacts

    try:
        return download_artifacts(
            artifact_uri=uri, dst_path=str(scratch), tracking_uri=tracking_uri, registry_uri=tracking_uri
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(str(error)) from error


def _delete_files(uri: str, tracking_uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(uri, tracking_uri, tracking_uri)
    repository.delete_artifacts()


def _all_rows(client: "MlflowClient", model_id: str) -> list[Any]:
    rows: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name='{model_id}'", max_results=1000, page_token=token)
        rows.extend(page)
        token = page.token
        if not token:
            return rows


def _version_of(row: Any, aliases: tuple[str, ...]) -> ModelVersion:
    return ModelVersion(
        model_id=row.name,
        version=str(row.version),
        digest=row.tags[_DIGEST],
        created_at=row.creation_timestamp / 1000,
        aliases=aliases,
        metrics=json.loads(row.tags.get(_METRICS, "{}")),
        tags={name: value for name, value in row.tags.items() if name not in _OURS},
    )


def _aliases_of(version: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, alias_version in aliases.items() if str(alias_version) == str(version)))


def _is_sound(folder: Path, digest: str) -> bool:
    try:
        verify_bundle(folder, digest)
    except CorruptBundle:
        return False
    return True
