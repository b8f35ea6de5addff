"""What was found wrong with any model, and who did what."""

from fastapi import APIRouter

from optagent.domain.alert import Alert
from optagent.domain.audit import AuditEntry
from optagent.domain.token import Scope
from serve_app.api.guarded import Asks, Guarded, needs
from serve_app.schemas import Limit

router = APIRouter(tags=["records"], route_class=Guarded)


@router.get("/alerts", **needs(Scope.READ))
async def alerts(caller: Asks, limit: Limit = 100) -> list[Alert]:
    """What is wrong with any model, and what was: open alerts first."""
    return await caller.agent.alerts(None, limit)


@router.get("/audit", **needs(Scope.ADMIN))
async def audit(caller: Asks, limit: Limit = 100) -> list[AuditEntry]:
    """Who asked for what, and what came of it: the newest first."""
    return await caller.agent.audit(limit)
