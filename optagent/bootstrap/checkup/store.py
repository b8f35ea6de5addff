"""Checks of Redis: that it answers, keeps what it is given, and that its clock agrees with this machine's."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optagent.adapters.state.redis.server_state import ServerState
from optagent.domain.checkup import CheckResult, fault, ok, warning
from optagent.errors import OptAgentError

_FULL = 0.9
_OFF_S, _FAR_OFF_S = 2.0, 60.0

Look = Callable[[], ServerState | None]


def check_redis(look: Look, where: str) -> list[CheckResult]:
    """The server's state and clock; `look` gives None for an embedded server that does not run, and is started at need.

    `where` names the server in the results.
    """
    try:
        state = look()
    except OptAgentError as error:
        remedy = "start it, or change OPT_AGENT_REDIS_HOST and OPT_AGENT_REDIS_PORT; unset, an embedded server is used"
        return [fault("redis", f"{error}", remedy)]
    if state is None:
        return [ok("redis", f"{where} does not run; it starts at need"), ok("clock", "no server to compare it with")]
    return [*judge_server(state.info, where), judge_clock(state.ahead_s)]


def judge_server(info: Mapping[str, Any], where: str) -> list[CheckResult]:
    """Results on a server by its INFO: one for each thing that is wrong, or one that says that nothing is."""
    policy, limit, used = info.get("maxmemory_policy", "?"), info.get("maxmemory", 0), info.get("used_memory", 0)
    results = []
    if info.get("role") == "slave":
        results.append(fault("redis", f"{where} is a replica, which cannot be written", "give the primary"))
    if limit and policy != "noeviction":
        message = f"{where} evicts keys when it is full ({policy}): records get lost"
        results.append(fault("redis", message, "CONFIG SET maxmemory-policy noeviction, and in its configuration file"))
    if not info.get("aof_enabled"):
        message = f"{where} has no append-only file: what was written since its last snapshot is lost in a crash"
        results.append(warning("redis", message, "CONFIG SET appendonly yes, and in its configuration file"))
    elif info.get("aof_last_write_status", "ok") != "ok":
        results.append(fault("redis", f"{where} cannot write its append-only file", "look at its disk and its log"))
    if limit and used > _FULL * limit:
        remedy = "raise OPT_AGENT_REDIS_MAX_MEMORY_MB or its maxmemory, or keep less (optagent prune)"
        results.append(warning("redis", f"{where} uses {used / limit:.0%} of its memory limit", remedy))
    version = info.get("valkey_version") or info.get("redis_version", "?")
    return results or [ok("redis", f"{where} answers, version {version}, keeps all on disk, evicts nothing")]


def judge_clock(ahead_s: float) -> CheckResult:
    """A result on the seconds that Redis is ahead of this machine."""
    message = f"this machine and Redis differ by {abs(ahead_s):.1f} s"
    if abs(ahead_s) < _OFF_S:
        return ok("clock", message)
    remedy = "synchronize both (timedatectl set-ntp true)"
    return (warning if abs(ahead_s) < _FAR_OFF_S else fault)("clock", message, remedy)


def look_at_embedded(home: Path) -> ServerState | None:
    """The state of the embedded server of a home, None where it does not run; raises Unavailable for one that hangs."""
    from optagent.adapters.state.embedded.embedded_redis import running_endpoint
    from optagent.adapters.state.redis.server_state import look_at_server

    endpoint = running_endpoint(home)
    return None if endpoint is None else look_at_server(endpoint.url, time.time)


def look_at_configured(url: str) -> ServerState:
    from optagent.adapters.state.redis.server_state import look_at_server

    return look_at_server(url, time.time)
