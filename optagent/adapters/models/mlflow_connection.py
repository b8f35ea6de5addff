"""MLflow connection: one tracking server and experiment, opened late, with MLflow's errors as ours."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from optagent.adapters.models.mlflow_client import quiet_mlflow
from optagent.adapters.models.mlflow_database import prepare_database
from optagent.adapters.models.mlflow_health import check_server, hide_credentials, sqlite_path
from optagent.errors import InvalidRequest, NotFound, Unavailable
from optagent.import_lock import IMPORTS

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "RESOURCE_NOT_FOUND", "NOT_FOUND"})
_REFUSED = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST"})


class MlflowConnection:
    """Opens a client when it is first needed. `artifact_root` is the place of the files of a new experiment.

    Without one, a server decides, and for a SQLite file it is the folder `artifacts` beside that. `cache_folder` holds
    the template of new SQLite databases.
    """

    def __init__(
        self, tracking_uri: str, experiment: str, artifact_root: str | None = None, cache_folder: Path | None = None
    ) -> None:
        if "://" not in tracking_uri and not tracking_uri.startswith("databricks"):
            raise InvalidRequest(
                f"tracking_uri {tracking_uri!r}: give http(s)://host:port, sqlite:///file.db or the URL of a database"
            )
        if tracking_uri.startswith("file:"):
            raise InvalidRequest(
                f"tracking_uri {tracking_uri!r}: MLflow no longer keeps runs in folders; use sqlite:///"
            )
        path = sqlite_path(tracking_uri)
        if artifact_root is None and path is not None:
            artifact_root = (path.absolute().parent / "artifacts").as_uri()
        elif artifact_root is not None and "://" not in artifact_root:
            artifact_root = Path(artifact_root).absolute().as_uri()
        self.tracking_uri = f"sqlite:///{path.absolute()}" if path is not None else tracking_uri
        self.experiment = experiment
        self._artifact_root = artifact_root
        self._cache_folder = cache_folder or user_cache_path("optagent") / "mlflow"
        self._path = path
        self._client: MlflowClient | None = None
        self._experiment_id: str | None = None
        self._lock = threading.Lock()
        self._answered_at = float("-inf")

    @property
    def address(self) -> str:
        """The tracking URI without credentials, for messages."""
        return hide_credentials(self.tracking_uri)

    @property
    def is_empty(self) -> bool:
        """True where nothing was stored yet: the database is a file that nobody has made."""
        return self._path is not None and self._client is None and not self._path.exists()

    def check(self) -> None:
        """Raises Unavailable, with the address, within 5 s."""
        check_server(self.tracking_uri)
        self._answered_at = time.monotonic()

    @contextmanager
    def session(self, trust_s: float = 0.0) -> Iterator["MlflowClient"]:
        """A client for a few calls; checks first that the server answers, unless it did within the last `trust_s`.

        Raises NotFound, InvalidRequest or Unavailable in place of MLflow's errors.
        """
        if time.monotonic() - self._answered_at >= trust_s:
            self.check()
        with quiet_mlflow():
            from mlflow.exceptions import MlflowException

            try:
                yield self._client_in_turn()
            except (MlflowException, OSError) as error:
                raise self._translate_error(error) from error

    def experiment_id(self) -> str:
        """The experiment's id; makes it or restores it from MLflow's bin if needed. To be called in a session."""
        with self._lock:
            if self._experiment_id is None:
                self._experiment_id = self._find_or_create(self._open_client())
            return self._experiment_id

    def _client_in_turn(self) -> "MlflowClient":
        with self._lock:
            return self._open_client()

    def _open_client(self) -> "MlflowClient":
        if self._client is None:
            with IMPORTS:  # a client loads SQLAlchemy when it is made
                self._client = self._make_client()
        return self._client

    def _make_client(self) -> "MlflowClient":
        if self._path is not None:
            assert self._artifact_root is not None
            prepare_database(self._path, self._artifact_root, self._cache_folder)
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)

    def _find_or_create(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            try:
                return str(client.create_experiment(self.experiment, artifact_location=self._artifact_root))
            except MlflowException as error:
                experiment = client.get_experiment_by_name(self.experiment)
                if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _translate_error(self, error: Exception) -> Exception:
        code, message = getattr(error, "error_code", ""), f"MLflow at {self.address}: {error}"
        message = message.replace(self.tracking_uri.rstrip("/"), self.address.rstrip("/"))
        if code in _MISSING:
            return NotFound(message)
        if code in _REFUSED:
            return InvalidRequest(message)
        return Unavailable(message)
