"""Record routes: alerts of all models, the audit log, and replays of decisions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import FiniteFloat

from optagent.domain.alert import Alert
from optagent.domain.audit import AuditRecord
from optagent.domain.audit_chain import ChainReport
from optagent.domain.audit_search import AuditSearch
from optagent.domain.token import Scope
from serve_app.api.requests import Limit
from serve_app.api.responses import DecisionReplay
from serve_app.api.security import CurrentCaller, GuardedRoute, needs

Noted = Annotated[
    str | None,
    Query(pattern=r"^(0|[1-9][0-9]{0,17}):[0-9a-f]{64}$", description="a head that was noted: SEQUENCE:DIGEST"),
]

Before = Annotated[int | None, Query(ge=1, le=10**15, description="continues a list: the `sequence` of its last entry")]

Part = Annotated[str, Query(max_length=200, description="a part of it that must fit; upper and lower case are alike")]
Since = Annotated[FiniteFloat | None, Query(description="POSIX time: earlier entries are left out")]
Until = Annotated[FiniteFloat | None, Query(description="POSIX time: entries of then and later are left out")]


def _search(
    actor: Part = "", action: Part = "", target: Part = "", since: Since = None, until: Until = None
) -> AuditSearch:
    return AuditSearch(actor, action, target, since, until)


Search = Annotated[AuditSearch, Depends(_search)]

Decision = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$",
        description="id of a rollout, a process or a model with a mixture, or the number of a link of the audit log",
    ),
]

router = APIRouter(tags=["records"], route_class=GuardedRoute)


@router.get("/alerts", **needs(Scope.READ))
async def alerts(caller: CurrentCaller, limit: Limit = 100) -> list[Alert]:
    """The alerts of all models, open ones first."""
    return await caller.agent.alerts(None, limit)


@router.get("/audit", **needs(Scope.ADMIN))
async def audit(caller: CurrentCaller, search: Search, limit: Limit = 100, before: Before = None) -> list[AuditRecord]:
    """The audit log, the newest entries first: each request for a change, by its caller, and its outcome.

    The words narrow it down, all together; a search goes back to the start of the log.
    """
    return await caller.agent.audit_records(limit, before, search)


@router.get("/audit/verify", **needs(Scope.ADMIN))
async def verify_audit(caller: CurrentCaller, noted: Noted = None) -> ChainReport:
    """Verifies the audit log: `broken` is null, or the first link that was altered, removed, moved or forged."""
    return await caller.agent.verify_audit(noted)


@router.get("/audit/replay/{which}", **needs(Scope.ADMIN, 404))
async def replay_decision(which: Decision, caller: CurrentCaller) -> DecisionReplay:
    """Makes the decisions of a rollout, an optimization or a mixture again from stored facts; compares bit for bit."""
    return DecisionReplay.of(await caller.agent.replay_decision(which))
