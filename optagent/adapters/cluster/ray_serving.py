"""Ray Serve deployment: deploys the application to a cluster and takes it off again."""

import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optagent.adapters.cluster import haproxy_rules
from optagent.adapters.cluster.free_ports import free_port
from optagent.adapters.cluster.serve_environment import SERVE, SERVE_ON_CLUSTER, haproxy_is_used, use_token
from optagent.errors import OptAgentError, Unavailable

_NAMESPACE = "optagent"
_JSON = {"encoding": "JSON", "enable_access_log": False}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of a certificate and its key, and one with both."""

    certificate: Path
    key: Path
    both: Path


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

    def start(self, host: str, port: int, settings: Any, tls: TlsFiles | None = None) -> bool:
        """Builds the application with `settings` and returns once it runs; False without effect if it runs already.

        With `tls`, for a cluster of our own, the port speaks nothing but TLS.

        Raises Unavailable with the reason why it does not start.
        """
        with self._connect() as serve:
            status = serve.status().applications.get(self._name)
            if status is not None and status.status == "RUNNING":
                return False
            http_options, variables = _listen(host, port, tls)
            if not self._own:
                variables = _environment()
            serve.start(
                proxy_location="HeadOnly" if self._own else "EveryNode",
                http_options=http_options,
                logging_config=_JSON,
                controller_options={"runtime_env": {"env_vars": variables}} if variables else None,
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


def _listen(host: str, port: int, tls: TlsFiles | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The HTTP options of Serve, and the variables that HAProxy needs besides those of the cluster.

    Serve passes its own TLS options to gateways, to which HAProxy then speaks without: they are for its own proxy only.
    """
    if tls is None:
        return {"host": host, "port": port}, {}
    if not haproxy_is_used():
        return {"host": host, "port": port, "ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}, {}
    plain_port = free_port()
    rules = haproxy_rules.balance_with_rules(haproxy_rules.TlsFront(host, port, tls.both, plain_port))
    return {"host": "127.0.0.1", "port": plain_port}, {haproxy_rules.VARIABLE: rules}


def _environment() -> dict[str, str]:
    """The variables of Serve's processes: ours, overridden by the RAY_SERVE_ variables of this program."""
    return {**SERVE_ON_CLUSTER, **{name: value for name, value in os.environ.items() if name.startswith("RAY_SERVE_")}}


def _import_attribute(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
