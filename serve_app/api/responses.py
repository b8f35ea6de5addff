"""Bodies of answers that are not nouns of the domain as they are."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic_core import to_json

from optagent.codec import plain, without_secrets
from optagent.domain.process import Process
from optagent.domain.rollout import Rollout
from optagent.domain.token import Token

if TYPE_CHECKING:
    from optagent.domain.mixture_status import MixtureReplay
    from optagent.loop.gates.replay import GateReplay
    from optagent.loop.rollout.replay import RolloutReplay


class PublicResponse(JSONResponse):
    """An answer as JSON without the secrets of URLs, whatever noun it is made of; numbers that are none are null."""

    def render(self, content: Any) -> bytes:
        return to_json(without_secrets(content), inf_nan_mode="null")


class Submitted(BaseModel):
    """A submitted process, which waits for its turn."""

    process_id: str
    status: str
    status_url: str

    @classmethod
    def of(cls, process: Process) -> "Submitted":
        url = f"/api/v1/optimization/status/{process.process_id}"
        return cls(process_id=process.process_id, status=str(process.status), status_url=url)


class ProblemDocument(BaseModel):
    """The problem of a request that was refused or failed (RFC 9457); `instance` is the id of the request."""

    type: Annotated[str, Field(examples=["urn:optagent:model-not-found"])]
    title: str
    status: int
    detail: str
    instance: str
    errors: Annotated[list[dict[str, str]] | None, Field(description="field and rule of each fault of a body")] = None


class BatchItem(BaseModel):
    """The outcome of one request of a batch: a process, or the problem."""

    submitted: Submitted | None = None
    problem: ProblemDocument | None = None


class BatchAnswer(BaseModel):
    """The outcomes in the order of the requests."""

    items: list[BatchItem]


@dataclass(frozen=True, slots=True)
class ProcessStatus(Process):
    """A process; `queue_position` counts from 1, and is None for one that does not wait."""

    queue_position: int | None = None

    @classmethod
    def of(cls, process: Process, queue_position: int | None) -> "ProcessStatus":
        values = {item.name: getattr(process, item.name) for item in fields(Process)}
        return cls(**values, queue_position=queue_position)


class Processes(BaseModel):
    """One page, the newest first; `next_cursor` is None on the last."""

    processes: list[Process]
    next_cursor: str | None = None


class DecisionReplay(BaseModel):
    """A decision that was made again: `is_same` where it is the same bit for bit; `detail` shows the comparison."""

    is_same: bool
    detail: dict[str, Any]

    @classmethod
    def of(cls, replay: "RolloutReplay | GateReplay | MixtureReplay") -> "DecisionReplay":
        return cls(is_same=replay.is_same, detail=plain(replay))


class Health(BaseModel):
    """The state of each part; the reasons are shown only to tokens that may read."""

    status: Literal["ok", "down"]
    parts: dict[str, str]


class TokenView(BaseModel):
    """A token without its text and digest; empty `models` mean all. `scopes` are its rights."""

    token_id: str
    name: str
    scopes: list[str]
    models: list[str]
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    @classmethod
    def of(cls, token: Token) -> "TokenView":
        values = {name: getattr(token, name) for name in cls.model_fields if name not in ("scopes", "models")}
        return cls(scopes=[str(scope) for scope in token.rights], models=list(token.models), **values)


class NewToken(BaseModel):
    """A new token. `text` is shown only once; it is null where the answer is repeated for an idempotency key."""

    text: str | None
    token: TokenView


def limit_looks(rollout: Rollout, looks: int) -> Rollout:
    """The rollout with the newest of its looks only."""
    return replace(rollout, looks=rollout.looks[-looks:] if looks else ())
