"""Process: one run of the loop's work, with an id, a status, progress and a history."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from optagent.errors import Conflict


class Status(StrEnum):
    """Status of a process. A `QUEUED` one waits and has no runner; an `INTERRUPTED` one has lost its runner."""

    QUEUED = "queued"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def has_ended(self) -> bool:
        return self not in (Status.QUEUED, Status.PENDING, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a process's history; `at` is a POSIX time in seconds."""

    at: float
    kind: str
    detail: Mapping[str, Any] = field(default_factory=dict)


MOST_STARTS = 5
"""Runners that may start a durable process: a cause that ended five of them would end the sixth."""


@dataclass(frozen=True, slots=True)
class Process:
    """The state of one run. Times are POSIX seconds; `command` holds the request, `result` the answer.

    `kept` holds the output of each finished stage, so that a runner that takes over does not repeat it. Another runner
    takes over a `durable` process when its own is gone; `holder` is a secret of the present runner: writes of any other
    are refused.
    """

    process_id: str
    kind: str
    model_id: str
    status: Status
    created_at: float
    updated_at: float
    command: Mapping[str, Any] = field(default_factory=dict)
    stage: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    error: str | None = None
    history: tuple[Event, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)
    durable: bool = False
    holder: str = ""

    @property
    def starts(self) -> int:
        """The number of runners that have started it."""
        return sum(event.kind == "started" for event in self.history)

    @property
    def started_at(self) -> float | None:
        """The POSIX time at which its present runner started it; None while it has had none."""
        return next((event.at for event in reversed(self.history) if event.kind == "started"), None)

    @property
    def worked_s(self) -> float | None:
        """The seconds from that start to its latest change: those in the queue are not among them."""
        return None if self.started_at is None else self.updated_at - self.started_at

    @property
    def may_start_again(self) -> bool:
        """True where another runner may take over once the present one is gone."""
        return self.durable and self.starts < MOST_STARTS

    @property
    def outcome(self) -> str:
        """The status that its result tells, such as `unchanged`; empty without one."""
        status = (self.result or {}).get("status")
        return status if isinstance(status, str) else ""

    def with_stage_output(self, stage: str, output: Any) -> "Process":
        """The process with the output of a finished stage."""
        return replace(self, kept={**self.kept, stage: output})

    def with_event(self, at: float, kind: str, status: Status | None = None, **changes: Any) -> "Process":
        """The process after one more event of its history; Conflict for a process that has ended."""
        if self.status.has_ended:
            raise Conflict(f"process {self.process_id} has {self.status} already")
        detail = {name: value for name, value in changes.items() if name in ("stage", "error") and value is not None}
        return replace(
            self,
            status=status or self.status,
            updated_at=at,
            history=(*self.history, Event(at, kind, detail)),
            **changes,
        )

    def with_progress(self, at: float, progress: Mapping[str, Any]) -> "Process":
        """The process with newer progress, which is no event of its history."""
        return replace(self, updated_at=at, progress=progress)


@dataclass(frozen=True, slots=True)
class StageProgress:
    """The stage that a process is in, and how many of its `total` parts are done; `total` is None where none counts.

    `unit` names the parts, such as `replays`; `elapsed_s` are the seconds since this program took the process up.
    """

    stage: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessSummary:
    """The part of a process by which policies count: without its command, its stages and its result."""

    process_id: str
    created_at: float
    has_ended: bool
    outcome: str = ""
