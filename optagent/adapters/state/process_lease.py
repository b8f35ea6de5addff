"""Process lease: the rules of every store for leases, for processes that wait for a runner, and for limits."""

from dataclasses import replace

from optagent.domain.process import Process, Status
from optagent.errors import Conflict, InvalidRequest

_LONGEST_S = 10 * 365 * 86_400


def checked_seconds(name: str, seconds: float) -> float:
    """`seconds` unchanged; InvalidRequest unless they are positive and below ten years."""
    if not 0 < seconds < _LONGEST_S:
        raise InvalidRequest(f"{name} must be above 0 and below ten years of seconds, got {seconds!r}")
    return seconds


def checked_lease(lease_s: float) -> float:
    return checked_seconds("lease_s", lease_s)


def milliseconds(name: str, seconds: float) -> int:
    """Checked `seconds` as whole milliseconds, at least 1, for Redis to expire by."""
    return max(1, round(checked_seconds(name, seconds) * 1000))


def checked_limit(limit: int) -> int:
    """`limit` unchanged; InvalidRequest below 1."""
    if limit < 1:
        raise InvalidRequest(f"limit must be at least 1, got {limit!r}")
    return limit


def checked_queued(process: Process) -> Process:
    """The process unchanged; InvalidRequest unless it waits for a runner."""
    if process.status is not Status.QUEUED:
        raise InvalidRequest(f"process {process.process_id!r} must be queued to wait for a runner, is {process.status}")
    return process


def claim_queued(process: Process, leased: bool, holder: str) -> Process:
    """The stored process as pending and held by `holder`; Conflict unless it waits for a runner."""
    process = apply_lease(process, leased)
    if process.status is not Status.QUEUED:
        raise Conflict(f"process {process.process_id!r} is {process.status}, not queued: it cannot be claimed")
    return replace(process, status=Status.PENDING, holder=holder)


def lease_lost_message(process: Process) -> str:
    """The message of LeaseLost for a runner whose process another one has taken over."""
    return f"process {process.process_id!r} was taken over by another runner: this one held it for too long unheard"


def apply_lease(process: Process, leased: bool) -> Process:
    """The stored process as a reader sees it: INTERRUPTED where it has begun, has not ended, and its lease is over.

    The time of the interruption is that of the last update, so it reads the same each time; a lease renewed late makes
    the process RUNNING again. A durable process waits for another runner instead, unless several have died of it.
    """
    if leased or process.status.has_ended or process.status is Status.QUEUED:
        return process
    if process.may_start_again:
        return replace(process, status=Status.QUEUED)
    reason = process.error or "its runner ended or stopped answering"
    why = f"{reason}{f', {process.starts} times' * process.durable}"
    return process.with_event(process.updated_at, "interrupted", Status.INTERRUPTED, error=why)
