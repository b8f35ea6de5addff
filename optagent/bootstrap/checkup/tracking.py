"""Checks of MLflow and Ray: that they are there where the settings say so; neither is started, and neither imported."""

import socket
from collections.abc import Callable

from optagent.domain.checkup import CheckResult, fault, ok
from optagent.errors import OptAgentError

_CONNECT_S = 3.0


def check_mlflow(check: Callable[[], None], where: str) -> CheckResult:
    """`check` raises where the server or database does not answer, or is of another version."""
    try:
        check()
    except OptAgentError as error:
        upgrade = "mlflow db upgrade" in str(error)
        remedy = "as it says, on a copy" if upgrade else "start it, or change OPT_AGENT_MLFLOW_TRACKING_URI"
        return fault("mlflow", str(error), remedy)
    return ok("mlflow", f"{where} can be used")


def check_ray(address: str | None, running: str | None) -> CheckResult:
    """The cluster at the configured address, or the head that `optagent up` has started, `running`, if it has."""
    if address is None:
        return ok("ray", f"up at {running}" if running else "no cluster is up; one starts on this machine at need")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return ok("ray", f"{address}: Ray looks for it itself when it is needed")
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except OSError as error:
        remedy = "start it (ray start --head), or unset OPT_AGENT_RAY_ADDRESS for a cluster on this machine"
        return fault("ray", f"no cluster at {address}: {error}", remedy)
    return ok("ray", f"something listens at {address}")
