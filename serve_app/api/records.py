"""What was found wrong with any model, and who did what."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from optagent.domain.alert import Alert
from optagent.domain.audit import AuditEntry
from optagent.domain.audit_chain import ChainReport
from optagent.domain.token import Scope
from serve_app.api.requests import Limit
from serve_app.api.responses import DecisionReplay
from serve_app.api.security import Asks, GuardedRoute, needs

Noted = Annotated[
    str | None,
    Query(pattern=r"^(0|[1-9][0-9]{0,17}):[0-9a-f]{64}$", description="a head that was noted: SEQUENCE:DIGEST"),
]

Decision = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$",
        description="id of a rollout or of a process, or the number of a link of the audit log",
    ),
]

router = APIRouter(tags=["records"], route_class=GuardedRoute)


@router.get("/alerts", **needs(Scope.READ))
async def alerts(caller: Asks, limit: Limit = 100) -> list[Alert]:
    """What is wrong with any model, and what was: open alerts first."""
    return await caller.agent.alerts(None, limit)


@router.get("/audit", **needs(Scope.ADMIN))
async def audit(caller: Asks, limit: Limit = 100) -> list[AuditEntry]:
    """Who asked for what, and what came of it: the newest first."""
    return await caller.agent.audit(limit)


@router.get("/audit/verify", **needs(Scope.ADMIN))
async def verify_audit(caller: Asks, noted: Noted = None) -> ChainReport:
    """Whether the audit log is whole: `broken` is null, or the first link that was altered, removed or moved."""
    return await caller.agent.verify_audit(noted)


@router.get("/audit/replay/{which}", **needs(Scope.ADMIN, 404))
async def replay_decision(which: Decision, caller: Asks) -> DecisionReplay:
    """Decides again what a rollout or an optimization came to, from what was kept of it, and compares bit for bit."""
    return DecisionReplay.of(await caller.agent.replay_decision(which))
