"""What every store says about leases."""

from optagent.domain.process import Process, Status
from optagent.errors import InvalidRequest

_LONGEST_S = 10 * 365 * 86_400


def checked_lease(lease_s: float) -> float:
    """`lease_s` as it is; InvalidRequest unless it is a positive number of seconds below ten years."""
    if not 0 < lease_s < _LONGEST_S:
        raise InvalidRequest(f"lease_s must be above 0 and below ten years of seconds, got {lease_s!r}")
    return lease_s


def checked_limit(limit: int) -> int:
    """`limit` as it is; InvalidRequest below 1."""
    if limit < 1:
        raise InvalidRequest(f"limit must be at least 1, got {limit!r}")
    return limit


def as_seen(process: Process, leased: bool) -> Process:
    """The stored process as a reader sees it: INTERRUPTED where nobody holds it though it has not ended.

    The time is that of its last update, so it reads the same each time; a lease renewed late makes it RUNNING again.
    """
    if leased or process.status.ended:
        return process
    return process.moved(
        process.updated_at, "interrupted", Status.INTERRUPTED, error="its runner ended or stopped answering"
    )
