"""MLflow HTTP check: tests that an address is a healthy MLflow server."""

import os
import re

import requests

from optagent.errors import Unavailable

_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


def check_http(uri: str, limit_s: float) -> None:
    """Raises Unavailable, with the reason, if the address is no healthy MLflow server."""
    headers = {}
    auth = None
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    elif user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    verify = not insecure and (os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True)
    try:
        answer = requests.get(
            f"{uri.rstrip('/')}/version", headers=headers, auth=auth, verify=verify, timeout=limit_s - 1
        )
    except requests.Timeout:
        raise Unavailable("no answer in time") from None
    except requests.ConnectionError as error:
        raise Unavailable(f"no connection ({_root_cause(error)})") from None
    if answer.status_code != 200:
        raise Unavailable(f"answered {answer.status_code} {answer.reason} for /version")
    if not _VERSION.fullmatch(answer.text.strip()):
        raise Unavailable("something answers, but it is not an MLflow server (no version at /version)")


def _root_cause(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error)
