"""MLflow client settings: a late import, no telemetry, no log lines of its own, and no retries for minutes."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from optagent.import_lock import IMPORTS

_DEFAULTS = {
    # Telemetry, and the search for a uv project in the working directory, whose files MLflow would copy into models.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own are 120 s and 7 retries with waits that double: an outage would hold a caller for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
_LOGGERS = ("mlflow", "alembic")
_lock = threading.Lock()
_depth = 0
_levels: dict[str, int] = {}


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """A context in which MLflow logs only errors; variables that the user has set stay as they are.

    The first call imports MLflow (3 s). Re-entrant, and safe between threads: the last to leave restores the levels.
    """
    global _depth
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    with IMPORTS:
        import mlflow  # noqa: F401  (its import sets the levels that are changed here)

    with _lock:
        _depth += 1
        if _depth == 1:
            for name in _LOGGERS:
                _levels[name] = logging.getLogger(name).level
                logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                for name, level in _levels.items():
                    logging.getLogger(name).setLevel(level)
