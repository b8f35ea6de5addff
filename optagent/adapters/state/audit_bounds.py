"""What every store of the audit log holds to."""

from optagent.errors import InvalidRequest

KEPT = 100_000
"""How many links are kept, the newest."""


def checked_after(after: int) -> int:
    """`after` as it is; InvalidRequest below 0."""
    if after < 0:
        raise InvalidRequest(f"after must not be negative, got {after!r}")
    return after
