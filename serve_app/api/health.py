"""Health route: the parts that answer and those that do not. It is open to all, so it tells strangers no more."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from optagent.agent import OptimizationAgent
from optagent.domain.token import Scope
from optagent.errors import OptAgentError
from optagent.ports import Clock
from serve_app.api.errors import request_id_of
from serve_app.api.responses import Health
from serve_app.api.security import ApiContext

router = APIRouter(prefix="/optimization", tags=["health"])

_KEPT_S = 1.0
_HARMLESS = ("records",)  # a record that cannot be read is one model's trouble: this gateway serves all others
_LIMIT_S = 6.0  # each part has 5 s to answer Control; while Control itself hangs, load balancers need an answer too


@dataclass(slots=True)
class HealthCache:
    """The state of each part, checked at most once a second for all callers together."""

    agent: OptimizationAgent
    clock: Clock
    limit_s: float = _LIMIT_S
    _asked_at: float = float("-inf")
    _asking: asyncio.Task[Mapping[str, str]] | None = None

    async def state(self) -> Mapping[str, str]:
        """The state by part: "ok", or the reason why it is not. Never raises."""
        check = self._asking
        if check is None or (check.done() and self.clock.now() - self._asked_at >= _KEPT_S):
            check = self._asking = asyncio.ensure_future(self._check_health())
            self._asked_at = self.clock.now()
        return await asyncio.shield(check)

    async def _check_health(self) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(self.limit_s):
                return {"control": "ok", **await self.agent.health()}
        except TimeoutError:
            return {"control": f"no answer within {self.limit_s:g} s"}
        except OptAgentError as error:
            return {"control": str(error)}


@router.get("/health", responses={503: {"model": Health, "description": "a part that is needed does not answer"}})
async def health(request: Request, response: Response) -> Health:
    """The health of this gateway and of the parts that it needs; with a token that may read, the reasons too."""
    parts = await request.app.state.parts.state()
    ailing = [part for part, state in parts.items() if state != "ok"]
    down = [part for part in ailing if part not in _HARMLESS]
    if down:
        response.status_code = 503
    if ailing and not await _may_read(request):
        parts = {part: "down" if part in ailing else "ok" for part in parts}
    return Health(status="down" if down else "ok", parts=dict(parts))


async def _may_read(request: Request) -> bool:
    context: ApiContext = request.app.state.context
    authorization = request.headers.get("authorization")
    if authorization is None:
        return False
    try:
        await context.authenticator.principal(authorization, Scope.READ, request_id_of(request))
    except OptAgentError:
        return False
    return True
