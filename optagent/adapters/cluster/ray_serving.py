"""Ray Serve deployment: deploys the application to a cluster and takes it off again."""

import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optagent.adapters.cluster.serve_environment import SERVE, use_token
from optagent.errors import OptAgentError, Unavailable

_NAMESPACE = "optagent"
_JSON = {"encoding": "JSON", "enable_access_log": False}


class RayServing:
    """An application, by the import path of its builder, on the cluster at `address`. Blocks.

    `own` says that we started the cluster on this machine, with its environment set up; for any other cluster the
    environment of Serve's processes comes from here.
    """

    def __init__(self, address: str, application: str, name: str, *, own: bool) -> None:
        self._address = address
        self._application = application
        self._name = name
        self._own = own

    def start(self, host: str, port: int, settings: Any) -> bool:
        """Builds the application with `settings` and returns once it runs; False without effect if it runs already.

        Raises Unavailable with the reason why it does not start.
        """
        with self._connect() as serve:
            status = serve.status().applications.get(self._name)
            if status is not None and status.status == "RUNNING":
                return False
            serve.start(
                proxy_location="HeadOnly" if self._own else "EveryNode",
                http_options={"host": host, "port": port},
                logging_config=_JSON,
                controller_options=None if self._own else {"runtime_env": {"env_vars": _environment()}},
            )
            serve.run(
                _import_attribute(self._application)(settings), name=self._name, route_prefix="/", logging_config=_JSON
            )
            return True

    def stop(self) -> None:
        """Takes all of Serve off the cluster, once the requests under way have been answered."""
        with self._connect() as serve:
            serve.shutdown()

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        for name, value in SERVE.items():
            os.environ.setdefault(name, value)
        if self._own:
            use_token()
        import ray
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            ray.init(
                address=self._address,
                namespace=_NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
            yield serve
        except OptAgentError:
            raise
        except Exception as error:
            raise Unavailable(f"Ray Serve at {self._address}: {error}") from error
        finally:
            ray.shutdown()


def _environment() -> dict[str, str]:
    """The variables of Serve's processes: ours, overridden by the RAY_SERVE_ variables of this program."""
    return {**SERVE, **{name: value for name, value in os.environ.items() if name.startswith("RAY_SERVE_")}}


def _import_attribute(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
