"""Check of MLflow: its server or database answers where the settings say that it is; it is not started."""

from collections.abc import Callable

from optagent.domain.checkup import CheckResult, fault, ok
from optagent.errors import OptAgentError


def check_mlflow(check: Callable[[], None], where: str) -> CheckResult:
    """`check` raises where the server or database does not answer, or is of another version."""
    try:
        check()
    except OptAgentError as error:
        upgrade = "mlflow db upgrade" in str(error)
        remedy = "as it says, on a copy" if upgrade else "start it, or change OPT_AGENT_MLFLOW_TRACKING_URI"
        return fault("mlflow", str(error), remedy)
    return ok("mlflow", f"{where} can be used")
