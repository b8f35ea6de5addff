"""The application on Ray Serve: deployed to a cluster, looked after, and taken off it again."""

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
    """An application, by the import path of what builds it, on the cluster at `address`. Blocks.

    `own` says that the cluster is one that we started, for this machine, with its environment set up; any other gets
    the environment for Serve's processes from here.
    """

    def __init__(self, address: str, application: str, name: str, *, own: bool) -> None:
        self._address = address
        self._application = application
        self._name = name
        self._own = own

    def start(self, host: str, port: int, settings: Any) -> bool:
        """Builds the application with `settings` and returns once it runs; False, and nothing done, where it does.

        Raises Unavailable with the reason why it does not start.
        """
        with self._connected() as serve:
            known = serve.status().applications.get(self._name)
            if known is not None and known.status == "RUNNING":
                return False
            serve.start(
                proxy_location="HeadOnly" if self._own else "EveryNode",
                http_options={"host": host, "port": port},
                logging_config=_JSON,
                controller_options=None if self._own else {"runtime_env": {"env_vars": _environment()}},
            )
            serve.run(_imported(self._application)(settings), name=self._name, route_prefix="/", logging_config=_JSON)
            return True

    def stop(self) -> None:
        """Takes all of Serve off the cluster, once what is under way has been answered."""
        with self._connected() as serve:
            serve.shutdown()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
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
    """What Serve's processes are to read: ours, and what the environment of this program says otherwise."""
    return {**SERVE, **{name: value for name, value in os.environ.items() if name.startswith("RAY_SERVE_")}}


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
