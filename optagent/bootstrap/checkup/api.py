"""Checks of the HTTP API: that its port is free or ours, and that what answers there is healthy."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil

from optagent.domain.checkup import CheckResult, fault, ok, warning

_HEALTH = "/api/v1/optimization/health"
_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound
_LIMIT_S = 7.0  # the health of a part that hangs takes six

Ask = Callable[[str], "dict[str, Any] | None"]


def check_api(
    host: str, port: int, *, is_tls: bool, is_up: bool, is_free: Callable[[str, int], bool], ask: Ask | None = None
) -> list[CheckResult]:
    """The port, and the health of an API of ours that answers there; `ask` gives its answer, None for another's.

    `is_up` says that a cluster of this home runs: then the port is ours even where nothing answers.
    """
    if is_free(host, port):
        free = ok("port", f"{port} of {host} is free")
        if is_up:
            return [free, warning("serve", "Ray is up, the API is not", "optagent up")]
        return [free, ok("serve", "not up; optagent up starts it")]
    shown = "127.0.0.1" if host in _ANY else f"[{host}]" if ":" in host else host
    health = (ask or ask_health)(f"{'https' if is_tls else 'http'}://{shown}:{port}{_HEALTH}")
    if health is None and is_up:
        remedy = "optagent down, then optagent up"
        return [fault("serve", f"the API on port {port} of {host} does not answer", remedy)]
    if health is None:
        remedy = "set OPT_AGENT_API_PORT to another, or end that program"
        return [fault("port", f"{port} of {host} is taken by {_owner_of(port)}", remedy)]
    ours = ok("port", f"{port} of {host} is ours")
    if health.get("status") == "ok":
        return [ours, ok("serve", "up and healthy")]
    down = [f"{name}: {state}" for name, state in health.get("parts", {}).items() if state != "ok"]
    return [ours, fault("serve", f"up, but not healthy: {'; '.join(down)}", "optagent down, then optagent up")]


def ask_health(url: str) -> dict[str, Any] | None:
    """The health that an API of ours tells at this URL; None for any other answer, and for none."""
    try:
        with urllib.request.urlopen(url, timeout=_LIMIT_S, context=_of_any_name(url)) as answer:  # noqa: S310 - our own
            text = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    except (OSError, ValueError):
        return None
    try:
        health = json.loads(text)
    except ValueError:
        return None
    return health if isinstance(health, dict) and {"status", "parts"} <= health.keys() else None


def _of_any_name(url: str) -> ssl.SSLContext | None:
    """For the look at our own server, whose certificate is for its public name; nothing secret is sent."""
    if not url.startswith("https:"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _owner_of(port: int) -> str:
    """The program that listens on a port, as far as this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"
